"""What is transparent: left out as torchvision's convert("RGB") does, or laid on the colour that the model names."""

import io
import json
from pathlib import Path

import numpy
import pytest
from PIL import Image

from model.artifact import Artifact, ArtifactError, ImageSpec
from service.protocol.image import decode
from tests.conftest import Serve
from tests.support.models import PICTURE
from tests.support.pictures import encoded, noise, photo

LIMIT = 25_000_000
SIZE = (60, 40)
WHITE = (255, 255, 255)
COLOURS = [WHITE, (0, 0, 0), (10, 200, 90)]


def _rgba() -> Image.Image:
    picture = noise(*SIZE).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(SIZE))
    return picture


def _palette() -> Image.Image:
    return photo(*SIZE).quantize(16)


def _pictures() -> dict[str, bytes]:
    return {
        "RGBA": encoded(_rgba(), "PNG"),
        "RGBA webp": encoded(_rgba(), "WEBP", lossless=True, exact=True),
        "LA": encoded(_rgba().convert("LA"), "PNG"),
        "palette, one colour": encoded(_palette(), "PNG", transparency=3),
        "palette, some of each": encoded(_palette(), "PNG", transparency=bytes(range(0, 256, 16))),
        "RGB, one colour": encoded(Image.new("RGB", SIZE, (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        "grey, one colour": encoded(photo(*SIZE).convert("L"), "PNG", transparency=120),
        "opaque": encoded(noise(*SIZE), "PNG"),
        "opaque jpeg": encoded(photo(*SIZE), "JPEG"),
    }


def _pixels(body: bytes, background: tuple[int, int, int] | None) -> bytes:
    return decode(body, ImageSpec(SIZE[1], SIZE[0], SIZE[1], "nearest", background), LIMIT)


@pytest.mark.parametrize("name", _pictures())
def test_without_a_background_hidden_colours_show_as_with_torchvision(name: str) -> None:
    body = _pictures()[name]
    picture = Image.open(io.BytesIO(body))
    picture.load()
    picture.info.pop("transparency", None)  # Pillow warns of some, and leaves it out
    assert _pixels(body, None) == picture.convert("RGB").tobytes()


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("name", _pictures())
def test_with_a_background_they_lie_on_it(name: str, colour: tuple[int, int, int]) -> None:
    body = _pictures()[name]
    rgba = numpy.asarray(Image.open(io.BytesIO(body)).convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    wanted = rgba[..., :3] * alpha + numpy.array(colour) * (1 - alpha)
    found = numpy.frombuffer(_pixels(body, colour), numpy.uint8).reshape(*SIZE[::-1], 3)
    assert numpy.abs(found - wanted).max() <= 1


def test_sixteen_bits_with_alpha_lie_on_it() -> None:
    body = encoded(_rgba(), "PNG")
    assert _pixels(body, WHITE) != _pixels(body, (0, 0, 0))
    grey = Image.fromarray(numpy.full(SIZE[::-1], 30_000, numpy.uint16))
    assert _pixels(encoded(grey, "PNG", transparency=30_000), WHITE) == _pixels(encoded(grey, "PNG"), None)


@pytest.mark.parametrize(
    "colour", [(1, 2), (1, 2, 3, 4), (1, 2, 256), (-1, 2, 3), (1.0, 2, 3), ("1", 2, 3), (True, 2, 3)]
)
def test_a_background_that_is_no_colour_is_told(colour: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"wanted three whole numbers from 0 to 255, red, green and blue$"):
        ImageSpec(1, 1, 1, background=colour)


def _with_image(artifact: Path, folder: Path, **members: object) -> Path:
    """A copy of the artifact with other members of `image`; None: without it."""
    folder.mkdir()
    for file in artifact.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    raw = json.loads((folder / "artifact.json").read_text())
    raw["image"] = {name: value for name, value in (raw["image"] | members).items() if value != "absent"}
    (folder / "artifact.json").write_text(json.dumps(raw))
    return folder


def test_an_artifact_of_before_is_read(tiny_onnx: Path, tmp_path: Path) -> None:
    assert Artifact.read(_with_image(tiny_onnx, tmp_path / "old", background="absent")).image == PICTURE


def test_an_artifact_keeps_its_background(tiny_onnx: Path, tmp_path: Path) -> None:
    read = Artifact.read(_with_image(tiny_onnx, tmp_path / "new", background=[255, 254, 0]))
    assert read.image is not None
    assert read.image.background == (255, 254, 0)
    read.write()
    assert Artifact.read(read.path).image == read.image
    with pytest.raises(ArtifactError, match=r"is damaged \(ValueError: background \(1, 2\): wanted three"):
        Artifact.read(_with_image(tiny_onnx, tmp_path / "bad", background=[1, 2]))


def test_the_service_lays_pictures_on_the_background_of_its_model(
    serve: Serve, tiny_onnx: Path, tmp_path: Path
) -> None:
    hidden = Image.new("RGBA", (40, 40), (250, 30, 20, 0))
    white = Image.new("RGB", (40, 40), WHITE)

    def labels(artifact: Path, picture: Image.Image) -> object:
        answer = serve(artifact).call("POST", "/infer", encoded(picture, "PNG"))
        assert answer.status == 200
        return answer.json["labels"]

    on_white = _with_image(tiny_onnx, tmp_path / "white", background=list(WHITE))
    assert labels(on_white, hidden) == labels(on_white, white)
    assert labels(tiny_onnx, hidden) == labels(tiny_onnx, hidden.convert("RGB")) != labels(tiny_onnx, white)
