"""Encoded pictures, with torchvision's own preprocessing as the oracle."""

import contextlib
import io
import tracemalloc
from typing import Any

import numpy
import pytest
from PIL import Image

from model.artifact import ImageSpec
from model.catalog import torchvision
from service.errors import Unprocessable
from service.protocol.image import decode
from tests.support.pictures import encoded, photo, png_claiming

SPEC = ImageSpec(height=224, width=224, resize_shorter=256)
SMALL = ImageSpec(height=32, width=32, resize_shorter=40)
LIMIT = 25_000_000
ORIENTATION = 0x0112
# What a viewer does for each orientation that a camera writes, in Pillow's words (Exif 2.3, tag 0x0112).
UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def _wanted(picture: Image.Image, spec: ImageSpec) -> Any:
    """Resize and CenterCrop of torchvision, on Pillow's pixels."""
    transforms = torchvision().transforms
    how = getattr(transforms.InterpolationMode, spec.interpolation.upper())
    resized = transforms.Resize(spec.resize_shorter, interpolation=how)(picture)
    return numpy.asarray(transforms.CenterCrop((spec.height, spec.width))(resized))


def _pixels(body: bytes, spec: ImageSpec) -> Any:
    raw = decode(body, spec, LIMIT)
    assert type(raw) is bytes
    return numpy.frombuffer(raw, numpy.uint8).reshape(spec.height, spec.width, 3)


def _noise(width: int, height: int) -> Image.Image:
    pixels = numpy.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    "size",
    [(256, 256), (300, 200), (200, 300), (301, 257), (257, 301), (640, 480), (1000, 30), (30, 1000), (1, 1), (7, 9)],
)
def test_pixels_are_those_of_torchvision(size: tuple[int, int], interpolation: str) -> None:
    spec = ImageSpec(224, 224, 256, interpolation)
    picture = _noise(*size)
    numpy.testing.assert_array_equal(_pixels(encoded(picture, "PNG"), spec), _wanted(picture, spec))


@pytest.mark.parametrize(
    "spec", [ImageSpec(224, 224, 232), ImageSpec(225, 223, 256), ImageSpec(100, 60, 101), ImageSpec(64, 64, 64)]
)
def test_every_crop_is_that_of_torchvision(spec: ImageSpec) -> None:
    picture = _noise(333, 221)
    numpy.testing.assert_array_equal(_pixels(encoded(picture, "PNG"), spec), _wanted(picture, spec))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_every_format_is_what_pillow_decodes(kind: str) -> None:
    body = encoded(photo(300, 260), kind)
    numpy.testing.assert_array_equal(_pixels(body, SPEC), _wanted(Image.open(io.BytesIO(body)).convert("RGB"), SPEC))


def test_a_lossless_webp_is_exact() -> None:
    picture = _noise(120, 90)
    numpy.testing.assert_array_equal(_pixels(encoded(picture, "WEBP", lossless=True), SMALL), _wanted(picture, SMALL))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_orientation_is_undone(orientation: int, kind: str) -> None:
    upright = photo(90, 60, seed=3)
    stored = upright.transpose(UNDO[orientation]) if orientation in UNDO else upright
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    body = encoded(stored, kind, exif=exif, quality=100)
    difference = numpy.abs(_pixels(body, SMALL).astype(int) - _wanted(upright, SMALL))
    assert difference.mean() < 2


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (5000, 1100)])
def test_a_large_jpeg_decoded_at_a_fraction_is_close(size: tuple[int, int]) -> None:
    body = encoded(photo(*size), "JPEG", quality=95)
    difference = numpy.abs(_pixels(body, SPEC).astype(int) - _wanted(Image.open(io.BytesIO(body)), SPEC))
    assert difference.mean() < 1
    assert difference.max() <= 8


def _variants() -> dict[str, bytes]:
    rgb = photo(80, 60)
    alpha = rgb.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(rgb.size))
    sixteen = Image.fromarray(numpy.asarray(rgb.convert("L")).astype(numpy.uint16) * 257)
    return {
        "alpha": encoded(alpha, "PNG"),
        "alpha webp": encoded(alpha, "WEBP", lossless=True),
        "alpha beside a lossy webp": encoded(alpha, "WEBP"),
        "alpha avif": encoded(alpha, "AVIF"),
        "palette of a webp": encoded(rgb.quantize(16), "WEBP", lossless=True),
        "grey with alpha": encoded(alpha.convert("LA"), "PNG"),
        "palette": encoded(rgb.quantize(64), "PNG"),
        "palette with transparency": encoded(rgb.quantize(64), "PNG", transparency=0),
        "grey": encoded(rgb.convert("L"), "PNG"),
        "grey jpeg": encoded(rgb.convert("L"), "JPEG"),
        "one bit": encoded(rgb.convert("1"), "PNG"),
        "cmyk": encoded(rgb.convert("CMYK"), "JPEG", quality=100),
        "sixteen bits": encoded(sixteen, "PNG"),
        "progressive": encoded(rgb, "JPEG", progressive=True),
        "interlaced": encoded(rgb, "PNG", interlace=1),
    }


@pytest.mark.parametrize("variant", _variants())
def test_every_kind_of_colour_becomes_rgb(variant: str) -> None:
    body = _variants()[variant]
    source = Image.open(io.BytesIO(body))
    if variant == "sixteen bits":
        # The upper eight bits are the picture.
        wanted = Image.fromarray((numpy.asarray(source) // 257).astype(numpy.uint8)).convert("RGB")
    else:
        wanted = source.convert("RGB")
    difference = numpy.abs(_pixels(body, SMALL).astype(int) - _wanted(wanted, SMALL))
    assert difference.max() <= (1 if variant == "sixteen bits" else 0)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = png_claiming(50_000, 50_000)
    tracemalloc.start()
    with pytest.raises(Unprocessable) as fault:
        decode(bomb, SPEC, LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(fault.value) == "the picture has 50000x50000 pixels, more than the limit of 25000000"
    assert peak < 10 * 2**20


def test_the_limit_itself_is_allowed() -> None:
    body = encoded(photo(100, 50), "PNG")
    assert decode(body, SMALL, 5000)
    with pytest.raises(Unprocessable, match=r"^the picture has 100x50 pixels, more than the limit of 4999$"):
        decode(body, SMALL, 4999)


def test_flipped_bytes_never_raise_anything_else() -> None:
    source = numpy.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        body = bytearray(encoded(photo(64, 48), kind))
        for _ in range(100):
            damaged = bytearray(body)
            damaged[int(source.integers(len(body)))] ^= 1 << int(source.integers(8))
            with contextlib.suppress(Unprocessable):
                assert len(decode(bytes(damaged), SMALL, LIMIT)) == 32 * 32 * 3


def test_nothing_is_no_picture() -> None:
    with pytest.raises(Unprocessable, match=r"^the picture is empty$"):
        decode(b"", SMALL, LIMIT)
