"""What one picture may take, whatever its shape: measured in a process of its own."""

import io
from pathlib import Path

import numpy
import pytest
from PIL import Image, ImageOps

from model.artifact import ImageSpec
from model.catalog import torchvision
from service.errors import Unprocessable
from service.protocol.image import decode
from tests.support.decoding import MOST_BYTES, REFUSED, SHAPES, measure
from tests.support.pictures import encoded, exif, noise, photo

SPEC = ImageSpec(224, 224, 256)
LIMIT = 25_000_000
MOST_S = 30
"""No time that anybody should wait for; what was wrong took memory and time without any bound."""


@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_takes_more_than_the_reference_says(name: str, tmp_path: Path) -> None:
    found = measure(SHAPES[name](), tmp_path)
    assert found.refused == ""
    assert found.peak_bytes <= MOST_BYTES
    assert found.seconds < MOST_S


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_take_more_is_refused_before_it_is_decoded(name: str, tmp_path: Path) -> None:
    found = measure(REFUSED[name](), tmp_path)
    kind, size = name.split(",", maxsplit=1)[0], name.rsplit(maxsplit=1)[-1]
    assert found.refused.startswith(f"decoding this {kind} of {size} pixels takes ")
    assert " MB, more than the 117 MB that go with the limit of 25000000 pixels" in found.refused
    assert found.peak_bytes < 10 * 2**20


def test_memory_goes_with_the_limit_and_not_with_the_shape(tmp_path: Path) -> None:
    """A million pixels in a row of 16 take about what they take in a square."""
    row = measure(encoded(noise(65500, 16), "JPEG"), tmp_path)
    square = measure(encoded(noise(1000, 1048), "JPEG"), tmp_path)
    assert row.peak_bytes < square.peak_bytes + 16 * 2**20


# What is cut before it is resized has positions that differ in the last of 32 bits.
@pytest.mark.parametrize("size", [(4001, 16), (16, 4001), (18000, 270)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_extreme_shapes_are_those_of_torchvision(size: tuple[int, int], orientation: int, interpolation: str) -> None:
    stored, spec = noise(*size, "L"), ImageSpec(224, 224, 256, interpolation)
    turned = {1: stored, 3: stored.rotate(180), 6: stored.rotate(270, expand=True)}[orientation].convert("RGB")
    found = decode(encoded(stored, "PNG", exif=exif(orientation)), spec, LIMIT)
    transforms = torchvision().transforms
    how = getattr(transforms.InterpolationMode, interpolation.upper())
    wanted = transforms.CenterCrop(224)(transforms.Resize(256, interpolation=how)(turned))
    pixels = numpy.frombuffer(found, numpy.uint8).reshape(224, 224, 3).astype(int)
    assert numpy.abs(pixels - numpy.asarray(wanted)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(130, 98), (150, 352), (352, 150), (90, 300)])
def test_strips_are_the_whole_to_the_last_bit(
    size: tuple[int, int], orientation: int, interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of several strips, in every orientation, also where half pixels tie, and where Pillow begins with columns."""
    stored, spec = noise(*size), ImageSpec(56, 56, 64, interpolation)
    monkeypatch.setattr("service.protocol.picture.pixels.STRIP_PIXELS", 1000)
    whole = ImageOps.exif_transpose(_with_orientation(stored, orientation))
    transforms = torchvision().transforms
    how = getattr(transforms.InterpolationMode, interpolation.upper())
    wanted = transforms.CenterCrop(56)(transforms.Resize(64, interpolation=how)(whole))
    assert decode(encoded(stored, "PNG", exif=exif(orientation)), spec, LIMIT) == wanted.tobytes()


def _with_orientation(picture: Image.Image, orientation: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(picture, "PNG", exif=exif(orientation))))


def test_a_jpeg_of_many_scans_is_refused() -> None:
    """libjpeg goes through all pixels for each of them, and a scan takes 20 bytes."""
    body = encoded(photo(640, 480), "JPEG", progressive=True)
    scan, end = body.rfind(b"\xff\xda"), len(body) - 2
    assert decode(body[:end] + body[scan:end] * 10 + body[end:], SPEC, LIMIT)
    with pytest.raises(Unprocessable, match=r"^a JPEG of 1010 scans, more than 32: save it as a baseline JPEG$"):
        decode(body[:end] + body[scan:end] * 1000 + body[end:], SPEC, LIMIT)


def test_a_second_picture_behind_the_first_counts_for_nothing() -> None:
    """As phones append it: a map of depths, or a larger picture."""
    body = encoded(photo(300, 200), "JPEG")
    assert decode(body + encoded(photo(3000, 3000), "JPEG", progressive=True) * 4, SPEC, LIMIT) == decode(
        body, SPEC, LIMIT
    )
