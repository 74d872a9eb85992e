"""Requests as generated clients, browsers and shells write them, and what the real service makes of them."""

import base64
import json
from typing import Any

import numpy
import pytest
import tritonclient.http as triton

from tests.support import eager
from tests.support.models import SIDE
from tests.support.pictures import png
from tests.support.serving import Answer, Server

HEADER_LENGTH = "Inference-Header-Content-Length"
INFER, PREDICT = "/v2/models/tiny/infer", "/v1/models/tiny:predict"
ITEM = bytes(range(256)) * 3
PIXELS = [[list(ITEM[3 * (SIDE * y + x) :][:3]) for x in range(SIDE)] for y in range(SIDE)]
IMAGE = {"name": "image", "shape": [1, SIDE, SIDE, 3], "datatype": "UINT8"}
PICTURE = png(30, 20)
B64 = base64.b64encode(PICTURE).decode()


def _binary(server: Server, path: str, header: dict[str, Any], blob: bytes) -> Answer:
    raw = json.dumps(header).encode()
    return server.call("POST", path, raw + blob, {HEADER_LENGTH: str(len(raw))})


def _scores(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json["outputs"][0]["data"] if "outputs" in answer.json else answer.json["predictions"][0]


NOTHING: dict[str, None] = dict.fromkeys(
    ("binary_data", "binary_data_size", "classification", "priority", "sequence_id")
)


@pytest.mark.parametrize("place", ["id", "parameters", "outputs", "input", "output", "inside", "everywhere"])
def test_null_is_absent(tiny_server: Server, place: str) -> None:
    null: dict[str, dict[str, Any]] = {
        "id": {"id": None}, "parameters": {"parameters": None}, "outputs": {"outputs": None},
        "input": {"inputs": [IMAGE | {"data": PIXELS, "parameters": None}]},
        "output": {"outputs": [{"name": "probabilities", "parameters": None}]},
        "inside": {"parameters": {"binary_data_output": None}, "outputs": [{"name": "probabilities", "parameters": NOTHING}]},
        "everywhere": {"id": None, "parameters": None, "outputs": None, "model_name": None,
                       "inputs": [IMAGE | {"data": PIXELS, "parameters": NOTHING, "contents": None}]},
    }  # fmt: skip
    answer = tiny_server.call("POST", INFER, {"inputs": [IMAGE | {"data": PIXELS}]} | null[place])
    assert _scores(answer) == pytest.approx(eager.probabilities([ITEM])[0], abs=1e-5)
    assert "id" not in answer.json
    assert HEADER_LENGTH not in answer.headers


def test_null_is_absent_in_v1(tiny_server: Server) -> None:
    asked: dict[str, Any] = {
        "signature_name": None,
        "inputs": None,
        "parameters": None,
        "instances": [{"image": PIXELS, "b64": None}],
    }
    wanted = pytest.approx(eager.probabilities([ITEM])[0], abs=1e-5)
    assert _scores(tiny_server.call("POST", PREDICT, asked)) == wanted
    asked["instances"] = [{"image": None, "b64": B64}]
    wanted = pytest.approx(eager.picture_probabilities(PICTURE), abs=1e-5)
    assert _scores(tiny_server.call("POST", PREDICT, asked)) == wanted


@pytest.mark.parametrize(
    ("parameters", "is_binary"),
    [(None, True), ({}, True), ({"binary_data": None}, True), ({"binary_data": True}, True), ({"binary_data": False}, False)],
)  # fmt: skip
def test_named_outputs_are_binary_where_the_request_says_so(
    tiny_server: Server, parameters: dict[str, Any] | None, *, is_binary: bool
) -> None:
    """The rest of the request, and the reading of the answer, are tritonclient's own."""
    tensor = triton.InferInput("image", IMAGE["shape"], "UINT8")
    tensor.set_data_from_numpy(numpy.frombuffer(ITEM, "uint8").reshape(1, SIDE, SIDE, 3))
    body, length = triton.InferenceServerClient.generate_request_body([tensor])
    header = json.loads(body[:length])
    assert header["parameters"] == {"binary_data_output": True}
    header["outputs"] = [{"name": "probabilities", "parameters": parameters}]
    answer = _binary(tiny_server, INFER, header, body[length:])
    assert (HEADER_LENGTH in answer.headers) == is_binary
    answered = int(answer.headers[HEADER_LENGTH]) if is_binary else None
    result = triton.InferenceServerClient.parse_response_body(answer.body, header_length=answered)
    scores = result.as_numpy("probabilities")[0].tolist()
    assert scores == pytest.approx(eager.probabilities([ITEM])[0], abs=1e-5)


def test_the_best_classes_are_binary_too_where_the_request_says_so(tiny_server: Server) -> None:
    asked = {
        "inputs": [IMAGE | {"data": PIXELS}],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "probabilities", "parameters": {"classification": 1}}],
    }
    answer = tiny_server.call("POST", INFER, asked)
    length = int(answer.headers[HEADER_LENGTH])
    result = triton.InferenceServerClient.parse_response_body(answer.body, header_length=length)
    scores = eager.probabilities([ITEM])[0]
    assert int(result.as_numpy("probabilities")[0][0].split(b":")[1]) == scores.index(max(scores))


