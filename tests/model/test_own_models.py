"""Models of one's own as people have them, exported and served: eager PyTorch's answers, by the outputs' names."""

import struct
from typing import Any

import pytest
import torch

from model.artifact import Artifact
from tests.conftest import Serve
from tests.support import models
from tests.support.exporting import Exports
from tests.support.serving import Server


@pytest.fixture
def served(request: pytest.FixtureRequest, serve: Serve, exports: Exports, engine_name: str) -> Server:
    return serve(exports.artifact(f"{request.param}-{engine_name}"))


def _given(name: str, value: torch.Tensor) -> dict[str, Any]:
    return {"name": name, "shape": list(value.shape), "datatype": "FP32", "data": value.flatten().tolist()}


def _ask(server: Server, model: str, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    body = {"inputs": [_given(name, value) for name, value in inputs.items()]}
    answer = server.call("POST", f"/v2/models/{model}/infer", body)
    assert answer.status == 200, answer.body
    return {each["name"]: torch.tensor(each["data"]).reshape(each["shape"]) for each in answer.json["outputs"]}


def _close(got: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(got.to(wanted.dtype), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("served", ["twice"], indirect=True)
@pytest.mark.parametrize("count", [1, 3, 4])
def test_one_tensor_in_two_outputs(served: Server, count: int) -> None:
    """AOTInductor gives one handle for both, which is deleted once; also a view of it, and the input as an output."""
    numbers = torch.randn(count, 4)
    wanted = torch.softmax(numbers, 1)
    for _ in range(20):
        answer = _ask(served, "twice", numbers=numbers)
        assert list(answer) == ["output_0", "output_1", "output_2", "output_3"]
        _close(answer["output_0"], wanted)
        _close(answer["output_1"], wanted)
        _close(answer["output_2"], wanted.view(-1, 2, 2))
        _close(answer["output_3"], numbers)


@pytest.mark.parametrize("served", ["named"], indirect=True)
def test_outputs_by_name_and_an_input_by_name_only(served: Server) -> None:
    pixels, threshold = torch.randn(2, 3, 5), torch.tensor([5.0, 7.0])
    wanted = models.Named()(pixels.clone(), threshold=threshold)
    answer = _ask(served, "named", pixels=pixels, threshold=threshold)
    assert list(answer) == ["out", "aux", "pixels"]
    for name, value in answer.items():
        _close(value, wanted[name])


@pytest.mark.parametrize("served", ["named"], indirect=True)
def test_a_model_that_changes_its_input_answers_the_same_bytes_alike(served: Server) -> None:
    """The raw bytes of one body are the engine's input: by the binary form, and twice."""
    pixels = torch.randn(1, 3, 5)
    wanted = models.Named()(pixels.clone(), threshold=torch.zeros(1))["out"]
    header = (
        b'{"inputs":[{"name":"pixels","shape":[1,3,5],"datatype":"FP32","parameters":{"binary_data_size":60}},'
        b'{"name":"threshold","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}'
    )
    body = header + struct.pack("<15f", *pixels.flatten().tolist()) + bytes(4)
    headers = {"Inference-Header-Content-Length": str(len(header))}
    bodies = set()
    for _ in range(3):
        answer = served.call("POST", "/v2/models/named/infer", body, headers)
        bodies.add(answer.body)
        _close(torch.tensor(answer.json["outputs"][0]["data"]).reshape(1, 3, 5), wanted)
    assert len(bodies) == 1


@pytest.mark.parametrize("served", ["segmentation"], indirect=True)
@pytest.mark.parametrize("engine_name", ["aoti", "onnx"], indirect=True)
def test_a_segmentation_model_of_torchvision(served: Server) -> None:
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        wanted = models.segmentation().module(pixels)
    answer = _ask(served, "segmentation", pixels=pixels)
    assert answer.keys() == wanted.keys() == {"out"}
    _close(answer["out"], wanted["out"])


@pytest.mark.parametrize("served", ["parts"], indirect=True)
@pytest.mark.parametrize("engine_name", ["standalone"], indirect=True)
def test_layers_that_take_a_part_of_a_wider_tensor(served: Server) -> None:
    picture = torch.randn(1, 64, 20, 20)
    with torch.no_grad():
        wanted = models.parts().module(picture)
    (answer,) = _ask(served, "parts", picture=picture).values()
    _close(answer, wanted)


def test_the_bytes_of_a_request_are_not_written_to(exports: Exports, engine_name: str) -> None:
    from service.runtime.engine import loading
    from service.runtime.engine.interface import Plan

    artifact = Artifact.read(exports.artifact(f"named-{engine_name}"))
    model = loading.load(artifact, Plan(runners=1, threads=1, max_batch_size=1))
    given = struct.pack("<15f", *range(15))
    before = bytes(bytearray(given))
    first, second = model.run([(given, bytes(4))]), model.run([(given, bytes(4))])
    model.close()
    assert given == before
    assert first == second
