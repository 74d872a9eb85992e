"""HTTP in and out: the application and its routes.

app.py          create_app(settings): the only place where objects are connected
inference.py    routes: Open Inference Protocol v2, V1, image upload, health, metadata
grpc.py         routes: gRPC, on the connections that speak HTTP/2
events.py       routes: a CloudEvent in, the reply event out; what a broker gave up
jobs.py         routes: jobs, and what turns a request into one (Prefer, Idempotency-Key)
metrics.py      what is noted of every request, and GET /metrics
exposition.py   the metrics as text for Prometheus
faults.py       what the client is told about an error; the one error handler
body.py         the body of a request, within its limits
form.py         the files of a form
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.web import app, body, events, exposition, faults, form, grpc, inference, jobs, metrics

__all__ = ["app", "body", "events", "exposition", "faults", "form", "grpc", "inference", "jobs", "metrics"]
__getattr__ = files_of(__name__)
