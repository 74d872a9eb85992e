"""gRPC's messages as bytes, without a service around them, held against tritonclient's own."""

import array
import math
import struct
from collections.abc import Iterable
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as triton

from service.errors import BadRequest, KindlingError, NotFound, Unprocessable
from service.protocol import v2, v2_grpc
from service.protocol.tensor import Tensor
from service.protocol.v2 import InferRequest, OutputRequest
from tests.protocol.test_v2_answers import ARTIFACT, OUTPUTS

TYPED: list[tuple[str, str, list[Any], bytes]] = [
    ("BOOL", "bool_contents", [True, False], b"\x01\x00"),
    ("INT8", "int_contents", [-128, 127], b"\x80\x7f"),
    ("INT16", "int_contents", [-2, 1], struct.pack("<2h", -2, 1)),
    ("INT32", "int_contents", [-(2**31), 5], struct.pack("<2i", -(2**31), 5)),
    ("INT64", "int64_contents", [-(2**63), 5], struct.pack("<2q", -(2**63), 5)),
    ("UINT8", "uint_contents", [0, 255], b"\x00\xff"),
    ("UINT16", "uint_contents", [0, 65535], struct.pack("<2H", 0, 65535)),
    ("UINT32", "uint_contents", [0, 2**32 - 1], struct.pack("<2I", 0, 2**32 - 1)),
    ("UINT64", "uint64_contents", [0, 2**64 - 1], struct.pack("<2Q", 0, 2**64 - 1)),
    ("FP32", "fp32_contents", [1.5, -math.inf], struct.pack("<2f", 1.5, -math.inf)),
    ("FP64", "fp64_contents", [1e308, -0.0], struct.pack("<2d", 1e308, -0.0)),
]
RAW = [(datatype, raw) for datatype, _, _, raw in TYPED] + [
    ("FP16", b"\x00\x3c\x00\x40"),
    ("BF16", b"\x80\x3f\x00\x40"),
]


def _input(datatype: str = "INT16", shape: Iterable[int] = (1, 2), **fields: Any) -> Any:
    return triton.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape, **fields)


def _ints(*numbers: int) -> Any:
    return triton.InferTensorContents(int_contents=numbers)


def _asked(inputs: Iterable[Any], **fields: Any) -> InferRequest:
    request = triton.ModelInferRequest(**({"model_name": "m", "inputs": inputs} | fields))
    return v2_grpc.decode_infer(request.SerializeToString(), ARTIFACT)


def _error(inputs: Iterable[Any], **fields: Any) -> tuple[int, str]:
    """Status and message of the refusal."""
    with pytest.raises(KindlingError) as fault:
        _asked(inputs, **fields)
    return fault.value.status, str(fault.value)


def _answered(request: InferRequest, outputs: dict[str, Tensor]) -> Any:
    return triton.ModelInferResponse.FromString(v2_grpc.encode_infer(ARTIFACT, request, outputs))


@pytest.mark.parametrize(("datatype", "field", "numbers", "raw"), TYPED, ids=[each[0] for each in TYPED])
def test_typed_contents_are_the_raw_elements(datatype: str, field: str, numbers: list[Any], raw: bytes) -> None:
    contents = triton.InferTensorContents(**{field: numbers})
    asked = _asked([_input(datatype, contents=contents)], id="i")
    assert asked == InferRequest([Tensor("x", datatype, (1, 2), raw)], [], "i", is_binary=False)
    (output,) = _answered(asked, {"x": asked.inputs[0]}).outputs
    assert (output.name, output.datatype, list(output.shape)) == ("x", datatype, [1, 2])
    assert output.contents == contents


@pytest.mark.parametrize(("datatype", "raw"), RAW, ids=[each[0] for each in RAW])
def test_raw_contents_stay_what_they_are(datatype: str, raw: bytes) -> None:
    asked = _asked([_input(datatype)], raw_input_contents=[raw])
    assert asked == InferRequest([Tensor("x", datatype, (1, 2), raw)], [], "", is_binary=True)
    answer = _answered(asked, {"x": asked.inputs[0]})
    assert not answer.outputs[0].HasField("contents")
    assert list(answer.raw_output_contents) == [raw]


