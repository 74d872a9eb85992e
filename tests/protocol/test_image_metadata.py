"""Metadata never decide: broken, huge or unknown, the picture is what its pixels are."""

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy
import pytest
from PIL import Image

from model.artifact import ImageSpec
from service.protocol.image import decode
from service.protocol.picture import orientation
from tests.support.pictures import encoded, exif, noise, photo, png_chunk

SPEC = ImageSpec(32, 32, 40)
LIMIT = 25_000_000
INFLATING = zlib.compress(bytes(2 * 2**20))
EXIFS = {
    "no TIFF header": b"nonsense",
    "empty": b"",
    "a directory behind the end": b"II*\0\xff\xff\xff\xff",
    "more entries than there are": b"II*\0\x08\0\0\0\xff\xff",
    "an entry of another type": b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 2, 1, 6) + bytes(4),
    "an orientation of 9": b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, 9, 0) + bytes(4),
    "a directory in itself": b"II*\0\0\0\0\0",
}
PNG_CHUNKS = {
    "zTXt": png_chunk(b"zTXt", b"a\0\0" + INFLATING),
    "iTXt": png_chunk(b"iTXt", b"a\0\1\0\0\0" + INFLATING),
    "iCCP": png_chunk(b"iCCP", b"a\0\0" + INFLATING),
    "a profile of unknown compression": png_chunk(b"iCCP", b"a\0\7" + INFLATING),
    "a wrong checksum": png_chunk(b"tEXt", b"a\0b")[:-1] + b"?",
    "empty ones": b"".join(
        png_chunk(kind, b"")
        for kind in (
            b"gAMA",
            b"cHRM",
            b"sRGB",
            b"pHYs",
            b"tIME",
            b"eXIf",
            b"iCCP",
            b"zTXt",
            b"iTXt",
            b"acTL",
            b"fcTL",
            b"abCd",
        )
    ),
}


def _pixels(body: bytes) -> bytes:
    return decode(body, SPEC, LIMIT)


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def _webp_with(kind: bytes, content: bytes) -> bytes:
    """A WebP in the extended format, with a chunk of that kind behind its pixels."""
    simple = encoded(photo(90, 60), "WEBP")
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x2c\0\0\0" + (89).to_bytes(3, "little") + (59).to_bytes(3, "little")
    chunk = kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    inner = b"WEBP" + extended + simple[12:] + chunk
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


@pytest.mark.parametrize("block", EXIFS)
def test_broken_exif_leaves_every_picture_upright_as_stored(block: str) -> None:
    png, jpeg = encoded(noise(90, 60), "PNG"), encoded(noise(90, 60), "JPEG")
    assert _pixels(png[:33] + png_chunk(b"eXIf", EXIFS[block]) + png[33:]) == _pixels(png)
    assert _pixels(jpeg[:2] + _segment(0xE1, b"Exif\0\0" + EXIFS[block]) + jpeg[2:]) == _pixels(jpeg)
    assert _pixels(_webp_with(b"EXIF", EXIFS[block])) == _pixels(encoded(photo(90, 60), "WEBP"))
    assert orientation.of_exif(EXIFS[block]) == 1


@pytest.mark.parametrize("chunks", PNG_CHUNKS)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_no_chunk_of_a_png_is_inflated_or_refused(chunks: str, place: str) -> None:
    body = encoded(noise(90, 60), "PNG")
    at = 33 if place == "before" else len(body) - 12
    with_chunks = body[:at] + PNG_CHUNKS[chunks] + body[at:]
    wanted = _pixels(body)
    tracemalloc.start()
    assert _pixels(with_chunks) == wanted
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    "segment",
    [
        _segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
        _segment(0xE2, b"MPF\0" + bytes(40)),
        _segment(0xE2, b"ICC_PROFILE\0\x05\x01nonsense"),
        _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmp"),
        _segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\xff\xff"),
        _segment(0xE1, b"") * 3,
        _segment(0xFE, bytes(range(256)) * 100),
    ],
)
def test_no_segment_of_a_jpeg_decides(segment: bytes) -> None:
    body = encoded(noise(90, 60), "JPEG")
    assert _pixels(body[:2] + segment + body[2:]) == _pixels(body)
    assert _pixels(body[:20] + segment + body[20:]) == _pixels(body)


@pytest.mark.parametrize("kind", [b"ICCP", b"EXIF", b"XMP ", b"NONE"])
def test_no_chunk_of_a_webp_decides(kind: bytes) -> None:
    assert _pixels(_webp_with(kind, b"\xffnonsense")) == _pixels(encoded(photo(90, 60), "WEBP"))


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\xff" * 30])
def test_no_exif_of_an_avif_decides(block: bytes) -> None:
    described = exif(1)
    described[0x010E] = "a picture of blocks of colour"
    good = encoded(photo(90, 60), "AVIF", exif=described)
    begin = good.find(b"MM\0*")
    assert begin > 0
    broken = good[:begin] + (block + bytes(30))[:30] + good[begin + 30 :]
    assert _pixels(broken) == _pixels(encoded(photo(90, 60), "AVIF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_in_xmp_alone_is_read(kind: str) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options: dict[str, Any] = {"xmp": packet}
    if kind == "PNG":
        body = encoded(noise(90, 60), kind)
        body = body[:33] + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet) + body[33:]
    else:
        body = encoded(noise(90, 60), kind, **options)
    turned = Image.open(io.BytesIO(encoded(noise(90, 60), kind))).convert("RGB").rotate(270, expand=True)
    difference = numpy.frombuffer(_pixels(body), numpy.uint8).astype(int) - numpy.frombuffer(
        _pixels(encoded(turned, "PNG")), numpy.uint8
    )
    assert numpy.abs(difference).max() <= 2
