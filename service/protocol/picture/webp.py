"""WebP (RFC 9649) by libwebp's own function: Pillow uses its decoder for animations, which takes 16 bytes a pixel."""

import ctypes
import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image, _webp

from service.errors import Unprocessable
from service.protocol.picture import orientation
from service.protocol.picture.undecoded import Undecoded

_LOSSY, _LOSSLESS, _ALPHA, _EXTENDED, _FRAME = b"VP8 ", b"VP8L", b"ALPH", b"VP8X", b"ANMF"
_HAS_ALPHA = 0x10
_FRAME_HEADER = 16


@dataclass(frozen=True)
class _Still:
    """One picture: a file of its own, or the first frame of an animation, which covers a part of the canvas.

    `origin` is its place on the canvas.
    """

    file: bytes
    canvas: tuple[int, int]
    origin: tuple[int, int] = (0, 0)


def read(encoded: bytes) -> Undecoded:
    """The picture; of an animation its first frame."""
    chunks = list(_chunks(encoded, 12))
    kinds = {kind for kind, _, _ in chunks}
    up = next((orientation.of_exif(encoded[start:end]) for kind, start, end in chunks if kind == b"EXIF"), 1)
    if up == orientation.UPRIGHT:
        up = next((orientation.of_xmp(encoded[start:end]) for kind, start, end in chunks if kind == b"XMP "), 1)
    still = _first_frame(encoded, chunks) if _FRAME in kinds else _Still(encoded, _size(encoded, chunks))
    width, height = still.canvas
    within = {kind for kind, _, _ in _chunks(still.file, 12)}
    # libwebp itself keeps a whole picture only if it is lossless: 4 bytes a pixel; lossless alpha takes 1 more.
    pixel_bytes = 4 + (4 if _LOSSLESS in within else 5 if _ALPHA in within else 0)
    return Undecoded(still.canvas, up, width * height * pixel_bytes, lambda: _load(still, encoded))


def _load(still: _Still, encoded: bytes) -> Image.Image:
    width, height = still.canvas
    pixels, stride = bytearray(width * height * 4), width * 4
    begin = still.origin[1] * stride + still.origin[0] * 4
    room = (ctypes.c_char * (len(pixels) - begin)).from_buffer(pixels, begin)
    if not _decode()(still.file, len(still.file), room, len(room), stride):
        missing = int.from_bytes(encoded[4:8], "little") + 8 - len(encoded)
        if missing > 0:
            raise Unprocessable(f"truncated WebP: {missing} of its {len(encoded) + missing} bytes are missing")
        raise Unprocessable("damaged WebP: its pixels cannot be decoded")
    return Image.frombuffer("RGBA", still.canvas, pixels, "raw", "RGBA", 0, 1)  # no copy


@functools.cache
def _decode() -> Callable[..., int | None]:
    """WebPDecodeRGBAInto(data, size, output, output size, stride) of webp/decode.h: NULL if it fails."""
    # A look-up in Pillow's module also finds the functions of the libwebp that it is linked with.
    decode = ctypes.CDLL(_webp.__file__).WebPDecodeRGBAInto
    decode.restype = ctypes.c_void_p
    decode.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return decode


def _chunks(encoded: bytes, at: int, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, begin and end of its content); the last one may end early."""
    end = len(encoded) if end is None else end
    while at + 8 <= end:
        length = int.from_bytes(encoded[at + 4 : at + 8], "little")
        yield encoded[at : at + 4], at + 8, min(at + 8 + length, end)
        at += 8 + length + length % 2


def _size(encoded: bytes, chunks: list[tuple[bytes, int, int]]) -> tuple[int, int]:
    """Of the canvas, as the first chunk says."""
    kind, start, end = chunks[0] if chunks else (b"", 0, 0)
    content = io.BytesIO(encoded[start : min(end, start + 10)])
    if kind == _EXTENDED and end - start >= 10:
        content.seek(4)
        return _number(content, 3) + 1, _number(content, 3) + 1
    if kind == _LOSSY and end - start >= 10:
        content.seek(6)
        return _number(content, 2) & 0x3FFF, _number(content, 2) & 0x3FFF
    if kind == _LOSSLESS and end - start >= 5:
        content.seek(1)
        bits = _number(content, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise Unprocessable("truncated WebP: it ends before its pixels")


def _first_frame(encoded: bytes, chunks: list[tuple[bytes, int, int]]) -> _Still:
    start, end = next((start, end) for kind, start, end in chunks if kind == _FRAME)
    canvas, header = _size(encoded, chunks), io.BytesIO(encoded[start : start + _FRAME_HEADER])
    left, top = _number(header, 3) * 2, _number(header, 3) * 2
    size = _number(header, 3) + 1, _number(header, 3) + 1
    if left + size[0] > canvas[0] or top + size[1] > canvas[1]:
        raise Unprocessable("damaged WebP: its first frame lies outside of its canvas")
    inner = encoded[start + _FRAME_HEADER : end]
    if inner.startswith(_ALPHA):  # only the extended format has alpha beside the pixels
        sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
        inner = _EXTENDED + (10).to_bytes(4, "little") + bytes([_HAS_ALPHA, 0, 0, 0]) + sides + inner
    return _Still(b"RIFF" + (len(inner) + 4).to_bytes(4, "little") + b"WEBP" + inner, canvas, (left, top))


def _number(content: io.BytesIO, length: int) -> int:
    return int.from_bytes(content.read(length), "little")
