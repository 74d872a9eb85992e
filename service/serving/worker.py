"""Worker: gunicorn's threads; a request gets one once all of it has arrived.

One thread, gunicorn's main loop, accepts connections and reads from all of them without ever waiting for one. So 500
senders that take a minute each cost 500 buffers and no thread, and what they hold is bounded (`MAX_BUFFERED_BYTES`).
"""

import errno
import logging
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from service import serving
from service.errors import BadRequest, KindlingError, NotReady, QueueFull, RequestError, RequestTimeout
from service.serving import refusal
from service.serving.closing import last_connections
from service.serving.connections import ClientSocket, Connection, Connections, State
from service.serving.incoming import USUAL_READ, Incoming, Limits

if TYPE_CHECKING:
    from service.serving.multiplexer import Multiplexer

logger = logging.getLogger("kindling")

# How long a caller may take to close its end after ours. If we closed at once, what it still sends would reset the
# connection, and our last answer would be lost.
LINGER_S = 2.0
# The share of GRACEFUL_TIMEOUT_S in which requests may still arrive, so that there is time left for answers.
LAST_CALL = 0.8
# The first line of HTTP/2's preface (RFC 9113, section 3.4), which looks like the header of an HTTP/1 request.
PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class SpeaksHttp2(Exception):
    """A connection begins as those of HTTP/2 do."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """Everything but `handle`, `handle_request` and `handle_error` runs in the one thread of the main loop: no locks.

    gunicorn's gthread worker, when it stops, lets the kernel reset connections in the listen backlog, and those that
    arrive while it finishes its requests. This worker refuses new connections, accepts those that have begun, and only
    then closes the listener.
    """

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.settings = settings = self.app.settings
        self.limits = Limits(settings.max_header_bytes, settings.max_body_bytes)
        self._last_call_s = float("inf")
        self._multiplexer: Multiplexer | None = None
        self.connections = Connections(
            self.poller, self.keepalived_conns, self._on_readable, self.wsgi.extensions["requests"]
        )

    @property
    def is_last_call(self) -> bool:
        """Whether the process is stopping, and no time is left for requests that are still arriving."""
        return time.monotonic() > self._last_call_s

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            self._last_call_s = time.monotonic() + LAST_CALL * self.cfg.graceful_timeout
            self.wsgi.extensions["jobs"].stop()
            for listener in self.sockets:
                for _ in last_connections(listener):
                    self.accept(listener)
            if self._multiplexer:
                self._multiplexer.drain()

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, client = listener.accept()
        except OSError as fault:
            if fault.errno in _OUT_OF_RESOURCES:
                self._make_room()
            elif fault.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        sock = ClientSocket.of(sock, self.settings.body_timeout_s)
        # Many clients have sent their request already; then the poller is not needed.
        self._on_readable(Connection(self.cfg, sock, client, listener.getsockname()), sock)

    def handle_request(self, req: Request, conn: Connection) -> bool:
        """Answer a request; give up on a client that does not read its answer."""
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            logger.warning(
                "a client did not read its answer within %d s (BODY_TIMEOUT_S)", self.settings.body_timeout_s
            )
            return False

    def handle_error(self, _req: Request | None, client: socket.socket, _addr: Any, exc: BaseException) -> None:
        """As gunicorn's own, but with JSON."""
        if refusal.status_of(exc) == 500:
            logger.error("unexpected error", exc_info=exc)
        with suppress(OSError):
            client.send(refusal.response(exc))

    def finish_request(self, conn: Connection, done: Any) -> None:
        """A thread has answered, or has failed to."""
        is_kept = not done.cancelled() and done.exception() is None and done.result()
        early, conn.early, conn.incoming = conn.early, b"", None
        self.connections.count(conn)
        if not is_kept:
            self.close(conn)
        elif early:
            self._receive(conn, early)
        else:
            self.wait(conn)

    def murder_pending(self) -> None:
        """Called by gunicorn after each turn of its loop, at least once a second."""
        for conn in self.connections.overdue(State.RECEIVING, self._last_call_s):
            self._time_out(conn)
        for conn in self.connections.overdue(State.CLOSING):
            self.drop(conn)
        if self._multiplexer:
            self._multiplexer.sweep()
        # One before the limit: at the limit, gunicorn accepts nobody any more, not even the kubelet with its probe.
        while self.nr_conns >= self.worker_connections - 1 and self._make_room():
            pass

    def wait(self, conn: Connection) -> None:
        """For the first byte of a request."""
        wait_s = self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER
        self.connections.move(conn, State.IDLE, time.monotonic() + wait_s)

    def _on_readable(self, conn: Connection, sock: socket.socket) -> None:
        if conn.http2:
            assert self._multiplexer is not None
            self._multiplexer.on_ready(conn)
            return
        if conn.state is State.HANDLED and conn.is_watched:
            # What the client sends before our answer is read after the answer.
            self.connections.unwatch(conn)
            return
        try:
            data = sock.recv(conn.incoming.wanted if conn.incoming else USUAL_READ)
        except BlockingIOError:
            if conn.state is State.HANDLED:
                self.wait(conn)
        except OSError:
            self.drop(conn)
        else:
            self._take(conn, data)

    def _take(self, conn: Connection, data: bytes) -> None:
        if conn.state is not State.CLOSING and data:
            self._receive(conn, data)
        elif conn.incoming and conn.incoming.request:
            self._end(conn, BadRequest("the body ends too early: the connection was closed"))
        elif not data:
            self.drop(conn)

    def _receive(self, conn: Connection, data: bytes) -> None:
        incoming = conn.incoming or self._begin(conn)
        try:
            is_complete = incoming.feed(data)
        except SpeaksHttp2:
            self._speak_http2(conn, incoming.rest)
            return
        except ParseException as fault:
            self.log.warning("Invalid request from ip=%s: %s", conn.client[0], fault)
            self._refuse(conn, fault)
            return
        self.connections.count(conn)
        if self.connections.held_bytes > self.settings.max_buffered_bytes:
            self._free_memory(conn)
        if is_complete:
            self._hand_over(conn)
        elif conn.incoming:
            self._await_rest(conn, incoming)

    def _begin(self, conn: Connection) -> Incoming:
        conn.requests += 1
        conn.began_s = time.monotonic()
        conn.incoming = Incoming(
            self.limits, partial(self._parse, conn), lambda request: self.refusal(request.path, request.headers)
        )
        return conn.incoming

    def refusal(self, path: str, headers: Iterable[tuple[str, str]]) -> RequestError | None:
        """Without a valid key no body is kept. The other routes that need no key read none."""
        gate = self.wsgi.extensions["gate"]
        return gate.refusal(path, dict(headers)) if gate else None

    def _parse(self, conn: Connection, header: bytes) -> Request:
        if header == PREFACE and self.settings.grpc:
            raise SpeaksHttp2
        return Request(self.cfg, IterUnreader([header]), conn.client, conn.requests)

    def _speak_http2(self, conn: Connection, rest: bytes) -> None:
        self._multiplexer = self._multiplexer or serving.multiplexer.Multiplexer(self)
        self._multiplexer.begin(conn, PREFACE + rest)

    def _await_rest(self, conn: Connection, incoming: Incoming) -> None:
        if conn.state is not State.RECEIVING:
            self.connections.move(conn, State.RECEIVING, conn.began_s + self.settings.body_timeout_s)
        if incoming.take_expectation():
            with suppress(OSError):
                conn.sock.send(CONTINUE)

    def _hand_over(self, conn: Connection) -> None:
        """Give the request to a thread, as soon as one is free."""
        assert conn.incoming is not None
        self.connections.move(conn, State.HANDLED)
        conn.early = conn.incoming.complete()
        self.enqueue_req(conn)

    def _time_out(self, conn: Connection) -> None:
        if self.alive:
            self._end(conn, RequestTimeout(f"not received within {self.settings.body_timeout_s} s (BODY_TIMEOUT_S)"))
        else:
            self._end(conn, NotReady("the process is stopping: send it again"))

    def _end(self, conn: Connection, fault: KindlingError) -> None:
        """Answer the request without waiting for the rest of it."""
        assert conn.incoming is not None
        if conn.incoming.request is None:
            self._refuse(conn, fault)
        else:
            conn.incoming.end(fault)
            self._hand_over(conn)

    def _refuse(self, conn: Connection, fault: Exception) -> None:
        """Answer here, because there is no request that the application could answer."""
        self.wsgi.extensions["requests"].refuse(refusal.status_of(fault))
        self.handle_error(None, conn.sock, conn.client, fault)
        self.close(conn)

    def close(self, conn: Connection) -> None:
        """Close our end, and wait for the caller to close its end."""
        conn.incoming = None
        self.connections.count(conn)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(conn)
        else:
            self.connections.move(conn, State.CLOSING, time.monotonic() + LINGER_S)

    def drop(self, conn: Connection) -> None:
        conn.incoming = None
        self.connections.count(conn)
        self.connections.move(conn, State.HANDLED)
        self.connections.unwatch(conn)
        self.nr_conns -= 1
        conn.close()

    def _free_memory(self, conn: Connection) -> None:
        """Refuse the requests that have been sending the longest, or else `conn`, until the rest fits."""
        fault = QueueFull("the memory for requests is full (MAX_BUFFERED_BYTES)", retry_after_s=1)
        victim = None
        while victim is not conn and self.connections.held_bytes > self.settings.max_buffered_bytes:
            victim = self.connections.slowest() or conn
            assert victim.incoming is not None
            if victim.incoming.request is None:
                self._refuse(victim, fault)
            else:
                victim.incoming.refuse(fault)
                self.connections.count(victim)

    def _make_room(self) -> bool:
        """Close the connection that has been idle, or else sending, the longest; False if all are new."""
        victim = self.connections.dispensable()
        if victim is not None:
            self.drop(victim)
        return victim is not None
