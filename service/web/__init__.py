"""HTTP in and out: routes, the application, gunicorn's process model.

server.py       Server: gunicorn's process model, one worker with many threads
worker.py       Worker: reads requests without a thread, and gives each a thread once all of it has arrived
connections.py  the worker's connections: their states, deadlines and memory
incoming.py     one request that is arriving: header, body, chunks, limits
refusal.py      what is refused before there is a request, as JSON
closing.py      the listener of a process that ends
app.py          create_app(settings): the only place where objects are connected; the one error handler
inference.py    routes: Open Inference Protocol v2, V1, image upload, health, metadata
events.py       routes: a CloudEvent in, the reply event out; what a broker gave up
jobs.py         routes: jobs, and what turns a request into one (Prefer, Idempotency-Key)
metrics.py      what is noted of every request, and GET /metrics
exposition.py   the metrics as text for Prometheus
body.py         the body of a request, within its limits
form.py         the files of a form
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.web import (
        app,
        body,
        closing,
        connections,
        events,
        exposition,
        form,
        incoming,
        inference,
        jobs,
        metrics,
        refusal,
        server,
        worker,
    )

__all__ = [
    "app",
    "body",
    "closing",
    "connections",
    "events",
    "exposition",
    "form",
    "incoming",
    "inference",
    "jobs",
    "metrics",
    "refusal",
    "server",
    "worker",
]
__getattr__ = files_of(__name__)
