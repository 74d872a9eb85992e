"""Incoming: one HTTP/1.1 request that is arriving, fed piece by piece, never waited for. Knows no socket and no thread."""

import io
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import InvalidRequestLine, LimitRequestHeaders
from gunicorn.http.message import Request

from service.errors import BadRequest, KindlingError, RequestError
from service.web.body import MAX_DISCARDED_BYTES, too_large

# The size of one read: a photo of usual size with its header, or a good part of a large body.
USUAL_READ, LARGEST_READ = 2**16, 2**20

_BARE_LF = re.compile(rb"(?<!\r)\n")
# Chunk extensions (RFC 9112, section 7.1.1): nobody uses them, and without line ends in them they do no harm.
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?")
_MAX_CHUNK_LINE = 4096

Steps = Generator[None, None, None]


@dataclass(frozen=True)
class Limits:
    """The most bytes of a request's header and of its body."""

    header_bytes: int
    body_bytes: int


class Refused(io.RawIOBase):
    """The body of a request that is refused: reading it raises the reason, and so it becomes the route's answer.

    A route that reads no body, or finds another fault before, answers as if the body were fine.
    """

    def __init__(self, fault: KindlingError) -> None:
        self._fault = fault

    def readinto(self, _: object, /) -> int:
        raise self._fault


class Incoming:
    """A request that is arriving: header, then body, then complete.

    gunicorn's own parser reads the header once all of it is there, so both always agree where a request ends.

    Args:
        parse: the request that a header announces; raises gunicorn's ParseException.
        refusal: why the body of a request is not kept, by its header; None if it is.
    """

    def __init__(
        self,
        limits: Limits,
        parse: Callable[[bytes], Request],
        refusal: Callable[[Request], RequestError | None] = lambda _: None,
    ) -> None:
        self._limits = limits
        self._parse = parse
        self._refusal = refusal
        self._buffer = bytearray()
        self._body = bytearray()
        self._discarded = 0
        self._fault: KindlingError | None = None
        self._steps = self._read()
        self.request: Request | None = None
        """Once its header is there."""
        self.wanted = USUAL_READ
        """How many bytes the next read may ask for."""

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return len(self._buffer) + len(self._body)

    @property
    def rest(self) -> bytes:
        """What has come and was not read yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> bool:
        """Whether the request is complete with these bytes.

        Raises:
            ParseException: it has no usable header, and so there is no `request`.
        """
        self._buffer += data
        try:
            next(self._steps)
        except StopIteration:
            return True
        except RequestError as fault:  # where the request ends is unknown, or too far away
            self.end(fault)
            return True
        return False

    def take_expectation(self) -> bool:
        """Whether the client waits to be told that it may send its body; True once."""
        expects = self.request is not None and self.request._expected_100_continue  # noqa: SLF001 - gunicorn has no other
        if expects:
            self.request._expected_100_continue = False  # type: ignore[union-attr] # noqa: SLF001 - or gunicorn tells it again
        return expects

    def refuse(self, fault: KindlingError) -> None:
        """Keep nothing of the body, and answer with `fault` once all of it has arrived. The first reason counts."""
        self._fault = self._fault or fault
        self._body.clear()

    def end(self, fault: KindlingError) -> None:
        """Refuse the request without waiting for the rest; the connection cannot be used afterwards."""
        assert self.request is not None
        self.refuse(fault)
        self._buffer.clear()
        self.request.force_close()

    def complete(self) -> bytes:
        """Give the request its body. Returns the bytes that came after it."""
        assert self.request is not None
        self.request.body = Refused(self._fault) if self._fault else io.BytesIO(bytes(self._body))
        self._body.clear()
        return bytes(self._buffer)

    def _read(self) -> Steps:
        """Read from the first byte to the last; yields wherever it needs more."""
        header = bytearray()
        yield from self._header(header)
        self.request = self._parse(bytes(header))
        if fault := self._refusal(self.request):
            self._turn_away(fault)
        reader = self.request.body.reader
        if isinstance(reader, ChunkedReader):
            yield from self._chunks()
            return
        if reader.length > self._limits.body_bytes:
            self._turn_away(too_large(self._limits.body_bytes))
        yield from self._take(reader.length)

    def _turn_away(self, fault: RequestError) -> None:
        """Refuse the request; a client that waits for our word sends no body, and so gets the answer now."""
        self.refuse(fault)
        if self.take_expectation():
            raise fault

    def _header(self, header: bytearray) -> Steps:
        searched = 0
        while (end := self._buffer.find(b"\r\n\r\n", max(0, searched - 3))) < 0:
            if _BARE_LF.search(self._buffer, searched):
                raise InvalidRequestLine("bare LF as line terminator")
            searched = len(self._buffer)
            self._check_header(searched)
            yield
        self._check_header(end)
        header += self._buffer[: end + 4]
        del self._buffer[: end + 4]

    def _check_header(self, size: int) -> None:
        if size > self._limits.header_bytes:
            raise LimitRequestHeaders(f"the header is more than {self._limits.header_bytes} bytes (MAX_HEADER_BYTES)")

    def _chunks(self) -> Steps:
        """RFC 9112, section 7.1; a trailer is read over."""
        line = bytearray()
        while True:
            yield from self._line(line)
            if not (found := _CHUNK_SIZE.fullmatch(line)):
                raise BadRequest(f"the chunked body is malformed: {bytes(line[:20])!r} is not the size of a chunk")
            if not (size := int(found[1], 16)):
                break
            yield from self._take(size)
            while len(self._buffer) < 2:
                yield
            if self._buffer[:2] != b"\r\n":
                raise BadRequest(f"the chunked body is malformed: a chunk is longer than its size, {size}")
            del self._buffer[:2]
        trailer = 0
        while line:
            yield from self._line(line)
            trailer += len(line)
            if trailer > self._limits.header_bytes:
                raise BadRequest(f"the trailer is more than {self._limits.header_bytes} bytes (MAX_HEADER_BYTES)")

    def _line(self, line: bytearray) -> Steps:
        """The next line, without its end, into `line`."""
        searched = 0
        while (end := self._buffer.find(b"\r\n", max(0, searched - 1))) < 0:
            searched = len(self._buffer)
            if searched > _MAX_CHUNK_LINE:
                break
            yield
        line[:] = self._buffer[: max(0, end)]
        if not 0 <= end <= _MAX_CHUNK_LINE or b"\n" in line or b"\r" in line:
            raise BadRequest("the chunked body is malformed: a line does not end")
        del self._buffer[: end + 2]

    def _take(self, size: int) -> Steps:
        """Append the next `size` bytes to the body; drop them once the request is refused."""
        while size:
            # Usually everything in the buffer belongs to the body, and then nothing is copied.
            if len(self._buffer) <= size:
                piece, self._buffer = self._buffer, bytearray()
            else:
                piece = self._buffer[:size]
                del self._buffer[:size]
            size -= len(piece)
            if len(self._body) + len(piece) > self._limits.body_bytes:
                self.refuse(too_large(self._limits.body_bytes))
            if self._fault is None:
                self._body += piece
            else:
                self._discarded += len(piece)
                if self._discarded > MAX_DISCARDED_BYTES:
                    raise too_large(self._limits.body_bytes)
            if size:
                self.wanted = min(max(size, USUAL_READ), LARGEST_READ)
                yield
        self.wanted = USUAL_READ
