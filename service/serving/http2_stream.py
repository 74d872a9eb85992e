"""Stream: one request of an HTTP/2 connection and its answer; stands in for gunicorn's own stream and its connection."""

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from gunicorn.http2.stream import StreamState

from service.errors import KindlingError
from service.serving.incoming import Refused
from service.web import grpc
from service.web.body import too_large

# Of an answer that the client has not taken yet; a thread that has more waits.
MAX_WAITING_BYTES = 2**16

Headers = list[tuple[str, str]]


class Stream:
    """The main loop fills in the request and takes the answer, piece by piece, that a thread gives.

        arriving ──► handled by a thread ──► answered ──► gone, once the client has taken all of it
            └──────────────┴─── CLOSED: reset by the client or by us, or the connection is gone; the answer goes nowhere

    Args:
        headers: pseudo-headers first, as h2 gives them.
        patience_s: how long the client may take to read a piece of its answer.
        wake: called by a thread when there are pieces to take.
    """

    # gunicorn asks for these.
    expect_continue = False
    trailers: Sequence[Any] = ()
    priority_weight, priority_depends_on = 16, 0

    def __init__(
        self, stream_id: int, headers: list[tuple[bytes, bytes]], patience_s: float, wake: Callable[[], None]
    ) -> None:
        self.stream_id = stream_id
        self.state = StreamState.OPEN
        # As WSGI has them: one character for each byte that came.
        self._headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        self._patience_s = patience_s
        self._wake = wake
        self.began_s = time.monotonic()
        self._body = bytearray()
        self._held = 0
        self.fault: KindlingError | None = None
        self.discarded = 0
        """Bytes of the body that came after it was refused."""
        self.is_handled = False
        """Whether a thread has the request, or is about to get it."""
        self._changed = threading.Condition()
        self._pieces: deque[bytes | Headers] = deque()
        self._waiting_bytes = 0
        self._is_streamed = True
        self.has_begun = False
        """Whether there are headers of an answer."""
        self.ended_s: float | None = None
        """When the last piece was there."""
        self.is_stuck = False
        """Whether a thread has given up waiting for the client to read."""

    def get_pseudo_headers(self) -> dict[str, str]:
        return {name: value for name, value in self._headers if name.startswith(":")}

    def get_regular_headers(self) -> Headers:
        return [(name, value) for name, value in self._headers if not name.startswith(":")]

    @property
    def is_unknown_call(self) -> bool:
        """Whether it calls a gRPC method that is not there.

        It is refused at once: such methods are mostly streams, whose clients send on, or wait for the first answer.
        """
        named = dict(self._headers)
        is_call = named.get("content-type", "").startswith(grpc.TYPES[0])
        return is_call and named.get(":path") not in grpc.METHODS

    @property
    def is_open(self) -> bool:
        """Whether somebody may still want the answer."""
        return self.state is StreamState.OPEN

    @property
    def held(self) -> int:
        """Bytes of the body in memory, also while the application has them."""
        return self._held

    def receive(self, data: bytes, most: int) -> None:
        """These bytes are the next of the body; over `most` it is refused."""
        if len(self._body) + len(data) > most:
            self.refuse(too_large(most))
        if self.fault is None:
            self._body += data
            self._held += len(data)
        else:
            self.discarded += len(data)

    def input(self) -> io.RawIOBase | io.BytesIO:
        """The body, to be read by the application."""
        body, self._body = self._body, bytearray()
        return Refused(self.fault) if self.fault else io.BytesIO(bytes(body))

    def release(self) -> None:
        """The application needs the body no more."""
        self._body.clear()
        self._held = 0

    def refuse(self, fault: KindlingError) -> None:
        """Keep nothing of the body, and answer with `fault`. The first reason counts."""
        self.fault = self.fault or fault
        self.release()

    def close(self) -> None:
        """Nobody wants an answer any more."""
        with self._changed:
            self.state = StreamState.CLOSED
            self._pieces.clear()
            self._changed.notify_all()

    # In a thread. gunicorn gives up on an answer when one of these is false.

    def send_response_headers(self, _stream_id: int, status: int, headers: Headers, *, end_stream: bool) -> bool:  # noqa: ARG002 - gunicorn's signature
        sent = [(name.lower(), value) for name, value in headers]
        self._is_streamed = not any(name == "content-length" for name, _ in sent)
        self.has_begun = True
        return self._put([(":status", str(status)), *sent])

    def send_data(self, _stream_id: int, data: bytes, *, end_stream: bool) -> bool:  # noqa: ARG002 - gunicorn's signature
        is_open = self._put(data)
        if self._is_streamed:
            self._wake()
        return is_open

    def end_stream(self, _stream_id: int, trailers: Headers | None = None) -> bool:
        if trailers and not self._put([(name.lower(), value) for name, value in trailers]):
            return False
        self.ended_s = time.monotonic()
        with self._changed:
            # A large answer keeps its thread until the client has taken nearly all of it, as with HTTP/1.
            return self._has_room()

    # In the main loop.

    @property
    def next_piece(self) -> bytes | Headers | None:
        """Of the answer; None when there is none yet, or none any more."""
        return self._pieces[0] if self._pieces else None

    @property
    def is_last(self) -> bool:
        """Whether the next piece is the last one, or there is no further one."""
        return self.ended_s is not None and len(self._pieces) <= 1

    def took(self, size: int | None = None) -> None:
        """So many bytes of the next piece are taken; by default all of it."""
        with self._changed:
            piece = self._pieces.popleft()
            if isinstance(piece, bytes):
                size = len(piece) if size is None else size
                self._waiting_bytes -= size
                if size < len(piece):
                    self._pieces.appendleft(piece[size:])
            self._changed.notify_all()

    def _put(self, piece: bytes | Headers) -> bool:
        with self._changed:
            if not self._has_room():
                return False
            self._pieces.append(piece)
            if isinstance(piece, bytes):
                self._waiting_bytes += len(piece)
        return True

    def _has_room(self) -> bool:
        """Wait for it; False when the client does not read, or has gone."""
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._wake()
            self.is_stuck = not self._changed.wait_for(self._may_go_on, self._patience_s)
        return self.is_open and self._waiting_bytes <= MAX_WAITING_BYTES

    def _may_go_on(self) -> bool:
        return not self.is_open or self._waiting_bytes <= MAX_WAITING_BYTES