@pytest.mark.parametrize(
    "text",
    [base64.encodebytes(PICTURE).decode(), base64.urlsafe_b64encode(PICTURE).decode(), B64.rstrip("="),
     f"data:image/png;base64,{B64}"],
    ids=["line breaks", "URL-safe", "without padding", "data URI"],
)  # fmt: skip
def test_every_base64_with_one_meaning_is_read(tiny_server: Server, text: str) -> None:
    wanted = pytest.approx(eager.picture_probabilities(PICTURE), abs=1e-5)
    picture = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    assert _scores(tiny_server.call("POST", INFER, {"inputs": [picture]})) == wanted
    for instance in ({"b64": text}, {"image": {"b64": text}}):
        assert _scores(tiny_server.call("POST", PREDICT, {"instances": [instance]})) == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (B64.replace("/", " ").replace("+", " "), "perhaps a + that was read as a form"),
        (str(base64.b64encode(PICTURE)), "it is written as Python writes bytes"),
        ("https://example.com/cat.jpg", "character 6 is ':'"),
        (B64[:101], "101 characters are one too many, or it is cut off"),
    ],
)
def test_what_is_not_base64_is_told_why(tiny_server: Server, text: str, reason: str) -> None:
    picture = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    for path, body, where in (
        (INFER, {"inputs": [picture]}, "input 'image'[0]"), (PREDICT, {"instances": [{"b64": text}]}, "instances[0]")
    ):  # fmt: skip
        answer = tiny_server.call("POST", path, body)
        assert answer.status == 400
        assert answer.error.startswith(f"{where}: not base64: ")
        assert reason in answer.error


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"instances": [{"image_bytes": {"b64": B64}}]}, 422, "instances[0]: the model's input is 'image', the instance has ['image_bytes']"),
        ({"instances": [{"data": PIXELS}]}, 422, "instances[0]: the model's input is 'image', the instance has ['data']"),
        ({"instances": [B64]}, 422, """instances[0]: a string, wanted a list or {"b64": "..."}"""),
        ({"instances": {"image": PIXELS}}, 400, "instances: wanted a list, got an object"),
        ({"inputs": {"image": [PIXELS]}}, 400, """wanted {"instances": [...]} (inputs by name go to POST /v2/models/NAME/infer), the body has ['inputs']"""),
        ({"image": B64}, 400, """wanted {"instances": [...]}, the body has ['image']"""),
        ([PIXELS], 400, """the JSON is a list, wanted {"instances": [...]}"""),
        ({"instances": [PIXELS, {"b64": "AAAA"}]}, 422, "instances[1]: not a picture"),
    ],
)  # fmt: skip
def test_v1_tells_what_it_found_and_what_it_wanted(tiny_server: Server, body: Any, status: int, error: str) -> None:
    answer = tiny_server.call("POST", PREDICT, json.dumps(body).encode())
    assert (answer.status, answer.error[: len(error)]) == (status, error)


def test_instances_sent_to_v2_are_told_where_they_go(tiny_server: Server) -> None:
    answer = tiny_server.call("POST", INFER, {"instances": [PIXELS]})
    error = 'wanted {"inputs": [...]}, the body has instances: those of V1 go to POST /v1/models/NAME:predict'
    assert (answer.status, answer.error) == (400, error)


def test_sizes_of_thousands_of_digits_are_a_bad_request(tiny_server: Server) -> None:
    """It was a 500: Python writes no integer of more than 4300 digits."""
    answer = tiny_server.call("POST", INFER, {"inputs": [IMAGE | {"shape": [10**4000] * 2, "data": [1]}]})
    assert answer.status == 400
    assert answer.error.startswith("input 'image': shape [1000")


def test_shared_memory_is_refused_instead_of_left_unfilled(tiny_server: Server) -> None:
    wanted = triton.InferRequestedOutput("probabilities")
    wanted.set_shared_memory("region", 24)
    client = triton.InferenceServerClient(tiny_server.address)
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(numpy.array([PICTURE], dtype=object))
    with pytest.raises(triton.InferenceServerException, match="this service has no shared memory"):
        client.infer("tiny", [tensor], outputs=[wanted])
    client.close()
