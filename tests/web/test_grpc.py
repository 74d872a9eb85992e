"""gRPC by its real clients, unchanged, against the real service."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy
import pytest
import torch
import tritonclient.grpc as triton
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import model_config_pb2 as configuration
from tritonclient.grpc import service_pb2 as messages

from service import __version__
from tests.conftest import Serve
from tests.support import eager
from tests.support.grpc import (
    INFER,
    INFERENCE,
    channel,
    pictures,
    pixels,
    probabilities,
    request,
    speaking_grpc,
    tensor,
)
from tests.support.http2 import speaking_http2
from tests.support.models import LABELS
from tests.support.pictures import png
from tests.support.serving import Server
from tests.web.test_metrics import WARM, samples

HEADER_LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def client(tiny_server: Server) -> Iterator[Any]:
    with speaking_grpc(tiny_server) as connected:
        yield connected


@pytest.fixture
def types_client(types_server: Server) -> Iterator[Any]:
    with speaking_grpc(types_server) as connected:
        yield connected


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("tiny", "2")
    assert not client.is_model_ready("huge")
    server = client.get_server_metadata()
    assert (server.name, server.version) == ("kindling", __version__)
    model = client.get_model_metadata("tiny", as_json=True)
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": ["-1", "16", "16", "3"]}]
    assert model["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": ["-1", "6"]}]
    assert (model["name"], model["versions"]) == ("tiny", ["1"])


@pytest.mark.parametrize("count", [1, 4, 7])
def test_infer(client: Any, count: int) -> None:
    given = pixels(count)
    outputs = [triton.InferRequestedOutput("probabilities")]
    result = client.infer("tiny", [tensor(given)], model_version="1", outputs=outputs, request_id="seven")
    scores = result.as_numpy("probabilities")
    assert (scores.dtype, scores.shape) == (numpy.float32, (count, 6))
    numpy.testing.assert_allclose(scores, probabilities(given), atol=1e-5)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("seven", "tiny", "1")


def test_infer_without_naming_the_outputs(client: Any) -> None:
    given = pixels(2)
    scores = client.infer("tiny", [tensor(given)]).as_numpy("probabilities")
    numpy.testing.assert_allclose(scores, probabilities(given), atol=1e-5)


def test_typed_contents_are_answered_with_typed_contents(tiny_server: Server) -> None:
    """tritonclient only sends raw ones."""
    given = pixels(2)
    contents = messages.InferTensorContents(uint_contents=given.ravel().tolist())
    described = messages.ModelInferRequest.InferInputTensor(
        name="image", datatype="UINT8", shape=given.shape, contents=contents
    )
    asked = messages.ModelInferRequest(model_name="tiny", inputs=[described])
    with channel(tiny_server) as opened:
        answer = messages.ModelInferResponse.FromString(opened.unary_unary(INFER)(asked.SerializeToString()))
    (output,) = answer.outputs
    assert not answer.raw_output_contents
    scores = numpy.array(output.contents.fp32_contents).reshape(output.shape)
    numpy.testing.assert_allclose(scores, probabilities(given), atol=1e-5)


def test_encoded_pictures(client: Any) -> None:
    encoded = [png(30, 20, seed) for seed in range(3)]
    scores = client.infer("tiny", [pictures(encoded)]).as_numpy("probabilities")
    numpy.testing.assert_allclose(scores, [eager.picture_probabilities(each) for each in encoded], atol=1e-5)


def test_class_count(client: Any) -> None:
    given = pixels(3)
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    rows = client.infer("tiny", [tensor(given)], outputs=outputs).as_numpy("probabilities")
    assert rows.shape == (3, 2)
    for row, scores in zip(rows, probabilities(given), strict=True):
        for cell, index in zip(row, scores.argsort()[::-1][:2], strict=True):
            score, place, label = cell.decode().split(":")
            assert (int(place), label) == (index, LABELS[index])
            assert float(score) == pytest.approx(scores[index], abs=1e-5)


def _numbers(given: torch.Tensor) -> Any:
    return given.float().numpy().astype(ml_dtypes.bfloat16) if given.dtype == torch.bfloat16 else given.numpy()


def _given(client: Any) -> tuple[list[torch.Tensor], list[Any]]:
    """Two items for the model of many datatypes."""
    tensors, inputs = [], []
    for each in client.get_model_metadata("types").inputs:
        tensors.append(torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, each.name)))
        inputs.append(triton.InferInput(each.name, [2, 3], each.datatype))
        inputs[-1].set_data_from_numpy(_numbers(tensors[-1]))
    return tensors, inputs


def test_several_inputs_and_outputs_of_every_datatype(types_client: Any) -> None:
    tensors, inputs = _given(types_client)
    result = types_client.infer("types", inputs)
    described = types_client.get_model_metadata("types").outputs
    for each, right in zip(described, eager.types(tensors), strict=True):
        got, wanted = result.as_numpy(each.name), _numbers(right)
        assert got.dtype == wanted.dtype, each.name
        numpy.testing.assert_array_equal(got, wanted, each.name)


def test_only_the_outputs_that_were_asked_for(types_client: Any) -> None:
    _, inputs = _given(types_client)
    outputs = [triton.InferRequestedOutput("out_int64"), triton.InferRequestedOutput("out_bool")]
    result = types_client.infer("types", inputs, outputs=outputs)
    assert [each.name for each in result.get_response().outputs] == ["out_int64", "out_bool"]
    assert result.as_numpy("out_int64").tolist() == [[1, 2, 2], [2, 1, 2]]
    assert result.as_numpy("out_bool").tolist() == [[True, False, False], [False, True, False]]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client: Any, algorithm: str) -> None:
    given = pixels(4)
    result = client.infer("tiny", [tensor(given)], compression_algorithm=algorithm)
    numpy.testing.assert_allclose(result.as_numpy("probabilities"), probabilities(given), atol=1e-5)


def test_many_callers_of_one_connection_get_their_own_answers(client: Any) -> None:
    def ask(seed: int) -> None:
        for each in range(seed, seed + 4):
            given = pixels(1 + each % 3, each)
            scores = client.infer("tiny", [tensor(given)]).as_numpy("probabilities")
            numpy.testing.assert_allclose(scores, probabilities(given), atol=1e-5)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(ask, range(64)))


def test_the_same_tensors_get_the_same_bytes_by_rest_and_by_grpc(tiny_server: Server) -> None:
    given = pixels(3)
    raw = [
        {"name": "image", "datatype": "UINT8", "shape": given.shape, "parameters": {"binary_data_size": given.nbytes}}
    ]
    rest = tiny_server.call("POST", "/v2/models/tiny/infer", *_binary(raw, given.tobytes()))
    assert rest.status == 200
    with channel(tiny_server) as opened:
        answer = messages.ModelInferResponse.FromString(opened.unary_unary(INFER)(request(given)))
    assert answer.raw_output_contents == [rest.body[int(rest.headers[HEADER_LENGTH]) :]]


def _binary(inputs: list[dict[str, Any]], blob: bytes) -> tuple[bytes, dict[str, str]]:
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return header + blob, {HEADER_LENGTH: str(len(header))}


def test_rest_and_grpc_share_a_connection(tiny_server: Server) -> None:
    """The protocol is known by the request, not by the connection."""
    with speaking_http2(tiny_server) as spoken:
        picture = spoken.ask("POST", "/infer", png(30, 20))
        live = spoken.ask(
            "POST", f"{INFERENCE}/ServerLive", bytes(5), {"content-type": "application/grpc", "te": "trailers"}
        )
        assert spoken.answer(picture).status == 200
        assert b'"labels"' in spoken.answer(picture).body
        assert spoken.answer(live).headers[":status"] == "200"
        assert spoken.answer(live).headers["content-type"] == "application/grpc"
        assert spoken.answer(live).headers["grpc-accept-encoding"] == "identity, gzip, deflate"
        assert spoken.answer(live).body == b"\0\0\0\0\x02\x08\x01"
        assert spoken.answer(live).trailers == {"grpc-status": "0"}


def test_jobs_are_kept_by_http2_too(jobs_server: Server) -> None:
    with speaking_http2(jobs_server) as spoken:
        asked = spoken.answer(spoken.ask("POST", "/infer", png(30, 20), {"prefer": "respond-async"}))
        assert asked.status == 202
        result = spoken.answer(spoken.ask("GET", f"{asked.headers['location']}/result", headers={"prefer": "wait=60"}))
    assert result.status == 200
    assert b'"labels"' in result.body


def test_the_phases_are_told_before_the_answer(tiny_server: Server) -> None:
    with channel(tiny_server) as opened:
        opened.unary_unary(INFER)(request(pixels(1)))
        _, call = opened.unary_unary(INFER).with_call(request(pixels(1)))
        metadata = dict(call.initial_metadata())
        _, other = opened.unary_unary(f"{INFERENCE}/ServerLive").with_call(b"")
    assert [each.partition(";dur=")[0] for each in metadata["server-timing"].split(", ")] == WARM
    assert "server-timing" not in dict(other.initial_metadata())


def test_calls_are_counted_by_method_and_by_the_status_of_http(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, MAX_REQUEST_ITEMS="9")
    with speaking_grpc(server) as client:
        client.is_server_live()
        client.infer("tiny", [tensor(pixels(9))])
        for count in (10, 11):
            with pytest.raises(triton.InferenceServerException, match=f"a batch of {count} items: wanted 1 to 9"):
                client.infer("tiny", [tensor(pixels(count))])
        with pytest.raises(triton.InferenceServerException):
            client.get_log_settings()
    found = samples(server)
    counted = {key[1:]: value for key, value in found.items() if key[0] == "kindling_requests_total" and "." in key[1]}
    assert counted == {
        (f"{INFERENCE}/ServerLive", "200"): 1, (INFER, "200"): 1, (INFER, "422"): 2, (f"{INFERENCE}/<method>", "501"): 1
    }  # fmt: skip
    assert found["kindling_request_duration_seconds_count", INFER] == 3
    assert found["kindling_requests_in_flight",] == 1  # that for the metrics


def test_configuration_statistics_and_index_are_those_of_rest(client: Any, tiny_server: Server) -> None:
    client.infer("tiny", [tensor(pixels(1))])
    config = tiny_server.call("GET", "/v2/models/tiny/config").json
    assert client.get_model_config("tiny").config == ParseDict(config, configuration.ModelConfig())
    for name in ("", "tiny"):
        told = client.get_inference_statistics(name)
        assert told == ParseDict(tiny_server.call("GET", "/v2/models/stats").json, messages.ModelStatisticsResponse())
    assert told.model_stats[0].inference_stats.success.count > 0
    (model,) = client.get_model_repository_index().models
    assert (model.name, model.version, model.state, model.reason) == ("tiny", "1", "READY", "")


def test_what_is_told_of_another_model_is_not_found(client: Any) -> None:
    for ask in (client.get_model_config, client.get_inference_statistics):
        with pytest.raises(triton.InferenceServerException, match="no model 'huge', this service has 'tiny'") as raised:
            ask("huge")
        assert raised.value.status() == "StatusCode.NOT_FOUND"
