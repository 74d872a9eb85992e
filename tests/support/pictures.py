"""Pictures made by hand: every test knows each of its pixels."""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Left, top and steps of the passes of an interlaced PNG (w3.org/TR/png-3, 8.1)."""


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Every pixel at random: what shows each difference, and what no codec makes small."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, (width, height), random.Random(width * height).randbytes(width * height * channels))


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth RGB picture, different for each seed: large blocks of colour, blended."""
    blocks = random.Random(seed).randbytes(5 * 5 * 3)
    return Image.frombytes("RGB", (5, 5), blocks).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, seed: int = 0) -> bytes:
    return encoded(photo(width, height, seed), "PNG")


def jpeg(width: int, height: int, seed: int = 0, **options: Any) -> bytes:
    return encoded(photo(width, height, seed), "JPEG", **options)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of that size with next to no pixels in it."""
    return _png((width, height, 8, 2, 0), zlib.compress(bytes(1000)))


def png_of_zeros(width: int, height: int, depth: int = 8, colour: int = 2, interlaced: bool = False) -> bytes:
    """A whole PNG, black and transparent, of any kind; made without the memory that its pixels take."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sides = [(-(-(width - left) // across), -(-(height - top) // down)) for left, top, across, down in passes]
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    left = sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sides if columns > 0)
    packer, packed = zlib.compressobj(1), []
    while left > 0:
        packed.append(packer.compress(bytes(min(left, 2**20))))
        left -= 2**20
    return _png((width, height, depth, colour, int(interlaced)), b"".join(packed) + packer.flush())


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(header: tuple[int, int, int, int, int], pixels: bytes) -> bytes:
    """Of width, height, bit depth, colour type and interlace method."""
    width, height, depth, colour, interlace = header
    first = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    palette = png_chunk(b"PLTE", bytes(3)) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + first + palette + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def exif(orientation: int) -> Image.Exif:
    """What a camera writes that is held that way."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block
