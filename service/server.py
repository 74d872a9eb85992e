"""Server: gunicorn's process model, one worker with many threads; and the application that its worker loads."""

import os
import select
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from service.app import create_app
from service.settings import Settings
from service.telemetry import ledger

if TYPE_CHECKING:
    from flask import Flask


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's gthread worker, which refuses nothing that the kernel has accepted for it.

    A stopping gthread worker leaves the connections that wait in the listen backlog, and those that still arrive while
    it finishes its requests, to be reset. This one takes the first, and closes the door for the others.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                while select.select([listener], [], [], 0)[0]:
                    self.accept(listener)
                listener.close()


class Server(BaseApplication):  # type: ignore[misc]
    """`run()` serves until SIGTERM."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in _options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> "Flask":
        """In the worker. When the model cannot be served the arbiter stops too, instead of starting another worker."""
        ledger.mark("fork")
        return create_app(self._settings, on_failure=lambda: os._exit(Arbiter.APP_LOAD_ERROR))


def _options(settings: Settings) -> dict[str, Any]:
    level = settings.log_level.upper()
    return {
        "bind": f"{settings.host}:{settings.port}",
        # One model in memory; the runners inside the worker use all of the CPU quota.
        "workers": 1,
        "worker_class": "service.server.Worker",
        "threads": settings.request_threads,
        # Longer than the 90 s for which Go's HTTP clients, Knative's queue-proxy among them, keep an idle connection:
        # the side that reuses a connection must be the one to close it.
        "keepalive": 100,
        "graceful_timeout": settings.graceful_timeout_s,
        # The heartbeat file: a memory file system, also where the root file system is read-only.
        "worker_tmp_dir": "/dev/shm",  # noqa: S108
        "control_socket_disable": True,
        "logconfig_dict": {
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {"gunicorn.error": {"level": "WARNING", "handlers": [], "propagate": True}},
        },
    }
