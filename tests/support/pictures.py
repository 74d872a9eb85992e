"""Pictures made by hand: every test knows each of its pixels."""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image


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


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of that size with next to no pixels in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
