"""What the server of a claim check may do: answer with errors, too much, too slowly, without an end, or without a name."""

import select
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from service.errors import NotReady, Unprocessable
from service.events import dataref
from tests.conftest import Serve
from tests.support.events import RETRIED, event, replies, send
from tests.support.pictures import png
from tests.support.web import Answering, Web, answer, certificate_of, web

PICTURE = png(40, 30)


def _fetch(found: Web, max_bytes: int = 10**6, url: str | None = None) -> bytes:
    url = url or found.url("/cat.png")
    return dataref.fetch(url, [url], max_bytes, private=True)


def _raw(*parts: bytes, every_s: float | None = None) -> Answering:
    """An answer that is these bytes; with a pause the last of them again and again, as long as somebody listens."""

    def answering(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        for each in parts:
            handler.wfile.write(each)
        while every_s is not None and not select.select([handler.connection], [], [], every_s)[0]:
            handler.wfile.write(parts[-1])

    return answering


def _status(status: int) -> Answering:
    return lambda handler: answer(handler, b"" if status in (204, 304) else PICTURE, status)


@pytest.mark.parametrize("status", [201, 203, 204, 206, 304, 400, 401, 403, 404, 405, 410, 416, 451])
def test_a_server_that_has_no_such_thing_is_believed(status: int) -> None:
    with web(_status(status)) as found, pytest.raises(Unprocessable, match=f"^dataref: 127.0.0.1 answers {status}$"):
        _fetch(found)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_server_in_trouble_is_asked_again_later(status: int) -> None:
    with web(_status(status)) as found, pytest.raises(NotReady, match=f"^dataref: 127.0.0.1 answers {status}$"):
        _fetch(found)


@pytest.mark.parametrize("headers", [None, {}, {"Transfer-Encoding": "chunked"}], ids=["length", "none", "chunked"])
def test_what_is_larger_than_the_limit_is_refused(headers: dict[str, str] | None) -> None:
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PICTURE), PICTURE) if headers else PICTURE
    with web(lambda handler: answer(handler, body, 200, headers)) as found:
        assert _fetch(found, len(PICTURE)) == PICTURE
        with pytest.raises(Unprocessable, match=f"^dataref: more than {len(PICTURE) - 1} bytes$"):
            _fetch(found, len(PICTURE) - 1)


def test_what_never_ends_is_read_no_further_than_the_limit() -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        answer(handler, headers={})
        while True:  # until nobody reads any more
            handler.wfile.write(bytes(65536))
            sent += 65536

    with web(endless) as found, pytest.raises(Unprocessable, match="more than 1000000 bytes"):
        _fetch(found)
    assert sent < 50_000_000  # the kernel's buffers hold some


@pytest.mark.parametrize(
    "sent",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",), (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",), (b"nonsense\r\n\r\n",), (b"",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",), (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200,),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,), (b"HTTP/1.1 0 OK\r\n\r\n",), (b"\0" * 1000,),
    ],
)  # fmt: skip
def test_an_answer_that_is_broken_off_or_none_is_no_data(sent: tuple[bytes, ...]) -> None:
    with web(_raw(*sent)) as found, pytest.raises(NotReady):
        _fetch(found)


@pytest.mark.parametrize(
    "sent",
    [
        (b"",), (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), (b"HTTP/1.1 ", b"2"), (b"HTTP/1.1 200 OK\r\n\r\n", b"."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"."), (b"HTTP/1.1 100 Continue\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
    ],
    ids=["silent", "headers", "status", "endless", "length", "continue", "chunks"],
)  # fmt: skip
def test_a_server_that_only_drips_is_left_in_time(monkeypatch: pytest.MonkeyPatch, sent: tuple[bytes, ...]) -> None:
    """No read is without news for long, and yet there is no end."""
    monkeypatch.setattr(dataref, "TIMEOUT_S", 0.5)
    with web(_raw(*sent, every_s=0.05)) as found:
        began = time.monotonic()
        with pytest.raises(NotReady, match=r"^dataref: 127\.0\.0\.1 (does not answer|sent no end in 0\.5 s)"):
            _fetch(found)
        assert 0.4 < time.monotonic() - began < 5


def test_a_server_that_is_not_there_may_come_back() -> None:
    with web(PICTURE) as found:
        assert _fetch(found) == PICTURE
    with pytest.raises(NotReady, match=r"^dataref: 127\.0\.0\.1 does not answer \(\[Errno 111\] Connection refused\)$"):
        _fetch(found)


def test_a_certificate_must_be_valid_and_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, certificate = certificate_of(tmp_path, "localhost")
    with web(PICTURE, context=context) as found:
        good, other = (f"https://{host}:{found.port}/cat.png" for host in ("localhost", "127.0.0.1"))
        with pytest.raises(Unprocessable, match=r"^dataref: the certificate of localhost: self-signed certificate$"):
            _fetch(found, url=good)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(Unprocessable, match=r"^dataref: the certificate of 127\.0\.0\.1: IP address mismatch"):
            _fetch(found, url=other)
        assert found.came == []
        assert _fetch(found, url=good) == PICTURE


def test_a_server_without_tls_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataref, "TIMEOUT_S", 2.0)
    with web(PICTURE) as found, pytest.raises(NotReady, match="does not answer"):
        _fetch(found, url=f"https://127.0.0.1:{found.port}/")


@pytest.fixture(scope="module")
def trouble() -> Iterator[Web]:
    """The path says with which status it answers, and 200 is too much."""

    def answering(handler: BaseHTTPRequestHandler) -> None:
        status = int(handler.path[1:])
        answer(handler, PICTURE + bytes(status == 200), status)

    with web(answering) as found:
        yield found


@pytest.mark.parametrize(("status", "wanted"), [(404, 422), (302, 422), (503, 503), (200, 422)])
def test_an_event_is_told_what_became_of_its_claim(
    serve: Serve, tiny_onnx: Path, trouble: Web, status: int, wanted: int
) -> None:
    settings = {"DATAREF_ALLOW": trouble.url(), "DATAREF_ALLOW_PRIVATE": "true", "MAX_BODY_BYTES": str(len(PICTURE))}
    server = serve(tiny_onnx, **settings)
    refused = send(server, "binary", event(None, "image/png", dataref=trouble.url(f"/{status}")))
    assert refused.status == wanted
    assert refused.error.startswith("dataref: ")
    assert (refused.status in RETRIED) == (wanted == 503)
    assert replies(send(server, "binary", event(PICTURE, "image/png")))
