"""The default model with its real weights, as it is served."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from model import catalog, pictures
from model.artifact import Artifact
from service.protocol import image
from tests.conftest import Serve
from tests.support.serving import Server

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
ESPRESSO = 967


@pytest.fixture
def server(serve: Serve, default_artifact: Path) -> Server:
    return serve(default_artifact)


@pytest.fixture(scope="module")
def eager(default_artifact: Path) -> torch.nn.Module:
    """The same model with the same weights in eager PyTorch."""
    del default_artifact
    return catalog.load(catalog.DEFAULT).module.eval()


def test_it_needs_no_libtorch(default_artifact: Path) -> None:
    artifact = Artifact.read(default_artifact)
    assert artifact.runtime == "standalone", artifact.evidence["runtime"]


def _top(server: Server, picture: bytes, count: int = 5) -> list[dict[str, Any]]:
    answer = server.call("POST", f"/infer?top={count}", picture)
    assert answer.status == 200, answer.body
    assert answer.json["model"] == "efficientnet_lite0"
    return list(answer.json["labels"])


def _photo(name: str) -> bytes:
    return (pictures.folder() / name).read_bytes()


def test_chelsea_is_a_cat(server: Server) -> None:
    best, *_ = _top(server, _photo("chelsea.png"))
    assert best["index"] in CATS
    assert "cat" in best["label"].lower() or "tabby" in best["label"].lower()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_coffee_is_espresso(server: Server, kind: str) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(_photo("coffee.png"))).save(file, kind, quality=95)
    best, *_ = _top(server, file.getvalue())
    assert (best["index"], best["label"]) == (ESPRESSO, "espresso")
    assert best["probability"] == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("name", pictures.NAMES)
def test_the_service_answers_as_eager_pytorch_does(
    server: Server, eager: torch.nn.Module, default_artifact: Path, name: str
) -> None:
    artifact = Artifact.read(default_artifact)
    assert artifact.image is not None
    item = image.decode(_photo(name), artifact.image, max_pixels=10**8)
    with torch.no_grad():
        wanted = eager(torch.frombuffer(bytearray(item), dtype=torch.uint8).reshape(1, 224, 224, 3))[0]
    body = {
        "inputs": [
            {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(_photo(name)).decode()]}
        ]
    }
    answer = server.call("POST", "/v2/models/efficientnet_lite0/infer", json.dumps(body).encode())
    (output,) = answer.json["outputs"]
    assert output["shape"] == [1, 1000]
    got = torch.tensor(output["data"])
    assert float((got - wanted).abs().max()) < artifact.tolerance
    assert int(got.argmax()) == int(wanted.argmax())
    assert float(got.sum()) == pytest.approx(1, abs=1e-3)


def test_a_batch_of_photos_is_answered_in_its_order(server: Server) -> None:
    names = ["coffee.png", "chelsea.png", "coffee.png"]
    body = {
        "inputs": [
            {
                "name": "image", "shape": [3], "datatype": "BYTES",
                "data": [base64.b64encode(_photo(name)).decode() for name in names],
            }
        ],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 1}}],
    }  # fmt: skip
    answer = server.call("POST", "/v2/models/efficientnet_lite0/infer", body)
    (output,) = answer.json["outputs"]
    assert output["shape"] == [3, 1]
    first, second, third = (int(each.split(":")[1]) for each in output["data"])
    assert (first, third) == (ESPRESSO, ESPRESSO)
    assert second in CATS
