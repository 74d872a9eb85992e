"""The real tritonclient, unchanged, against the real service."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy
import pytest
import torch
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from service import __version__
from tests.support import eager
from tests.support.models import LABELS, SIDE
from tests.support.pictures import png
from tests.support.serving import Server


@pytest.fixture
def client(tiny_server: Server) -> Iterator[Any]:
    connected = triton.InferenceServerClient(tiny_server.address, concurrency=4)
    yield connected
    connected.close()


@pytest.fixture
def types_client(types_server: Server) -> Iterator[Any]:
    connected = triton.InferenceServerClient(types_server.address)
    yield connected
    connected.close()


def _pixels(count: int, seed: int = 0) -> Any:
    return numpy.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=numpy.uint8)


def _tensor(pixels: Any, *, binary: bool = True) -> Any:
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return tensor


def _pictures(pictures: list[bytes], *, binary: bool = True) -> Any:
    tensor = triton.InferInput("image", [len(pictures)], "BYTES")
    tensor.set_data_from_numpy(numpy.array(pictures, dtype=object), binary_data=binary)
    return tensor


def _wanted(pixels: Any) -> Any:
    return numpy.array(eager.probabilities([each.tobytes() for each in pixels]))


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("huge")
    assert client.get_server_metadata() == {
        "name": "kindling",
        "version": __version__,
        "extensions": [
            "binary_tensor_data",
            "classification",
            "model_configuration",
            "model_repository",
            "statistics",
        ],
    }
    metadata = client.get_model_metadata("tiny")
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 16, 16, 3]}]
    assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 6]}]


@pytest.mark.parametrize("count", [1, 4, 7])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_infer(client: Any, count: int, *, binary_in: bool, binary_out: bool) -> None:
    pixels = _pixels(count)
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
    result = client.infer("tiny", [_tensor(pixels, binary=binary_in)], outputs=outputs, request_id="seven")
    scores = result.as_numpy("probabilities")
    assert (scores.dtype, scores.shape) == (numpy.float32, (count, 6))
    numpy.testing.assert_allclose(scores, _wanted(pixels), atol=1e-5)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("seven", "tiny", "1")


def test_infer_without_naming_the_outputs(client: Any) -> None:
    pixels = _pixels(2)
    scores = client.infer("tiny", [_tensor(pixels)]).as_numpy("probabilities")
    numpy.testing.assert_allclose(scores, _wanted(pixels), atol=1e-5)


def test_encoded_pictures_in_binary(client: Any) -> None:
    pictures = [png(30, 20, seed) for seed in range(3)]
    scores = client.infer("tiny", [_pictures(pictures)]).as_numpy("probabilities")
    numpy.testing.assert_allclose(scores, [eager.picture_probabilities(each) for each in pictures], atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_class_count(client: Any, *, binary: bool) -> None:
    pixels = _pixels(3)
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)]
    rows = client.infer("tiny", [_tensor(pixels)], outputs=outputs).as_numpy("probabilities")
    assert rows.shape == (3, 2)
    for row, scores in zip(rows, _wanted(pixels), strict=True):
        for cell, index in zip(row, scores.argsort()[::-1][:2], strict=True):
            text = cell.decode() if isinstance(cell, bytes) else cell
            score, place, label = text.split(":")
            assert (int(place), label) == (index, LABELS[index])
            assert float(score) == pytest.approx(scores[index], abs=1e-5)


@pytest.mark.parametrize("asked", [None, "gzip", "deflate"])
@pytest.mark.parametrize("answered", [None, "gzip", "deflate"])
def test_compression(client: Any, asked: str | None, answered: str | None) -> None:
    pixels = _pixels(4)
    result = client.infer(
        "tiny", [_tensor(pixels)], request_compression_algorithm=asked, response_compression_algorithm=answered
    )
    numpy.testing.assert_allclose(result.as_numpy("probabilities"), _wanted(pixels), atol=1e-5)


def test_many_asynchronous_requests_get_their_own_answers(client: Any) -> None:
    asked = [_pixels(1 + seed % 3, seed) for seed in range(24)]
    pending = [client.async_infer("tiny", [_tensor(pixels)]) for pixels in asked]
    for pixels, each in zip(asked, pending, strict=True):
        scores = each.get_result(timeout=60).as_numpy("probabilities")
        numpy.testing.assert_allclose(scores, _wanted(pixels), atol=1e-5)


def _numbers(tensor: torch.Tensor) -> Any:
    return tensor.float().numpy().astype(ml_dtypes.bfloat16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _given(client: Any, *, binary: bool) -> tuple[list[torch.Tensor], list[Any]]:
    """Two items for the model of many datatypes; FP16 and BF16 are binary, as this client has them no other way."""
    tensors, inputs = [], []
    for each in client.get_model_metadata("types")["inputs"]:
        tensor = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, each["name"]))
        given = triton.InferInput(each["name"], [2, 3], each["datatype"])
        given.set_data_from_numpy(_numbers(tensor), binary_data=binary or each["datatype"] in ("FP16", "BF16"))
        tensors.append(tensor)
        inputs.append(given)
    return tensors, inputs


@pytest.mark.parametrize("binary", [True, False])
def test_several_inputs_and_outputs_of_every_datatype(types_client: Any, *, binary: bool) -> None:
    tensors, inputs = _given(types_client, binary=binary)
    described = types_client.get_model_metadata("types")["outputs"]
    outputs = [
        triton.InferRequestedOutput(each["name"], binary_data=binary or each["datatype"] in ("FP16", "BF16"))
        for each in described
    ]
    result = types_client.infer("types", inputs, outputs=outputs)
    for each, right in zip(described, eager.types(tensors), strict=True):
        got, wanted = result.as_numpy(each["name"]), _numbers(right)
        assert got.dtype == wanted.dtype, each["name"]
        numpy.testing.assert_array_equal(got, wanted, each["name"])


def test_only_the_outputs_that_were_asked_for(types_client: Any) -> None:
    _, inputs = _given(types_client, binary=True)
    outputs = [triton.InferRequestedOutput("out_int64"), triton.InferRequestedOutput("out_bool", binary_data=False)]
    result = types_client.infer("types", inputs, outputs=outputs)
    assert [each["name"] for each in result.get_response()["outputs"]] == ["out_int64", "out_bool"]
    assert result.as_numpy("out_int64").tolist() == [[1, 2, 2], [2, 1, 2]]
    assert result.as_numpy("out_bool").tolist() == [[True, False, False], [False, True, False]]


def _asked_wrongly() -> Iterator[tuple[str, Any, str, str]]:
    yield "shape", _tensor(numpy.zeros((1, 8, 8, 3), numpy.uint8)), "422", "shape [1, 8, 8, 3], wanted [-1, 16, 16, 3]"
    yield "picture", _pictures([b"nonsense"]), "422", "not a picture: wanted JPEG, PNG, WebP or AVIF"
    # strings in JSON are not base64 here: BYTES go in binary, as this client does by default
    yield "text", _pictures([b"not base64!"], binary=False), "400", "not base64"


@pytest.mark.parametrize(
    ("tensor", "status", "error"), [each[1:] for each in _asked_wrongly()], ids=["shape", "picture", "text"]
)
def test_errors_are_the_clients_exception(client: Any, tensor: Any, status: str, error: str) -> None:
    with pytest.raises(InferenceServerException) as fault:
        client.infer("tiny", [tensor])
    assert fault.value.status() == status
    assert error in fault.value.message()


def test_an_unknown_model_is_the_clients_exception(client: Any) -> None:
    with pytest.raises(InferenceServerException) as asked:
        client.infer("huge", [_tensor(_pixels(1))])
    with pytest.raises(InferenceServerException) as described:
        client.get_model_metadata("huge")
    for fault in (asked.value, described.value):
        assert (fault.status(), fault.message()) == ("404", "no model 'huge', this service has 'tiny'")
