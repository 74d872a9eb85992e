"""Server: gunicorn's process model, one worker with many threads; and the application that its worker loads."""

import os
import resource
import socket
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from service.serving.worker import Worker
from service.settings import Settings
from service.telemetry import ledger
from service.web.app import create_app

if TYPE_CHECKING:
    from flask import Flask


# Far more connections than a pod has threads: each costs only a file, and a buffer while it sends.
MAX_CONNECTIONS = 4096
# Files for everything else: libraries, the database, the model.
OTHER_FILES = 256


class Server(BaseApplication):  # type: ignore[misc]
    """`run()` serves until SIGTERM, on a socket that is bound already."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self.settings = settings
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        for name, value in _options(self.settings, self._listener).items():
            self.cfg.set(name, value)

    def load(self) -> "Flask":
        """Called in the worker. If the model cannot be served, the arbiter stops too, instead of starting another worker."""
        return create_app(self.settings, on_failure=lambda: os._exit(Arbiter.APP_LOAD_ERROR))


def _note_fork(_: Arbiter, worker: Worker) -> None:
    if worker.age > 1:
        ledger.begin_again()
    ledger.mark("fork")


def _max_connections() -> int:
    """As many as the limit on open files leaves; the process first raises that limit as far as it may."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return max(allowed - OTHER_FILES, allowed // 2)


def _options(settings: Settings, listener: socket.socket) -> dict[str, Any]:
    level = settings.log_level.upper()
    return {
        "bind": f"fd://{listener.detach()}",
        # One model in memory; the runners inside the worker use all of the CPU quota.
        "workers": 1,
        "worker_class": "service.serving.worker.Worker",
        "threads": settings.request_threads,
        "worker_connections": _max_connections(),
        "limit_request_line": 8190,  # gunicorn's largest
        "limit_request_field_size": settings.max_header_bytes,
        # With these headers a client could set the application's path, through any proxy on this machine.
        "forwarder_headers": "",
        # Longer than the 90 s for which Go's HTTP clients, Knative's queue-proxy among them, keep an idle connection:
        # the side that reuses a connection must also be the side that closes it.
        "keepalive": 100,
        "graceful_timeout": settings.graceful_timeout_s,
        # For the heartbeat file: a file system in memory, which is writable even if the root file system is not.
        "worker_tmp_dir": "/dev/shm",  # noqa: S108
        "control_socket_disable": True,
        "post_fork": _note_fork,
        "logconfig_dict": {
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {"gunicorn.error": {"level": "WARNING", "handlers": [], "propagate": True}},
        },
    }
