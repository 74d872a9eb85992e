"""Multiplexer: the worker's HTTP/2 connections; imported with the first one.

The main loop reads and writes all of them without waiting for one, and hands each request to a thread once all of it has
arrived. So the requests of one connection are answered side by side, and an idle connection costs no thread.
"""

import logging
import time
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from gunicorn.http2.errors import HTTP2StreamError
from gunicorn.http2.request import HTTP2Request
from h2.errors import ErrorCodes

from service.errors import KindlingError, NotReady, QueueFull, RequestError, RequestTimeout
from service.serving import refusal
from service.serving.connections import Connection, State
from service.serving.http2 import Http2
from service.serving.http2_stream import Stream
from service.serving.incoming import LARGEST_READ

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from service.serving.connections import Connections
    from service.serving.incoming import Limits
    from service.settings import Settings

logger = logging.getLogger("kindling")


class Worker(Protocol):
    """What it needs of the worker, which imports this file late."""

    limits: "Limits"
    settings: "Settings"
    connections: "Connections"
    alive: bool
    # gunicorn's own, of which there are no types.
    wsgi: Any
    tpool: Any
    method_queue: Any
    handle_http2_request: Any

    @property
    def is_last_call(self) -> bool: ...
    def refusal(self, path: str, headers: "Iterable[tuple[str, str]]") -> RequestError | None: ...
    def wait(self, conn: Connection) -> None: ...
    def close(self, conn: Connection) -> None: ...
    def drop(self, conn: Connection) -> None: ...


class Multiplexer:
    """Runs in the main loop of `worker`, except for `_answer`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._connections: WeakSet[Connection] = WeakSet()
        self._swept_s = 0.0

    def begin(self, conn: Connection, data: bytes) -> None:
        """The client of `conn` speaks HTTP/2; these are its first bytes."""
        worker = self._worker
        conn.incoming = None
        conn.http2 = Http2(
            worker.limits,
            worker.settings.body_timeout_s,
            wake=lambda: worker.method_queue.defer(self._write, conn),
            refusal=worker.refusal,
        )
        self._connections.add(conn)
        worker.connections.move(conn, State.OPEN)
        if not worker.alive:
            conn.http2.drain()
        self._read(conn, data)

    def on_ready(self, conn: Connection) -> None:
        """Its socket can be read, or written, or both."""
        try:
            data = conn.sock.recv(LARGEST_READ)
        except BlockingIOError:
            self._write(conn)
        except OSError:
            self._drop(conn)
        else:
            self._read(conn, data)

    def sweep(self) -> None:
        """End what takes too long; called at least once a second."""
        now = time.monotonic()
        if now - self._swept_s < 1.0:
            return
        self._swept_s = now
        worker, limit_s = self._worker, self._worker.settings.body_timeout_s
        fault: KindlingError = RequestTimeout(f"not received within {limit_s} s (BODY_TIMEOUT_S)")
        if worker.is_last_call:
            limit_s, fault = 0, NotReady("the process is stopping: send it again")
        for conn in [*self._connections]:
            if conn.http2:
                for stream in conn.http2.overdue(limit_s):
                    stream.refuse(fault)
                    self._hand_over(conn, stream)
                self._write(conn)

    def drain(self) -> None:
        """The process ends: no new requests on any connection."""
        for conn in [*self._connections]:
            if conn.http2:
                conn.http2.drain()
                self._write(conn)

    def _read(self, conn: Connection, data: bytes) -> None:
        assert conn.http2 is not None
        if not data:
            self._drop(conn)
            return
        for stream in conn.http2.feed(data):
            self._hand_over(conn, stream)
        self._count(conn)
        self._write(conn)

    def _count(self, conn: Connection) -> None:
        assert conn.http2 is not None
        connections = self._worker.connections
        connections.count(conn)
        while connections.held_bytes > self._worker.settings.max_buffered_bytes and (stream := conn.http2.newest()):
            stream.refuse(QueueFull("the memory for requests is full (MAX_BUFFERED_BYTES)", retry_after_s=1))
            connections.count(conn)

    def _hand_over(self, conn: Connection, stream: Stream) -> None:
        """Give the request to a thread, as soon as one is free."""
        done = self._worker.tpool.submit(self._answer, conn, stream)
        done.add_done_callback(lambda done: self._worker.method_queue.defer(self._finish, conn, stream, done))

    def _answer(self, conn: Connection, stream: Stream) -> None:
        """In a thread."""
        if not stream.is_open:
            return  # the client has given up, for example because its deadline has passed
        try:
            request = HTTP2Request(stream, conn.cfg, conn.client)
            request.body = stream.input()
            self._worker.handle_http2_request(request, conn, stream)
        except HTTP2StreamError:
            pass  # `_finish` sees why
        except Exception as fault:
            if stream.has_begun:
                raise
            self._refuse(stream, fault)

    def _refuse(self, stream: Stream, fault: Exception) -> None:
        """Answer what never became a request of the application, or failed outside of it."""
        if refusal.status_of(fault) == 500:
            logger.error("unexpected error", exc_info=fault)
        self._worker.wsgi.extensions["requests"].refuse(refusal.status_of(fault))
        status, headers, body = refusal.answer(fault)
        if stream.send_response_headers(stream.stream_id, status, headers, end_stream=False):
            stream.send_data(stream.stream_id, body, end_stream=False)
            stream.end_stream(stream.stream_id)

    def _finish(self, conn: Connection, stream: Stream, done: "Future[None]") -> None:
        """A thread has answered, or has failed to."""
        if conn.http2 is None:
            return
        stream.release()
        self._worker.connections.count(conn)
        if not done.cancelled() and (fault := done.exception()):
            logger.error("unexpected error", exc_info=fault)
        if stream.is_stuck:
            conn.http2.give_up(stream)
        elif stream.ended_s is None and stream.is_open:
            conn.http2.reset(stream, ErrorCodes.INTERNAL_ERROR)
        self._write(conn)

    def _write(self, conn: Connection) -> None:
        """Send what there is, as far as the socket takes it, and find the connection's state."""
        if (http2 := conn.http2) is None:
            return
        is_blocked = False
        http2.pull()
        while http2.out and not is_blocked:
            try:
                sent = conn.sock.send(http2.out)
            except BlockingIOError:
                is_blocked = True
            except OSError:
                self._drop(conn)
                return
            else:
                del http2.out[:sent]
                http2.pull()
        self._worker.connections.watch(conn, EVENT_READ | EVENT_WRITE if is_blocked else EVENT_READ)
        if http2.is_over and not http2.out:
            self._leave(conn)
            self._worker.close(conn)
        elif http2.is_idle and conn.state is not State.IDLE:
            self._worker.wait(conn)
        elif not http2.is_idle and conn.state is State.IDLE:
            self._worker.connections.move(conn, State.OPEN)

    def _drop(self, conn: Connection) -> None:
        self._leave(conn)
        self._worker.drop(conn)

    def _leave(self, conn: Connection) -> None:
        if conn.http2:
            conn.http2.abandon()
            conn.http2 = None
        self._connections.discard(conn)
        self._worker.connections.watch(conn, EVENT_READ)
