"""Server: gunicorn's process model, one worker with many threads; and the application that its worker loads."""

import os
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from service.settings import Settings
from service.telemetry import ledger
from service.web.app import create_app

if TYPE_CHECKING:
    from flask import Flask


SO_BINDTOIFINDEX = 62  # asm-generic/socket.h; Python has no name for it
NO_INTERFACE = 2**31 - 1

# Longer than a handshake takes whose first packet was let in.
HANDSHAKE_S = 0.05


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's gthread worker, which refuses nothing that the kernel has accepted for it.

    A stopping gthread worker leaves the connections that wait in the listen backlog, and those that still arrive while
    it finishes its requests, to be reset. This one lets nobody begin to connect, takes those that have begun, and only
    then closes the door.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            self.wsgi.extensions["jobs"].stop()
            for listener in self.sockets:
                handshake_s = HANDSHAKE_S if _refuse_new_connections(listener) else 0.0
                while select.select([listener], [], [], handshake_s)[0]:
                    self.accept(listener)
                listener.close()

    def handle(self, conn: Any) -> Any:
        """As gunicorn's; a connection that ends is waited for here, by one of many threads.

        The caller has up to 2 s to close its end (`util.close_graceful`). gunicorn waits in the thread that accepts, so
        that one caller who is slow to close holds up all others.
        """
        result = super().handle(conn)
        if result is False:
            with suppress(OSError):
                util.close_graceful(conn.sock.dup())
                # Now there is nothing left to wait for.
                conn.sock.shutdown(socket.SHUT_RD)
        return result


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
        return create_app(self._settings, on_failure=lambda: os._exit(Arbiter.APP_LOAD_ERROR))


def _note_fork(_: Arbiter, worker: Worker) -> None:
    if worker.age > 1:
        ledger.begin_again()
    ledger.mark("fork")


def _refuse_new_connections(listener: socket.socket) -> bool:
    """Have the kernel refuse who begins to connect, while it finishes what has begun: there is no such interface.

    Without that a connection can be made between the last accept and the close, and is reset. It needs no privilege
    (Linux 5.7 and newer). False where the kernel does not let us: there the moment between the two is as short as it
    can be.
    """
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
    except OSError:
        return False
    return True


def _options(settings: Settings) -> dict[str, Any]:
    level = settings.log_level.upper()
    return {
        "bind": f"{settings.host}:{settings.port}",
        # One model in memory; the runners inside the worker use all of the CPU quota.
        "workers": 1,
        "worker_class": "service.web.server.Worker",
        "threads": settings.request_threads,
        # Longer than the 90 s for which Go's HTTP clients, Knative's queue-proxy among them, keep an idle connection:
        # the side that reuses a connection must be the one to close it.
        "keepalive": 100,
        "graceful_timeout": settings.graceful_timeout_s,
        # The heartbeat file: a memory file system, also where the root file system is read-only.
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
