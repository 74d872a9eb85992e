"""Which formats are accepted, what is said of the others, and animations: their first picture, without more memory."""

import io
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from model.artifact import ImageSpec
from service.errors import Unprocessable
from service.protocol.image import decode
from service.protocol.picture.formats import DEFAULT, FORMATS
from tests.conftest import Serve
from tests.support.decoding import MOST_BYTES, measure
from tests.support.pictures import encoded, exif, noise, photo

SPEC = ImageSpec(32, 32, 40)
LIMIT = 25_000_000
WANTED = "wanted JPEG, PNG, WebP or AVIF"


def _ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(100)


OTHERS = {
    "HEIC": [_ftyp(b"heic", b"mif1", b"heic"), _ftyp(b"mif1", b"heic"), _ftyp(b"heix"), _ftyp(b"msf1", b"hevc")],
    "HEIF": [_ftyp(b"mif1"), _ftyp(b"msf1", b"avci")],
    "video": [_ftyp(b"isom", b"mp42"), _ftyp(b"qt  ")],
    "Canon raw picture": [_ftyp(b"crx ")],
    "GIF": [b"GIF87a" + bytes(20), b"GIF89a" + bytes(20)],
    "BMP": [b"BM" + bytes(30)],
    "TIFF": [b"II*\0" + bytes(20), b"MM\0*" + bytes(20)],
    "BigTIFF": [b"II+\0" + bytes(20)],
    "JPEG XL": [b"\xff\x0a" + bytes(20), b"\0\0\0\x0cJXL \r\n\x87\n"],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0"],
    "PDF": [b"%PDF-1.7\n"],
    "SVG": [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- --><svg>"],
    "XML": [b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"],
    "HTML": [b"\n<!DOCTYPE html><title>502</title>", b"<HTML><body>"],
    "JSON": [b'{"error": "expired"}', b"  [1, 2]"],
    "data URI": [b"data:image/png;base64,iVBORw0KGgo="],
    "ZIP archive": [b"PK\x03\x04" + bytes(20)],
    "gzip data": [b"\x1f\x8b\x08" + bytes(20)],
    "icon": [b"\0\0\x01\0\x01\0" + bytes(20)],
}


def _refused(body: bytes, *accepted: str) -> str:
    with pytest.raises(Unprocessable) as fault:
        decode(body, SPEC, LIMIT, accepted or DEFAULT)
    return str(fault.value)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_refused_is_named_and_says_what_to_do(name: str) -> None:
    for body in OTHERS[name]:
        error = _refused(body)
        assert error.startswith(f"{name}: {WANTED}; ")
        assert len(error.split("; ")[1]) > 5


@pytest.mark.parametrize(
    "body", [b"hello", bytes(100), b"\xff\xd8", b"RIFF\0\0\0\0WAVE", b"ftyp", b" ", b"P6 1 1 255\n123"]
)
def test_what_nobody_knows_is_no_picture(body: bytes) -> None:
    assert _refused(body) == f"not a picture: {WANTED}"


def test_the_iphone_is_told_how_to_take_jpeg() -> None:
    assert _refused(OTHERS["HEIC"][0]) == (
        "HEIC: wanted JPEG, PNG, WebP or AVIF; convert it to JPEG (iPhone: Settings > Camera > Formats > Most Compatible "
        "takes JPEG)"
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_can_be_named_is_decoded(kind: str) -> None:
    body = encoded(photo(90, 60), kind.upper())
    wanted = encoded(Image.open(io.BytesIO(body)).convert("RGB"), "PNG")
    assert decode(body, SPEC, LIMIT, [kind]) == decode(wanted, SPEC, LIMIT)
    other = "PNG" if kind != "PNG" else "JPEG"
    assert _refused(body, other) == f"{kind}: wanted {other}; convert it, or name it in IMAGE_FORMATS"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_a_damaged_one_of_the_others_is_told(kind: str) -> None:
    body = encoded(noise(90, 60), kind)
    assert _refused(body[: len(body) // 2], kind).startswith(f"damaged {kind}: ")


def test_a_tiff_is_turned_once() -> None:
    stored = noise(90, 60)
    body = encoded(stored, "TIFF", exif=exif(6))
    assert decode(body, SPEC, LIMIT, ["TIFF"]) == decode(encoded(stored, "PNG", exif=exif(6)), SPEC, LIMIT)


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("AVIF", {"quality": 100})]
)
def test_an_animation_is_its_first_picture(kind: str, options: dict[str, Any]) -> None:
    first, rest = photo(90, 60), [photo(90, 60, seed) for seed in (1, 2)]
    body = encoded(first, kind, save_all=True, append_images=rest, **options)
    name = "WebP" if kind == "WEBP" else kind
    wanted = Image.open(io.BytesIO(body))
    assert wanted.n_frames == 3  # type: ignore[attr-defined]
    assert decode(body, SPEC, LIMIT, [name]) == decode(encoded(wanted.convert("RGB"), "PNG"), SPEC, LIMIT)


def test_a_first_picture_that_is_smaller_lies_where_it_belongs() -> None:
    """libwebp makes the first frame as small as what is not transparent; the canvas stays."""
    first = Image.new("RGBA", (90, 60))
    first.paste(photo(40, 20).convert("RGBA"), (20, 30))
    body = encoded(first, "WEBP", save_all=True, append_images=[photo(90, 60)], lossless=True)
    assert b"ANMF" in body
    for colour in (None, (250, 10, 200)):
        spec = ImageSpec(32, 32, 40, background=colour)
        assert decode(body, spec, LIMIT) == decode(encoded(first, "PNG"), spec, LIMIT)


def test_an_animation_takes_no_more_than_one_picture(tmp_path: Path) -> None:
    frames = [photo(1500, 1000, seed) for seed in range(3)]
    for kind in ("WEBP", "PNG", "AVIF"):
        one = measure(encoded(frames[0], kind, **({"speed": 10} if kind == "AVIF" else {})), tmp_path)
        options = {"speed": 10} if kind == "AVIF" else {}
        several = measure(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options), tmp_path)
        assert (one.refused, several.refused) == ("", "")
        assert several.peak_bytes < one.peak_bytes + 12 * 2**20 < MOST_BYTES


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"lossless": True, "exact": True}])
def test_libwebp_called_directly_gives_what_pillow_gives(mode: str, options: dict[str, Any]) -> None:
    body = encoded(noise(97, 61, mode), "WEBP", **options)
    spec = ImageSpec(61, 97, 61, "nearest")
    found = numpy.frombuffer(decode(body, spec, LIMIT), numpy.uint8).reshape(61, 97, 3)
    numpy.testing.assert_array_equal(found, numpy.asarray(Image.open(io.BytesIO(body)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}])
