"""A real HTTP server in the place of a broker, or of the service itself: it remembers, and says what a test wants."""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.serving import HOST, Answer, Server, serving


@dataclass(frozen=True)
class Received:
    """An HTTP request; the names of its headers in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["ce-id"]


@dataclass(frozen=True)
class Reply:
    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


TAKEN = Reply()


class Broker:
    """`answer` may block; it is called by a thread for each request."""

    def __init__(self, port: int, answer: Callable[[Received], Reply]) -> None:
        self._port = port
        self._answer = answer
        self._changed = threading.Lock()
        self.received: list[Received] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/broker/default"

    def take(self, received: Received) -> Reply:
        with self._changed:
            self.received.append(received)
        return self._answer(received)


@contextmanager
def listening(*replies: Reply, answer: Callable[[Received], Reply] | None = None) -> Iterator[Broker]:
    """A broker that gives these replies first, and then takes everything, or does what `answer` does."""
    first = iter(replies)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = broker.take(Received(self.path, headers, body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Who asked has gone."""

    with Server((HOST, 0), Handler) as server:
        broker = Broker(server.server_address[1], lambda each: next(first, None) or (answer or _take)(each))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield broker
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Side:
    """A service, and the broker that it publishes to; nothing is delivered but by the test."""

    server: Server
    broker: Broker

    def deliver(self, index: int = -1) -> Answer:
        """As a broker does, with what only it adds."""
        got = self.broker.received[index]
        headers = {name: value for name, value in got.headers.items() if name.startswith(("ce-", "content-type"))}
        return self.server.call("POST", "/", got.body, {**headers, "Prefer": "reply"})

    def bury(self, code: int, body: bytes) -> None:
        """As a broker does with what it gives up."""
        got = self.broker.received[-1]
        told = {"ce-knativeerrordest": "http://kindling/", "ce-knativeerrorcode": str(code),
                "ce-knativeerrordata": b64encode(body).decode()}  # fmt: skip
        headers = {name: value for name, value in got.headers.items() if name.startswith(("ce-", "content-type"))}
        assert self.server.call("POST", "/dead-letters", got.body, headers | told).status == 204


@contextmanager
def with_broker(artifact: Path, folder: Path, broker: Broker, **settings: str) -> Iterator[Side]:
    url = f"sqlite:///{folder}/jobs.sqlite"
    with serving(artifact, folder / "log", DATABASE_URL=url, K_SINK=broker.url, **settings) as server:
        yield Side(server, broker)


def _take(_: Received) -> Reply:
    return TAKEN
