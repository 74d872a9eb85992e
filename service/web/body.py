"""The body of the request that is being answered, within its limits, and its headers."""

import io
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from flask import current_app, g, request

from service.errors import BadRequest, ContentTooLarge, QueueFull

if TYPE_CHECKING:
    from service.settings import Settings

# A sender that is refused early still sends the rest. If we closed the connection, it would be reset, and Knative's
# proxies would answer 502 instead of our answer. So the rest is read and thrown away first, up to this much.
MAX_DISCARDED_BYTES = 64 * 2**20
# Of a compressed body, inflated at a time.
PIECE_BYTES = 256 * 2**10


def too_large(limit: int, what: str = "") -> ContentTooLarge:
    """The refusal of a body over its limit, the same everywhere."""
    return ContentTooLarge(f"the body is more than {limit} bytes{what} (MAX_BODY_BYTES)")


def read_body() -> bytes:
    """The raw body, whatever its Content-Type: curl --data-binary sends that of a form by default.

    Raises:
        BadRequest: its Content-Encoding is wrong.
        ContentTooLarge: it is over MAX_BODY_BYTES, before or after decompression.
    """
    settings: Settings = current_app.extensions["settings"]
    limit, stream = settings.max_body_bytes, request.environ["wsgi.input"]
    # A body that is in memory already need not be copied piece by piece.
    body = stream.read() if isinstance(stream, io.BytesIO) else request.get_data(cache=False)
    # Flask silently stops at the limit of a chunked body, and does not tell whether there is more.
    if len(body) > limit or (len(body) == limit and stream.read(1)):
        raise too_large(limit)
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise BadRequest(f"Content-Encoding {encoding!r}: wanted gzip, deflate or none")
    return inflated(body, encoding, settings)


def inflated(body: bytes, encoding: str, settings: "Settings") -> bytes:
    """What a compressed body was before.

    Piece by piece, so that many small bodies that inflate well cannot take more memory than is allowed together.

    Raises:
        BadRequest: it is not of that encoding.
        ContentTooLarge: it is over MAX_BODY_BYTES.
        QueueFull: there is no memory for it now.
    """
    inflater = zlib.decompressobj(wbits=47)  # 32 + 15: zlib's or gzip's header
    requests, limit = current_app.extensions["requests"], settings.max_body_bytes
    pieces, length, left = [], 0, body
    while not inflater.eof:
        try:
            piece = inflater.decompress(left, PIECE_BYTES)
        except zlib.error as fault:
            raise BadRequest(f"the body is not {encoding}: {fault}") from None
        length, left = length + len(piece), inflater.unconsumed_tail
        if not piece and not left:
            break
        if length > limit:
            raise too_large(limit, " when inflated")
        if not requests.inflate(g.timing, len(piece), settings.max_buffered_bytes):
            raise QueueFull("the memory for inflated bodies is full (MAX_BUFFERED_BYTES)", retry_after_s=1)
        pieces.append(piece)
    if not inflater.eof or inflater.unused_data:
        raise BadRequest(f"the body is not {encoding}: it ends too {'late' if inflater.eof else 'early'}")
    return b"".join(pieces)


def read_headers() -> dict[str, str]:
    """The headers as WSGI has them (PEP 3333): one character for each byte that came.

    On Lambda they are text, and apig-wsgi does not change that: here they become the bytes that HTTP would have had.
    """
    headers = dict(request.headers)
    if "apig_wsgi.full_event" not in request.environ:
        return headers
    return {name: value.encode(errors="surrogatepass").decode("latin-1") for name, value in headers.items()}


def discard_body() -> None:
    """Read the rest of the body, so that the answer reaches the client.

    Needed behind another server, such as a function's; our own has read all of it already.
    """
    body, left = request.environ["wsgi.input"], MAX_DISCARDED_BYTES
    with suppress(Exception):  # the client knows that it has broken off
        while left > 0 and (chunk := body.read(65536)):
            left -= len(chunk)
