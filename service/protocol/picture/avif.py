"""AVIF (aomediacodec.github.io/av1-avif) by the decoder in Pillow's plugin, which itself would copy the pixels again."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image, _avif

from service.errors import Unprocessable
from service.protocol.picture.undecoded import Undecoded

_ONE_THREAD = 1
"""As many pictures are decoded at once as there are cores; each thread of dav1d would keep frames of its own."""
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03].{3}(?:.{2}){2,3}?)Exif", re.DOTALL)
"""The entry of an item (ISO/IEC 14496-12, 8.11.6): its type follows its number and its protection. Broken Exif is refused."""
_SPARE = 0.7
"""Bytes a pixel that dav1d keeps beside its planes (8.1 measured where planes, pixels and copy are 7.5)."""
_HIGH_DEPTH, _MONOCHROME, _HALF_ACROSS, _HALF_DOWN = 0x40, 0x10, 0x08, 0x04


@dataclass(frozen=True)
class _Rows:
    """RGB or RGBA as bytes; `crop` makes pictures of parts, so that the whole never takes Pillow's 4 bytes a pixel."""

    pixels: memoryview
    mode: str
    size: tuple[int, int]

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        left, top, right, bottom = box
        depth = len(self.mode)
        stride = self.size[0] * depth
        part = self.pixels[top * stride + left * depth :]
        return Image.frombuffer(self.mode, (right - left, bottom - top), part, "raw", self.mode, stride, 1)  # type: ignore[arg-type]


def read(encoded: bytes) -> Undecoded:
    """The picture; of a sequence its first frame. libavif says how to turn it, whatever Exif says."""
    try:
        decoder = _avif.AvifDecoder(_EXIF_ITEM.sub(rb"\1none", encoded), "auto", _ONE_THREAD)
        size, _, mode, _, _, orientation, _ = decoder.get_info()
    except Exception as fault:
        raise _unreadable(fault, encoded) from None
    return Undecoded(
        size, orientation, _peak_bytes(encoded, mode, size), lambda: _load(decoder.get_frame, mode, size, encoded)
    )


def _load(
    get_frame: Callable[[int], tuple[bytes, int, int, int]], mode: str, size: tuple[int, int], encoded: bytes
) -> _Rows:
    try:
        pixels, *_ = get_frame(0)
    except Exception as fault:
        raise _unreadable(fault, encoded) from None
    return _Rows(memoryview(pixels), mode, size)


def _unreadable(fault: Exception, encoded: bytes) -> Unprocessable:
    if missing := _missing(encoded):
        return Unprocessable(f"truncated AVIF: at least {missing} bytes are missing")
    return Unprocessable(f"damaged AVIF: {fault}")


def _missing(encoded: bytes) -> int:
    """How many bytes are missing at the end of the file, by its boxes (ISO/IEC 14496-12, 4.2)."""
    *_, (_, end) = _boxes(encoded)
    return max(0, end - len(encoded))


def _boxes(encoded: bytes) -> Iterator[tuple[int, int]]:
    """(begin, end) of each box of the file."""
    at = 0
    while at < len(encoded):
        size = int.from_bytes(encoded[at : at + 4])
        if size == 1:
            size = int.from_bytes(encoded[at + 8 : at + 16])
        elif size == 0:  # the box goes up to the end
            size = len(encoded) - at
        size = max(8, size)
        yield at, at + size
        at += size


def _peak_bytes(encoded: bytes, mode: str, size: tuple[int, int]) -> int:
    """Memory for the planes that dav1d decodes (1 or 2 bytes a sample), for libavif's pixels, and for Pillow's copy."""
    width, height = size
    at, planes = -1, 0.0
    while (at := encoded.find(b"av1C", at + 1)) >= 0:  # one for the colours, one for alpha
        flags = encoded[at + 6] if at + 6 < len(encoded) else 0
        colour = 2.0 / (1 + (flags & _HALF_ACROSS > 0)) / (1 + (flags & _HALF_DOWN > 0))
        samples = 1.0 if flags & _MONOCHROME else 1.0 + colour
        planes = max(planes, samples * (2 if flags & _HIGH_DEPTH else 1))
    alpha = 2.0 if mode == "RGBA" else 0.0
    return round(width * height * (planes + alpha + 2 * len(mode) + _SPARE))
