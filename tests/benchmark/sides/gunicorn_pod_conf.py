"""gunicorn_conf.py for a container: reachable from outside, and the first request noted in the ledger and in the log."""

import os
import sys

from service.telemetry import ledger
from tests.benchmark.sides.gunicorn_conf import (  # noqa: F401 - gunicorn reads its settings from this module's names
    control_socket_disable,
    keepalive,
    loglevel,
    post_fork,
    threads,
    when_ready,
    worker_class,
    worker_tmp_dir,
    workers,
)

bind = f"0.0.0.0:{os.environ['PORT']}"


def pre_request(_worker: object, request: object) -> None:
    if not _is_probe(request) and "request" not in ledger.marks_ms:
        ledger.mark("request")


def post_request(_worker: object, request: object, _environ: object, _response: object) -> None:
    if not _is_probe(request) and not ledger.has_answered:
        ledger.mark("answer")
        print(f"process began at {ledger.started_unix_s:.3f};", ledger, file=sys.stderr, flush=True)


def _is_probe(request: object) -> bool:
    """Knative's queue-proxy names itself as the kubelet does."""
    headers: list[tuple[str, str]] = getattr(request, "headers", [])
    return any(name == "USER-AGENT" and value.startswith("kube-probe/") for name, value in headers)
