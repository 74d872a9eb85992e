"""HTTP in and out: the application and its routes.

app.py          create_app(settings): the only place where objects are connected
inference.py    routes: Open Inference Protocol v2, V1, image upload, health, metadata
grpc.py         routes: gRPC, on the connections that speak HTTP/2
events.py       routes: a CloudEvent in, the reply event out; what a broker gave up
jobs.py         routes: jobs, and what turns a request into one (Prefer, Idempotency-Key)
metrics.py      what is noted of every request, and GET /metrics
exposition.py   the metrics as text for Prometheus
faults.py       what the client is told about an error; the one error handler
access.py       the access log
robots.py       routes: what browsers and crawlers ask by themselves
triton.py       routes: Triton's extensions, model configuration, statistics and repository
body.py         the body of a request, within its limits
keys.py         who may ask: keys and their rates
cors.py         which pages of other origins a browser lets ask
form.py         the files of a form
page.py         routes: the page of service/page/, and what others than browsers get at its address
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.web import (
        access,
        app,
        body,
        cors,
        events,
        exposition,
        faults,
        form,
        grpc,
        inference,
        jobs,
        keys,
        metrics,
        page,
        robots,
        triton,
    )

__all__ = [
    "access", "app", "body", "cors", "events", "exposition", "faults", "form", "grpc", "inference", "jobs", "keys",
    "metrics", "page", "robots", "triton",
]  # fmt: skip
__getattr__ = files_of(__name__)
