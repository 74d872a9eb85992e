"""A client for HTTP/2 that does what a test wants, frame by frame; h2 keeps the state of its side."""

import socket
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.support.serving import HOST, Server

INFER = "/infer?top=1"


class Frames(h2.connection.H2Connection):
    """h2 ends the connection with the server's GOAWAY, although what was asked before is still answered (RFC 9113, 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[h2.events.Event]]:
        event = h2.events.ConnectionTerminated()
        event.error_code = frame.error_code
        return [], [event]


@dataclass
class Got:
    """What has come of one answer."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    is_ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


class Client:
    """One connection; requests are numbered 1, 3, 5 ... as HTTP/2 does.

    Args:
        window: how much of an answer the server may send ahead.
        reads: whether windows are opened again as answers come.
    """

    def __init__(self, connection: socket.socket, window: int = 2**16 - 1, *, reads: bool = True) -> None:
        self._socket = connection
        self._reads = reads
        self.answers: defaultdict[int, Got] = defaultdict(Got)
        self.is_draining = False
        self.is_closed = False
        self.frames = Frames(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.frames.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.frames.initiate_connection()
        self.flush()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        is_whole: bool = True,
    ) -> int:
        """Begin a request, and end it if it `is_whole`; its number."""
        stream = self.frames.get_next_available_stream_id()
        pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": "tests"}
        self.frames.send_headers(stream, [*pseudo.items(), *(headers or {}).items()], end_stream=is_whole and not body)
        self.flush()
        if body:
            self.send(stream, body, is_last=is_whole)
        return stream

    def send(self, stream: int, body: bytes, *, is_last: bool = False) -> None:
        """A piece of a request's body."""
        while body:
            self.until(lambda: self.frames.local_flow_control_window(stream) > 0 or self.answers[stream].is_ended)
            if self.answers[stream].is_ended:
                return
            size = min(self.frames.local_flow_control_window(stream), self.frames.max_outbound_frame_size)
            piece, body = body[:size], body[size:]
            self.frames.send_data(stream, piece, end_stream=is_last and not body)
            self.flush()

    def answer(self, stream: int) -> Got:
        """The whole answer."""
        got = self.answers[stream]
        self.until(lambda: got.is_ended or got.reset is not None)
        return got

    def until(self, check: Callable[[], bool]) -> None:
        """Read until that is so."""
        while not check():
            assert not self.is_closed, "the server has closed the connection"
            self.read()

    def read(self) -> None:
        """What comes next."""
        data = self._socket.recv(2**16)
        self.is_closed = not data
        for event in self.frames.receive_data(data) if data else ():
            self._take(event)
        self.flush()

    def flush(self) -> None:
        self._socket.sendall(self.frames.data_to_send())

    def send_raw(self, data: bytes) -> None:
        """Bytes behind h2's back."""
        self._socket.sendall(data)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.answers[event.stream_id].headers = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.TrailersReceived):
            self.answers[event.stream_id].trailers = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            self.answers[event.stream_id].body += event.data
            if self._reads:
                self.frames.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.answers[event.stream_id].is_ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.answers[event.stream_id].reset = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.is_draining = True


@contextmanager
def speaking_http2(server: Server, window: int = 2**16 - 1, *, reads: bool = True) -> Iterator[Client]:
    """A connection to the server."""
    with socket.create_connection((HOST, server.port), timeout=60) as connection:
        yield Client(connection, window, reads=reads)
