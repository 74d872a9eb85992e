"""A request on its way in, cut into pieces in every way: where it ends, and what is wrong with it."""

from collections.abc import Sequence

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import LimitRequestHeaders, ParseException
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader

from service.errors import BadRequest, ContentTooLarge, KindlingError, QueueFull
from service.serving.incoming import Incoming, Limits
from service.web.body import MAX_DISCARDED_BYTES

LIMITS = Limits(header_bytes=1000, body_bytes=500)
BODY = bytes(range(256))
LENGTH = b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b'10\r\n%s\r\nF0;name="value"\r\n%s\r\n0\r\nTrailer: read over\r\n\r\n' % (BODY[:16], BODY[16:])


def _incoming(limits: Limits = LIMITS) -> Incoming:
    return Incoming(limits, lambda header: Request(Config(), IterUnreader([header]), ("127.0.0.1", 1), 1))


def _feed(incoming: Incoming, pieces: Sequence[bytes]) -> bool:
    """Whether the request was complete with the last of them, and not before."""
    for piece in pieces[:-1]:
        assert not incoming.feed(piece)
    return incoming.feed(pieces[-1])


def _fault(incoming: Incoming) -> KindlingError:
    assert incoming.request is not None
    with pytest.raises(KindlingError) as raised:
        incoming.request.body.read(10)
    return raised.value


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("sent", [LENGTH % len(BODY) + BODY, CHUNKED + CHUNKS], ids=["length", "chunked"])
def test_a_request_is_the_same_however_it_is_cut(sent: bytes, size: int) -> None:
    incoming = _incoming()
    assert _feed(incoming, [sent[start : start + size] for start in range(0, len(sent), size)])
    assert incoming.complete() == b""
    assert incoming.request is not None
    assert (incoming.request.method, incoming.request.path) == ("POST", "/infer")
    assert incoming.request.body.read() == BODY
    assert not incoming.request.should_close()


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", LENGTH % len(BODY) + BODY, CHUNKED + CHUNKS], ids=["none", "length", "chunked"]
)
def test_what_comes_behind_is_left_for_the_next_request(sent: bytes) -> None:
    incoming = _incoming()
    assert incoming.feed(sent + b"GET /v2")
    assert incoming.complete() == b"GET /v2"


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n", b"\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\n", b"f" * 16 + b"\r\n", b"1;\r\x00\r\n",
     b"5\r\nhelloworld", b"5\r\nhello\n\n", b"5\nhello\r\n", b"1" * 4097, b"5;" + b"x" * 4097 + b"\r\n",
     b"0\r\na\nb: c\r\n", b"0\r\n" + b"a: b\r\n" * 300],
)  # fmt: skip
def test_a_malformed_chunk_is_a_bad_request_at_once(chunks: bytes) -> None:
    incoming = _incoming()
    assert incoming.feed(CHUNKED + chunks)
    assert incoming.complete() == b""
    assert isinstance(_fault(incoming), BadRequest)
    # Where the next request begins is unknown.
    assert incoming.request is not None
    assert incoming.request.should_close()


@pytest.mark.parametrize(
    "header",
    [b"GET / HTTP/1.1\nHost: x\n\n", b"GET / HTTP/1.1\r\nHost: x\n", b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
     b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET / HTTP/1.1\r\n folded\r\n\r\n"],
)  # fmt: skip
def test_a_malformed_header_is_told_at_once(header: bytes) -> None:
    incoming = _incoming()
    with pytest.raises(ParseException):
        incoming.feed(header)
    assert incoming.request is None


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["endless", "ended"])
def test_a_header_over_the_limit_is_refused_before_and_after_its_end(end: bytes) -> None:
    with pytest.raises(LimitRequestHeaders, match=r"^the header is more than 1000 bytes \(MAX_HEADER_BYTES\)$"):
        _incoming().feed(b"GET / HTTP/1.1\r\nX: " + bytes(1000).replace(b"\0", b"x") + end)


@pytest.mark.parametrize("sent", [LENGTH % 501, CHUNKED + b"1F5\r\n"], ids=["length", "chunked"])
def test_a_body_over_the_limit_is_read_to_its_end_and_not_kept(sent: bytes) -> None:
    incoming = _incoming()
    assert not incoming.feed(sent + bytes(500))
    assert incoming.feed(b"\0" if b"Length" in sent else b"\0\r\n0\r\n\r\n")
    assert incoming.held == 0
    incoming.complete()
    assert str(_fault(incoming)) == "the body is more than 500 bytes (MAX_BODY_BYTES)"
    assert incoming.request is not None
    assert not incoming.request.should_close()


def test_what_is_thrown_away_is_bounded() -> None:
    incoming, mib = _incoming(), bytes(2**20)
    assert not incoming.feed(LENGTH % 10**12)
    fed = 0
    while not incoming.feed(mib):
        fed += len(mib)
        assert incoming.held <= len(mib)
    assert fed == MAX_DISCARDED_BYTES
    incoming.complete()
    assert isinstance(_fault(incoming), ContentTooLarge)
    assert incoming.request is not None
    assert incoming.request.should_close()


def test_who_asks_before_sending_too_much_is_refused_without_it() -> None:
    incoming = _incoming()
    assert incoming.feed((LENGTH % 501).replace(b"Host", b"Expect: 100-continue\r\nHost"))
    incoming.complete()
    assert isinstance(_fault(incoming), ContentTooLarge)
    assert not incoming.take_expectation()


def test_who_asks_before_sending_is_told_once() -> None:
    incoming = _incoming()
    assert not incoming.feed((LENGTH % 1).replace(b"Host", b"Expect: 100-continue\r\nHost"))
    assert incoming.take_expectation()
    assert not incoming.take_expectation()
    assert incoming.feed(b"\0")


def test_a_refused_body_is_not_kept_and_the_first_reason_counts() -> None:
    incoming = _incoming()
    assert not incoming.feed(LENGTH % 500 + bytes(499))
    assert incoming.held == 499
    incoming.refuse(QueueFull("full", 1))
    assert incoming.held == 0
    incoming.refuse(BadRequest("another"))
    assert incoming.feed(b"\0")
    incoming.complete()
    assert str(_fault(incoming)) == "full"


def test_a_large_body_is_asked_for_in_large_pieces() -> None:
    incoming = _incoming(Limits(1000, 10 * 2**20))
    assert incoming.wanted == 2**16
    incoming.feed(LENGTH % (10 * 2**20))
    assert incoming.wanted == 2**20
    incoming.feed(bytes(10 * 2**20 - 70_000))
    assert incoming.wanted == 70_000
