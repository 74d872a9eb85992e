"""HTTP in and out: the application and its routes.

app.py          create_app(settings): the only place where objects are connected; the one error handler
inference.py    routes: Open Inference Protocol v2, V1, image upload, health, metadata
events.py       routes: a CloudEvent in, the reply event out; what a broker gave up
jobs.py         routes: jobs, and what turns a request into one (Prefer, Idempotency-Key)
metrics.py      what is noted of every request, and GET /metrics
exposition.py   the metrics as text for Prometheus
access.py       the access log
robots.py       routes: what browsers and crawlers ask by themselves
triton.py       routes: Triton's extensions, model configuration, statistics and repository
body.py         the body of a request, within its limits
form.py         the files of a form
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.web import access, app, body, events, exposition, form, inference, jobs, metrics, robots, triton

__all__ = ["access", "app", "body", "events", "exposition", "form", "inference", "jobs", "metrics", "robots", "triton"]
__getattr__ = files_of(__name__)
