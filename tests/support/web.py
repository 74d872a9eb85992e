"""A real HTTP server of the tests' own: a function gives its answers, and it notes its requests."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.serving import HOST

Answering = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Web:
    """`came`: path and Host header of every request, in their order."""

    port: int
    came: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str = "/", host: str = HOST) -> str:
        return f"http://{host}:{self.port}{path}"


def answer(
    handler: BaseHTTPRequestHandler, body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} if headers is None else headers).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def web(
    answering: Answering | bytes, host: str = HOST, port: int = 0, context: ssl.SSLContext | None = None
) -> Iterator[Web]:
    """A server that answers so, or with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.came.append((self.path, self.headers["Host"]))
            if isinstance(answering, bytes):
                answer(self, answering)
            else:
                answering(self)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            """Be silent."""

    with ThreadingHTTPServer((host, port), Handler) as server:
        found = Web(server.server_port)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # the client has gone
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def certificate_of(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context for that name, and the certificate that a client has to trust."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