def test_pictures_are_the_elements_of_bytes() -> None:
    pictures = [b"\x89PNG\r\n", b"", b"\xff\xd8"]
    typed = _asked([_input("BYTES", [3], contents=triton.InferTensorContents(bytes_contents=pictures))])
    blob = b"".join(struct.pack("<I", len(each)) + each for each in pictures)
    raw = _asked([_input("BYTES", [3])], raw_input_contents=[blob])
    assert typed.inputs == raw.inputs == [Tensor("x", "BYTES", (3,), pictures)]
    outputs = {"x": typed.inputs[0]}
    assert list(_answered(typed, outputs).outputs[0].contents.bytes_contents) == pictures
    assert list(_answered(raw, outputs).raw_output_contents) == [blob]


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_have_no_typed_contents(datatype: str) -> None:
    wanted = f"tensor 'x': {datatype} has no typed contents: send raw_input_contents"
    assert _error([_input(datatype, contents=triton.InferTensorContents(fp32_contents=[1, 2]))]) == (422, wanted)
    half = {"x": Tensor("x", datatype, (1, 2), bytes(4))}
    with pytest.raises(Unprocessable, match=f"^{wanted}$"):
        v2_grpc.encode_infer(ARTIFACT, InferRequest([]), half)


@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        (_input(contents=_ints(1)), "input 'x': 1 elements, shape [1, 2] has 2"),
        (_input(contents=_ints(1, 2, 3)), "input 'x': 3 elements, shape [1, 2] has 2"),
        (_input(), "input 'x': 0 elements, shape [1, 2] has 2"),
        (_input(shape=[10**9, 10**9], contents=_ints(1)), f"input 'x': 1 elements, shape [{10**9}, {10**9}] has {10**18}"),
        (_input(contents=triton.InferTensorContents(int64_contents=[1, 2])), "input 'x': INT16 goes into int_contents, not into int64_contents"),
        (_input(contents=triton.InferTensorContents(int_contents=[1, 2], fp32_contents=[1])), "input 'x': INT16 goes into int_contents, not into int_contents and fp32_contents"),
        (_input(contents=_ints(1, 2**15)), "input 'x': an element is not a INT16"),
        (_input("INT8", contents=_ints(-129, 0)), "input 'x': an element is not a INT8"),
        (_input("UINT8", contents=triton.InferTensorContents(uint_contents=[256, 0])), "input 'x': an element is not a UINT8"),
        (_input("BYTES", contents=triton.InferTensorContents(bytes_contents=[b"a"])), "input 'x': 1 elements, shape [1, 2] has 2"),
        (_input("INT4", contents=_ints(1, 2)), "input 'x': no datatype 'INT4'"),
        (_input("", contents=_ints(1, 2)), "input 'x': no datatype ''"),
    ],
)  # fmt: skip
def test_typed_contents_that_are_not_what_they_say_are_refused(tensor: Any, error: str) -> None:
    assert _error([tensor]) == (422, error)


@pytest.mark.parametrize(
    ("tensor", "raw"),
    [(_input(), b"\x01\x00\x02"), (_input(), b""), (_input("BYTES", [1]), b"abc"), (_input("BYTES", [1]), b"\x09\0\0\0abc")],
)  # fmt: skip
def test_raw_contents_that_are_not_what_they_say_are_refused(tensor: Any, raw: bytes) -> None:
    status, error = _error([tensor], raw_input_contents=[raw])
    assert status == 422
    assert error.startswith("input 'x': ")


def test_contents_are_typed_or_raw_and_not_both() -> None:
    both = _error([_input(contents=_ints(1, 2))], raw_input_contents=[bytes(4)])
    assert both == (400, "input 'x' has contents, and the request has raw_input_contents")
    some = _error([_input(), _input()], raw_input_contents=[bytes(4)])
    assert some == (400, "raw_input_contents has 1 tensors, inputs has 2")
    assert _error([], raw_input_contents=[bytes(4)]) == (400, "raw_input_contents has 1 tensors, inputs has 0")


@pytest.mark.parametrize("shape", [[-1, 2], [1] * 9, [-(2**63)]])
def test_a_shape_that_is_none_is_refused(shape: list[int]) -> None:
    assert _error([_input(shape=shape, contents=_ints(1, 2))])[0] == 400


def test_more_tensors_than_any_model_has_are_refused() -> None:
    outputs = [triton.ModelInferRequest.InferRequestedOutputTensor(name="y")] * 65
    assert _error([_input(contents=_ints(1, 2))] * 65) == (400, "more than 64 tensors")
    assert _error([], outputs=outputs) == (400, "more than 64 tensors")


