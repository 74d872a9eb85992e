"""The Open Inference Protocol and V1, asked of the real service as their specifications say."""

import base64
import json
import random
import struct
from typing import Any

import pytest

from service import __version__
from tests.support import eager
from tests.support.models import SIDE
from tests.support.pictures import png
from tests.support.serving import Answer, Server

HEADER_LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/tiny/infer"
PIXELS = SIDE * SIDE * 3
EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]


def _items(count: int, seed: int = 0) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(PIXELS) for _ in range(count)]


def _nested(item: bytes) -> list[list[list[int]]]:
    return [[list(item[3 * (SIDE * y + x) :][:3]) for x in range(SIDE)] for y in range(SIDE)]


def _image(count: int, **members: Any) -> dict[str, Any]:
    return {"name": "image", "shape": [count, SIDE, SIDE, 3], "datatype": "UINT8", **members}


def _binary(header: dict[str, Any], *blobs: bytes) -> tuple[bytes, dict[str, str]]:
    raw = json.dumps(header).encode()
    return b"".join((raw, *blobs)), {HEADER_LENGTH: str(len(raw)), "Content-Type": "application/octet-stream"}


def _assert_json_answer(answer: Answer, scores: list[list[float]], **members: Any) -> None:
    assert answer.status == 200, answer.body
    assert HEADER_LENGTH not in answer.headers
    (output,) = answer.json["outputs"]
    flat = [score for row in scores for score in row]
    assert output.pop("data") == pytest.approx(flat, abs=1e-5)
    wanted = {"name": "probabilities", "datatype": "FP32", "shape": [len(scores), 6]}
    assert answer.json | {"outputs": [output]} == {
        "model_name": "tiny", "model_version": "1", "outputs": [wanted], **members
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("form", ["flat", "nested"])
def test_json_tensors(tiny_server: Server, count: int, form: str) -> None:
    items = _items(count)
    data = list(b"".join(items)) if form == "flat" else [_nested(item) for item in items]
    answer = tiny_server.call("POST", INFER, {"inputs": [_image(count, data=data)]})
    _assert_json_answer(answer, eager.probabilities(items))


def test_the_id_comes_back_and_unknown_members_are_ignored(tiny_server: Server) -> None:
    items = _items(1)
    asked = {"id": "seven", "parameters": {"priority": 1}, "inputs": [_image(1, data=list(items[0]), parameters={})]}
    answer = tiny_server.call("POST", "/v2/models/tiny/versions/1/infer", asked)
    _assert_json_answer(answer, eager.probabilities(items), id="seven")


def test_pictures_as_base64_in_json(tiny_server: Server) -> None:
    pictures = [png(30, 20, seed) for seed in range(3)]
    data = [base64.b64encode(picture).decode() for picture in pictures]
    for shape in ([3], [3, 1]):
        asked = {"inputs": [{"name": "image", "shape": shape, "datatype": "BYTES", "data": data}]}
        answer = tiny_server.call("POST", INFER, asked)
        _assert_json_answer(answer, [eager.picture_probabilities(picture) for picture in pictures])


def test_pictures_behind_their_lengths(tiny_server: Server) -> None:
    pictures = [png(30, 20, seed) for seed in range(2)]
    blob = b"".join(struct.pack("<I", len(picture)) + picture for picture in pictures)
    entry = {"name": "image", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}}
    body, headers = _binary({"inputs": [entry]}, blob)
    answer = tiny_server.call("POST", INFER, body, headers)
    _assert_json_answer(answer, [eager.picture_probabilities(picture) for picture in pictures])


@pytest.mark.parametrize("asked_by", ["request", "output"])
def test_binary_tensors_both_ways(tiny_server: Server, asked_by: str) -> None:
    items = _items(5)
    blob = b"".join(items)
    header: dict[str, Any] = {"inputs": [_image(5, parameters={"binary_data_size": len(blob)})]}
    if asked_by == "request":
        header["parameters"] = {"binary_data_output": True}
    else:
        header["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    answer = tiny_server.call("POST", INFER, *_binary(header, blob))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    length = int(answer.headers[HEADER_LENGTH])
    assert json.loads(answer.body[:length]) == {
        "model_name": "tiny",
        "model_version": "1",
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [5, 6], "parameters": {"binary_data_size": 120}}
        ],
    }
    got = struct.unpack("<30f", answer.body[length:])
    assert got == pytest.approx([score for row in eager.probabilities(items) for score in row], abs=1e-5)


def test_classification_gives_the_best_labels(tiny_server: Server) -> None:
    picture = png(20, 20)
    asked = {
        "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(picture).decode()]}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
    }
    (output,) = tiny_server.call("POST", INFER, asked).json["outputs"]
    rows = [each.split(":") for each in output.pop("data")]
    assert output == {"name": "probabilities", "datatype": "BYTES", "shape": [1, 2]}
    best = eager.labels(picture, 2)
    assert [(label, int(index)) for _, index, label in rows] == [(label, index) for label, index, _ in best]
    assert [float(score) for score, _, _ in rows] == pytest.approx([score for *_, score in best], abs=1e-5)


def test_v1_takes_arrays_and_pictures(tiny_server: Server) -> None:
    (item,), picture = _items(1), png(20, 20)
    b64 = {"b64": base64.b64encode(picture).decode()}
    asked = {"instances": [_nested(item), b64, {"image": _nested(item)}, {"image": b64}]}
    answer = tiny_server.call("POST", "/v1/models/tiny:predict", asked)
    assert (answer.status, answer.json.keys()) == (200, {"predictions"})
    (tensor,), photo = eager.probabilities([item]), eager.picture_probabilities(picture)
    for got, wanted in zip(answer.json["predictions"], [tensor, photo, tensor, photo], strict=True):
        assert got == pytest.approx(wanted, abs=1e-5)


def test_v1_is_refused_for_several_inputs(types_server: Server) -> None:
    answer = types_server.call("POST", "/v1/models/types:predict", {"instances": [[0, 1, 1]]})
    assert (answer.status, answer.error) == (422, "V1 has no names for several inputs: POST /v2/models/NAME/infer")


def test_server_metadata(tiny_server: Server) -> None:
    answer = tiny_server.call("GET", "/v2")
    assert (answer.status, answer.json) == (
        200,
        {"name": "kindling", "version": __version__, "extensions": EXTENSIONS},
    )


@pytest.mark.parametrize("path", ["/v2/models/tiny", "/v2/models/tiny/versions/1"])
def test_model_metadata(tiny_server: Server, engine_name: str, path: str) -> None:
    answer = tiny_server.call("GET", path)
    assert (answer.status, answer.json) == (
        200,
        {
            "name": "tiny",
            "versions": ["1"],
            "platform": {"aoti": "pytorch_aotinductor", "onnx": "onnxruntime_onnx"}[engine_name],
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 16, 16, 3]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 6]}],
        },
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/tiny/ready", {"name": "tiny", "ready": True}),
        ("/v2/models/tiny/versions/1/ready", {"name": "tiny", "ready": True}),
        ("/v1/models/tiny", {"name": "tiny", "ready": True}),
        ("/v1/models", {"models": ["tiny"]}),
    ],
)
def test_health(tiny_server: Server, path: str, body: dict[str, Any]) -> None:
    answer = tiny_server.call("GET", path)
    assert (answer.status, answer.json) == (200, body)
    head = tiny_server.call("HEAD", path)
    assert (head.status, head.body) == (200, b"")
