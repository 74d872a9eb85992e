"""Pictures without their end: the last rows may be missing, half of them may not, and the error says how much is."""

import re
from typing import Any

import numpy
import pytest
from PIL import Image

from model.artifact import ImageSpec
from service.errors import Unprocessable
from service.protocol.image import decode
from tests.support.pictures import encoded, noise, photo, png_of_zeros

SPEC = ImageSpec(224, 224, 256)
LIMIT = 25_000_000
JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "all colours": {"subsampling": 0, "quality": 92},
    "progressive": {"progressive": True},
    "progressive, all colours": {"progressive": True, "subsampling": 0, "quality": 92},
    "restart markers": {"restart_marker_rows": 1},
}


def _letterboxed() -> Image.Image:
    """Black below, as what is missing might be."""
    picture = Image.new("RGB", (320, 240))
    picture.paste(photo(320, 160), (0, 40))
    return picture


PICTURES = {
    "photo": photo(300, 260), "large photo": photo(2600, 2000), "noise": noise(64, 64), "grey": photo(64, 64).convert("L"),
    "letterboxed": _letterboxed(), "tall": photo(100, 400),
}  # fmt: skip


def _refused(body: bytes) -> str:
    with pytest.raises(Unprocessable) as fault:
        decode(body, SPEC, LIMIT)
    return str(fault.value)


@pytest.mark.parametrize("missing", [1, 2, 3, 10])
@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("picture", PICTURES)
def test_a_jpeg_without_its_last_bytes_is_the_picture(picture: str, options: str, missing: int) -> None:
    body = encoded(PICTURES[picture], "JPEG", **JPEGS[options])
    whole, cut = (numpy.frombuffer(decode(each, SPEC, LIMIT), numpy.uint8) for each in (body, body[:-missing]))
    assert numpy.abs(whole.astype(int) - cut).mean() < 1


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("picture", PICTURES)
def test_half_a_jpeg_is_refused_and_says_how_much_is_missing(picture: str, options: str) -> None:
    body = encoded(PICTURES[picture], "JPEG", **JPEGS[options])
    error = _refused(body[: len(body) // 2])
    if "progressive" in options:
        assert re.match(r"truncated JPEG: (whole scans|\d\d % of the details of its last scan) are missing", error)
    else:
        assert re.fullmatch(r"truncated JPEG: [4-9]\d % of its rows are missing", error)


def test_the_share_that_is_missing_is_that_of_the_rows() -> None:
    body = encoded(noise(400, 800), "JPEG")
    begin = body.rfind(b"\xff\xda")
    for missing in (0.9, 0.7, 0.5, 0.3, 0.2):
        error = _refused(body[: begin + round((len(body) - begin) * (1 - missing))])
        found = re.fullmatch(r"truncated JPEG: (\d+) % of its rows are missing", error)
        assert found
        assert abs(int(found[1]) - 100 * missing) <= 3


def test_a_jpeg_that_lost_its_last_tenth_is_the_picture_with_grey_below() -> None:
    body = encoded(noise(256, 256), "JPEG", quality=90)
    pixels = numpy.frombuffer(decode(body[: len(body) * 92 // 100], SPEC, LIMIT), numpy.uint8).reshape(224, 224, 3)
    assert (pixels[-1] == 128).mean() > 0.1
    assert pixels[:200].std() > 30


@pytest.mark.parametrize("length", [3, 10, 100, 300])
def test_a_jpeg_that_ends_in_its_headers_says_so(length: int) -> None:
    body = encoded(photo(300, 260), "JPEG")
    assert _refused(body[:length]) == "truncated JPEG: it ends before its pixels"


def test_damage_in_the_middle_is_no_missing_end() -> None:
    body = encoded(photo(300, 260), "JPEG")
    # A segment whose length is past the end, with the end marker in place.
    broken = body[:2] + b"\xff\xc0\xff\xff" + body[6:]
    assert _refused(broken).startswith("truncated JPEG: it ends before its pixels")


@pytest.mark.parametrize("missing", [1, 4, 8, 12, 13, 20, 100])
def test_a_png_without_its_last_bytes_is_the_picture(missing: int) -> None:
    for body in (encoded(noise(90, 60), "PNG"), png_of_zeros(300, 200, 8, 6, interlaced=True) + b""):
        cut = body[: -min(missing, 20)]
        assert decode(cut, SPEC, LIMIT) == decode(body, SPEC, LIMIT)


@pytest.mark.parametrize("missing", [0.2, 0.5, 0.9])
def test_a_png_without_its_lower_rows_is_refused(missing: float) -> None:
    body = encoded(noise(90, 60), "PNG")
    found = re.fullmatch(
        r"truncated PNG: (\d+) % of its rows are missing", _refused(body[: round(len(body) * (1 - missing))])
    )
    assert found
    assert abs(int(found[1]) - 100 * missing) <= 3


@pytest.mark.parametrize("length", [9, 20, 33, 36, 40])
def test_a_png_that_ends_in_its_headers_says_so(length: int) -> None:
    assert _refused(encoded(noise(90, 60), "PNG")[:length]) == "truncated PNG: it ends before its pixels"


@pytest.mark.parametrize("options", [{}, {"lossless": True}])
@pytest.mark.parametrize("missing", [2, 10, 1000])
def test_a_truncated_webp_says_how_much_is_missing(options: dict[str, Any], missing: int) -> None:
    body = encoded(noise(90, 60), "WEBP", **options)
    assert _refused(body[:-missing]) == f"truncated WebP: {missing} of its {len(body)} bytes are missing"
    assert _refused(body[:20]) == "truncated WebP: it ends before its pixels"


@pytest.mark.parametrize("missing", [1, 10, 1000])
def test_a_truncated_avif_says_how_much_is_missing(missing: int) -> None:
    body = encoded(noise(90, 60), "AVIF")
    assert _refused(body[:-missing]) == f"truncated AVIF: at least {missing} bytes are missing"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_picture_cut_anywhere_is_refused(kind: str) -> None:
    body = encoded(noise(64, 64), kind)
    for length in (*range(12, 64, 7), *range(64, len(body) * 4 // 5, max(1, len(body) // 12))):
        assert re.match(r"(truncated|damaged) (JPEG|PNG|WebP|AVIF): ", _refused(body[:length])), length
