"""The process model of the Flask sides: gunicorn's own, with one worker and threads as the service has them."""

import os

from service.telemetry import ledger

ledger.mark("python")

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = 1
worker_class = "gthread"
threads = int(os.environ.get("THREADS", "32"))
keepalive = 100
worker_tmp_dir = "/dev/shm"
control_socket_disable = True
loglevel = "warning"


def when_ready(_server: object) -> None:
    ledger.mark("gunicorn")


def post_fork(_server: object, _worker: object) -> None:
    ledger.mark("fork")