def test_libavif_called_directly_gives_what_pillow_gives(mode: str, options: dict[str, Any]) -> None:
    body = encoded(noise(97, 61, mode), "AVIF", **options)
    spec = ImageSpec(61, 97, 61, "nearest")
    found = numpy.frombuffer(decode(body, spec, LIMIT), numpy.uint8).reshape(61, 97, 3)
    numpy.testing.assert_array_equal(found, numpy.asarray(Image.open(io.BytesIO(body)).convert("RGB")))


def test_the_setting_decides_what_the_service_takes(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, IMAGE_FORMATS="png, gif")
    assert server.call("POST", "/infer", encoded(photo(40, 30), "GIF")).status == 200
    answer = server.call("POST", "/infer", encoded(photo(40, 30), "JPEG"))
    assert (answer.status, answer.error) == (422, "JPEG: wanted PNG or GIF; convert it, or name it in IMAGE_FORMATS")


def test_avif_is_taken_unless_told_otherwise(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx)
    assert server.call("POST", "/infer", encoded(photo(40, 30), "AVIF")).status == 200
    answer = server.call("POST", "/infer", OTHERS["HEIC"][0])
    assert answer.status == 422
    assert answer.error.startswith("HEIC: wanted JPEG, PNG, WebP or AVIF; convert it to JPEG")