def test_only_an_id_of_usual_length_is_sent_back() -> None:
    assert _asked([], id="i" * 256).id == "i" * 256
    assert _error([], id="i" * 257) == (400, "id: wanted a string of at most 256 characters")


def test_the_model_and_its_version() -> None:
    for version in ("", "1"):
        assert _asked([], model_version=version).inputs == []
    assert _error([], model_name="n") == (404, "no model 'n', this service has 'm'")
    assert _error([], model_name="") == (404, "no model '', this service has 'm'")
    assert _error([], model_version="2") == (404, "no version '2' of 'm', it has '1'")


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05m", b"\x0a\x01\xff", b'{"inputs": []}'])
def test_bytes_that_are_no_message_are_a_bad_request(body: bytes) -> None:
    """The third is a string that is not UTF-8."""
    with pytest.raises(BadRequest, match=r"^the message is not a ModelInferRequest$"):
        v2_grpc.decode_infer(body, ARTIFACT)


def _output(**parameters: Any) -> Any:
    given = {name: triton.InferParameter(**value) for name, value in parameters.items()}
    return triton.ModelInferRequest.InferRequestedOutputTensor(name="y", parameters=given)


def test_classification_asks_for_the_best_classes() -> None:
    (wanted,) = _asked([], outputs=[_output(classification={"int64_param": 2}, unknown={"bool_param": True})]).outputs
    assert wanted == OutputRequest("y", is_binary=False, classes=2)
    (classes,) = _answered(InferRequest([], [wanted]), OUTPUTS).outputs
    assert (classes.datatype, list(classes.shape)) == ("BYTES", [2, 2])
    rows = [b"0.700000:1:b", b"0.200000:2:c", b"3.000000:0:a", b"2.000000:2:c"]
    assert list(classes.contents.bytes_contents) == rows
    raw = _answered(InferRequest([], [wanted], is_binary=True), OUTPUTS).raw_output_contents
    assert list(raw) == [b"".join(struct.pack("<I", len(each)) + each for each in rows)]


@pytest.mark.parametrize(
    "given", [{"int64_param": -1}, {"string_param": "2"}, {"bool_param": True}, {"uint64_param": 2}, {}]
)
def test_a_classification_that_is_no_number_is_refused(given: dict[str, Any]) -> None:
    wanted = "output 'y': the parameter classification: wanted an int64_param of at least 0"
    assert _error([], outputs=[_output(classification=given)]) == (400, wanted)


def test_shared_memory_is_refused() -> None:
    region = {"shared_memory_region": triton.InferParameter(string_param="r")}
    refused = "shared_memory_region: this service has no shared memory"
    assert _error([_input(parameters=region)]) == (400, f"input 'x': {refused}")
    output = triton.ModelInferRequest.InferRequestedOutputTensor(name="y", parameters=region)
    assert _error([], outputs=[output]) == (400, f"output 'y': {refused}")


@pytest.mark.parametrize("is_binary", [True, False])
def test_the_answer_has_all_outputs_or_those_asked_for(*, is_binary: bool) -> None:
    answer = _answered(InferRequest([], id="i", is_binary=is_binary), OUTPUTS)
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", "i")
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
        ("y", "FP32", [2, 3]), ("z", "INT64", [2])
    ]  # fmt: skip
    assert list(answer.raw_output_contents) == ([each.data for each in OUTPUTS.values()] if is_binary else [])
    asked = InferRequest([], [OutputRequest("z"), OutputRequest("y")], is_binary=is_binary)
    assert [each.name for each in _answered(asked, OUTPUTS).outputs] == ["z", "y"]


def test_nan_and_infinity_are_numbers_like_others() -> None:
    """JSON has none, but a message has: what it carries is what the model gave."""
    numbers = array.array("f", [math.nan, math.inf, -math.inf])
    asked = _asked([_input("FP32", [3], contents=triton.InferTensorContents(fp32_contents=numbers))])
    assert asked.inputs[0].data == numbers.tobytes()
    (output,) = _answered(asked, {"x": asked.inputs[0]}).outputs
    assert array.array("f", output.contents.fp32_contents).tobytes() == numbers.tobytes()


def test_another_model_is_not_found() -> None:
    with pytest.raises(NotFound):
        v2.check_model("other", "", ARTIFACT)
