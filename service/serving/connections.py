"""Connections of the worker, in their states, each with its deadline; and the memory that they hold together."""

import enum
import select
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, BaseSelector
from typing import TYPE_CHECKING, Any

from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn

from service.telemetry import Requests

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from service.serving.http2 import Http2
    from service.serving.incoming import Incoming

# When memory or connections run out, a sender that has taken longer than this gives way; otherwise the newcomer does.
PATIENCE_S = 1.0


class State(enum.Enum):
    """The state of a connection. Only a HANDLED connection has a thread, or is about to get one.

    An HTTP/2 connection is OPEN while it has requests, whose threads are their own, and IDLE between them.

          first byte              last byte               no keep-alive             both have closed
    IDLE ------------> RECEIVING -----------> HANDLED --------------------> CLOSING ---------------> gone
     ^ | 100 s             |                   |   ^                           ^
     | +-----> gone        |   keep-alive      |   | too slow, with a header:  |
     +---------------------|-------------------+   | 408 by the application    |
                           +-----------------------+                           |
                           | no usable header, or too slow for one: 4xx        |
                           +---------------------------------------------------+
    """

    IDLE = enum.auto()
    RECEIVING = enum.auto()
    HANDLED = enum.auto()
    CLOSING = enum.auto()
    OPEN = enum.auto()


class ClientSocket(socket.socket):
    """A socket that is never blocking, so that gunicorn need not switch it for each request and back.

    Sending waits, but no longer than a client may take to read its answer.
    """

    patience_s = 0.0

    @classmethod
    def of(cls, accepted: socket.socket, patience_s: float) -> "ClientSocket":
        accepted.setblocking(False)
        self = cls(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.patience_s = patience_s
        return self

    def setblocking(self, _: bool, /) -> None:
        """Does nothing: the socket stays non-blocking."""

    def settimeout(self, _: float | None, /) -> None:
        """It stays as it is."""

    def close(self) -> None:
        """Left to `release`, in the main loop.

        gunicorn closes it in a thread, when a stream breaks off. The next connection may get its number then, while the
        poller still has the old one.
        """

    def release(self) -> None:
        """Close it, once the poller has forgotten it."""
        super().close()

    def sendall(self, data: "ReadableBuffer", _flags: int = 0, /) -> None:
        """Raises TimeoutError when the client does not read."""
        left, deadline = memoryview(data), time.monotonic() + self.patience_s
        while left:
            try:
                left = left[self.send(left) :]
            except BlockingIOError:
                waiting = select.poll()
                waiting.register(self, select.POLLOUT)
                if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1e3):
                    raise TimeoutError("the answer is not taken") from None


class Connection(TConn):  # type: ignore[misc]
    """gunicorn's connection, without its ways to read. Also stands in for gunicorn's parser: the request is parsed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.initialized = self.data_ready = True
        self.parser = self
        self.state = State.HANDLED
        self.is_watched = False
        self.began_s = 0.0
        """When the first byte of `incoming` came."""
        self.incoming: Incoming | None = None
        self.http2: Http2 | None = None
        """What it is instead of HTTP/1."""
        self.early = b""
        """What came behind the request that is being handled."""
        self.held = 0
        """Bytes in memory, as counted."""
        self.receiving = 0
        """Requests of HTTP/2 that are arriving, as counted."""
        self.requests = 0

    def __next__(self) -> Request:
        assert self.incoming is not None
        return self.incoming.request

    def finish_body(self, **_: object) -> bool:
        """Whether the next request may follow: nothing of this request is left on the socket."""
        return True

    def close(self, **_: object) -> None:
        """Also called by gunicorn, for a connection that has been idle for too long."""
        if self.http2:
            self.http2.drain()
            with suppress(OSError):
                self.sock.send(self.http2.out)
            self.http2 = None
        self.sock.release()


class Connections:
    """Used by one thread.

    Args:
        idle: gunicorn's own, which it closes when their time is over.
        on_readable: called by the poller, with the connection and its socket.
        requests: receives the figures for the metrics.
    """

    def __init__(
        self,
        poller: BaseSelector,
        idle: deque[Connection],
        on_readable: Callable[[Connection, Any], None],
        requests: Requests,
    ) -> None:
        self._poller = poller
        self._idle = idle
        self._on_readable = on_readable
        self._requests = requests
        self._streams = 0
        # In the order of their deadlines, because every connection in a state has the same time limit.
        self._until: dict[State, OrderedDict[Connection, float]] = {
            State.RECEIVING: OrderedDict(),
            State.CLOSING: OrderedDict(),
        }

    @property
    def held_bytes(self) -> int:
        """Bytes held by all requests, also those still arriving."""
        return self._requests.held_bytes

    def move(self, conn: Connection, state: State, deadline: float = 0.0) -> None:
        """Put the connection into `state`, until `deadline`.

        A HANDLED connection stays registered with the poller. Its client seldom sends anything in the meantime, so most
        requests on a kept connection need no call to the kernel for this.
        """
        before, conn.state = conn.state, state
        if before is State.IDLE:
            self._idle.remove(conn)
        elif before in self._until:
            del self._until[before][conn]
        if state is State.IDLE:
            conn.timeout = deadline
            self._idle.append(conn)
        elif state in self._until:
            self._until[state][conn] = deadline
        if state is not State.HANDLED and not conn.is_watched:
            conn.is_watched = True
            self._poller.register(conn.sock, EVENT_READ, partial(self._on_readable, conn))
        self._note_receiving()

    def watch(self, conn: Connection, events: int) -> None:
        """Wait for these events on a connection that is watched."""
        if conn.is_watched and (key := self._poller.get_key(conn.sock)).events != events:
            self._poller.modify(conn.sock, events, key.data)

    def unwatch(self, conn: Connection) -> None:
        """Make the poller ignore the connection until it is moved again."""
        if conn.is_watched:
            conn.is_watched = False
            self._poller.unregister(conn.sock)

    def count(self, conn: Connection) -> None:
        """Note how much memory the connection holds now, and how many requests of HTTP/2 are arriving on it."""
        held = len(conn.early) + (conn.incoming.held if conn.incoming else 0) + (conn.http2.held if conn.http2 else 0)
        self._requests.held_bytes += held - conn.held
        conn.held = held
        if conn.http2 or conn.receiving:
            receiving = conn.http2.receiving if conn.http2 else 0
            self._streams += receiving - conn.receiving
            conn.receiving = receiving
            self._note_receiving()

    def overdue(self, state: State, at_latest: float = float("inf")) -> Iterator[Connection]:
        """Connections whose deadline, or `at_latest`, has passed. The caller must move each before it takes the next."""
        waiting, now = self._until[state], time.monotonic()
        while waiting and now > min(waiting[conn := next(iter(waiting))], at_latest):
            yield conn

    def slowest(self) -> Connection | None:
        """The connection that has been sending the longest and holds memory; None if all of these have just begun."""
        begun_by = time.monotonic() - PATIENCE_S
        for conn in self._until[State.RECEIVING]:
            if conn.began_s > begun_by:
                break
            if conn.held:
                return conn
        return None

    def dispensable(self) -> Connection | None:
        """The connection that has been idle the longest; if none is idle, the one that has been sending the longest."""
        return self._idle[0] if self._idle else self.slowest()

    def _note_receiving(self) -> None:
        self._requests.receiving = len(self._until[State.RECEIVING]) + self._streams
