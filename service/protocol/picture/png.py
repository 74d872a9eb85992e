"""PNG (w3.org/TR/png-3): chunks, and pictures without their end.

Pillow sees only the chunks that make pixels: no text, profile or Exif is inflated, and none can make it refuse a picture.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from service.errors import Unprocessable
from service.protocol.picture import orientation
from service.protocol.picture.undecoded import TOLERATED, Undecoded, percent, stored_bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_EXIF, _TEXT = b"eXIf", b"iTXt"
_XMP = b"XML:com.adobe.xmp\0\0"  # keyword, and "not compressed"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATED_AT_ONCE = 2**20


@dataclass(frozen=True)
class _Header:
    """IHDR."""

    size: tuple[int, int]
    depth: int
    colour: int
    is_interlaced: bool

    @property
    def mode(self) -> str:
        """The mode in which Pillow decodes it."""
        if self.colour in (0, 3):
            return "I;16" if self.depth == 16 else "L"
        return "RGBA"

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row once it is inflated, with its filter byte; Pillow keeps two rows."""
        return 1 + (columns * self.depth * _CHANNELS[self.colour] + 7) // 8

    @property
    def raw_bytes(self) -> int:
        """Bytes of all rows."""
        width, height = self.size
        passes = _ADAM7 if self.is_interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, across, down in passes:
            columns, rows = -(-(width - left) // across), -(-(height - top) // down)
            total += rows * self.row_bytes(columns) if columns > 0 and rows > 0 else 0
        return total


def read(encoded: bytes) -> Undecoded:
    """The picture."""
    kept, up = [SIGNATURE], orientation.UPRIGHT
    for kind, start, end in _chunks(encoded):
        if kind in _PIXELS:
            kept.append(encoded[start:end])
        elif kind == _EXIF:
            up = orientation.of_exif(encoded[start + 8 : end - 4])
        elif kind == _TEXT and up == orientation.UPRIGHT and encoded.startswith(_XMP, start + 8):
            up = orientation.of_xmp(encoded[start + 8 : end - 4])
    header = _header(kept)
    if not any(chunk[4:8] == b"IDAT" for chunk in kept):
        raise Unprocessable("truncated PNG: it ends before its pixels")
    bare = encoded if sum(map(len, kept)) == len(encoded) else b"".join(kept)
    peak_bytes = stored_bytes(header.mode, header.size) + 2 * header.row_bytes(header.size[0])
    return Undecoded(header.size, up, peak_bytes, lambda: _load(bare, header))


def _load(bare: bytes, header: _Header) -> Image.Image:
    try:
        picture = PngImageFile(io.BytesIO(bare))
    except Exception as fault:
        raise Unprocessable(f"damaged PNG: {fault}") from None
    if header.depth == 16:
        picture.info.pop("transparency", None)  # a colour of 16 bits, to be compared with pixels of 8
    try:
        picture.load()
    except Exception as fault:
        _check_what_is_there(bare, header, fault)
        picture.tile = []  # The decoded rows stay; the rest is black.
    return picture


def _check_what_is_there(bare: bytes, header: _Header, fault: Exception) -> None:
    """Raise Unprocessable, and say how much is missing, unless only the last rows are missing."""
    chunks = [*_chunks(bare)]
    if chunks[-1][0] == b"IEND":
        raise Unprocessable(f"damaged PNG: {fault}") from None
    try:
        arrived = sum(_inflated(bare[start + 8 : end] for kind, start, end in chunks if kind == b"IDAT"))
    except zlib.error as damage:
        raise Unprocessable(f"damaged PNG: {damage}") from None
    missing = max(0.0, 1 - arrived / header.raw_bytes)
    if missing > TOLERATED:
        raise Unprocessable(f"truncated PNG: {percent(missing)} of its rows are missing") from None


def _inflated(parts: Iterator[bytes]) -> Iterator[int]:
    """The number of bytes that each step inflates; memory never holds more than one step."""
    inflate = zlib.decompressobj()
    for part in parts:
        rest = part
        while rest and not inflate.eof:
            yield len(inflate.decompress(rest, _INFLATED_AT_ONCE))
            rest = inflate.unconsumed_tail


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, where it starts, where the next one does) up to IEND; the last one may end early."""
    at = len(SIGNATURE)
    while at + 8 <= len(encoded):
        end = at + 12 + int.from_bytes(encoded[at : at + 4])
        kind = encoded[at + 4 : at + 8]
        yield kind, at, min(end, len(encoded))
        if kind == b"IEND":
            return
        at = end


def _header(chunks: list[bytes]) -> _Header:
    first = chunks[1] if len(chunks) > 1 else b""
    if first[4:8] != b"IHDR" or len(first) < 21:
        raise Unprocessable("truncated PNG: it ends before its pixels")
    width, height = int.from_bytes(first[8:12]), int.from_bytes(first[12:16])
    depth, colour = first[16], first[17]
    if not (width and height) or colour not in _CHANNELS:
        raise Unprocessable(f"damaged PNG: {width}x{height} pixels of colour type {colour}")
    return _Header((width, height), depth, colour, bool(first[20]))
