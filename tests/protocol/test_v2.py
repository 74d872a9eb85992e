"""Requests of V2 as bytes, without a service around them."""

import json
import struct
from typing import Any

import pytest

from service.errors import BadRequest, KindlingError, Unprocessable
from service.protocol import v2
from service.protocol.tensor import Tensor
from service.protocol.v2 import InferRequest, OutputRequest


def _request(inputs: Any, **members: Any) -> bytes:
    return json.dumps({"inputs": inputs, **members}).encode()


def _x(**members: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "INT16", "shape": [1, 2], **members}


def test_a_json_request() -> None:
    body = _request(
        [_x(data=[[1, -2]]), {"name": "s", "datatype": "BYTES", "shape": [2], "data": ["YQ==", ""]}],
        id="i",
        outputs=[{"name": "y"}, {"name": "z", "parameters": {"binary_data": True, "classification": 3}}],
        parameters={"binary_data_output": True},
    )
    assert v2.decode_infer(body, None) == InferRequest(
        [Tensor("x", "INT16", (1, 2), b"\x01\x00\xfe\xff"), Tensor("s", "BYTES", (2,), [b"a", b""])],
        [OutputRequest("y", is_binary=True), OutputRequest("z", is_binary=True, classes=3)],
        "i",
        is_binary=True,
    )


def test_a_binary_request_cuts_the_tensors_in_their_order() -> None:
    strings = struct.pack("<I", 3) + b"abc" + struct.pack("<I", 0)
    header = _request(
        [
            _x(parameters={"binary_data_size": 4}),
            _x(name="j", data=[5, 6]),
            {"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(strings)}},
        ]
    )
    request = v2.decode_infer(header + b"\x01\x00\x02\x00" + strings, len(header))
    assert [(each.name, each.data) for each in request.inputs] == [
        ("x", b"\x01\x00\x02\x00"), ("j", b"\x05\x00\x06\x00"), ("s", [b"abc", b""])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("blob", "entry"),
    [
        (b"\x01\x00\x02", _x(parameters={"binary_data_size": 4})),
        (b"\x01\x00\x02\x00", _x(parameters={"binary_data_size": 2})),
        (b"\x01\x00\x02\x00\x03", _x(parameters={"binary_data_size": 4})),
        (b"\x01\x00\x02\x00", _x(parameters={"binary_data_size": -1})),
        (b"\x01\x00\x02\x00", _x(parameters={"binary_data_size": True})),
        (b"\x01\x00\x02\x00", _x(parameters={"binary_data_size": "4"})),
        (b"\x01\x00\x02\x00", _x(parameters=[4])),
        (b"\x01\x00\x02\x00", _x(parameters={"binary_data_size": 10**30})),
        (b"\x01\x00\x02\x00", _x()),
        (struct.pack("<I", 9) + b"abc", _x(datatype="BYTES", shape=[1], parameters={"binary_data_size": 7})),
        (struct.pack("<I", 2) + b"abc", _x(datatype="BYTES", shape=[1], parameters={"binary_data_size": 7})),
        (struct.pack("<I", 3) + b"abc", _x(datatype="BYTES", shape=[2], parameters={"binary_data_size": 7})),
        (b"abc", _x(datatype="BYTES", shape=[1], parameters={"binary_data_size": 3})),
        (b"", _x(datatype="BYTES", shape=[1], parameters={"binary_data_size": 0})),
    ],
)
def test_binary_tensors_that_are_not_what_they_say_are_refused(blob: bytes, entry: dict[str, Any]) -> None:
    header = _request([entry])
    with pytest.raises((BadRequest, Unprocessable)):
        v2.decode_infer(header + blob, len(header))


VALUES: list[Any] = [None, True, 0, -1, 1.5, 10**30, "", "x", [], [[]], [None], {}, {"a": 1}, "\ud800", 1e308]


def _status(raw: dict[str, Any]) -> int:
    """That of the answer to a request which is only decoded."""
    try:
        v2.decode_infer(json.dumps(raw).encode(), None)
    except KindlingError as fault:
        return fault.status
    return 200


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("member", ["name", "datatype", "shape", "data", "parameters"])
def test_any_value_anywhere_in_a_tensor_is_read_or_refused(member: str, value: Any) -> None:
    accepted = {"name": ("", "x", "\ud800"), "parameters": (None, {}, {"a": 1})}.get(member, ())
    assert (_status({"inputs": [_x(data=[1, 2]) | {member: value}]}) == 200) == (value in accepted)


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("member", ["inputs", "outputs", "id", "parameters", "unknown"])
def test_any_value_anywhere_in_a_request_is_read_or_refused(member: str, value: Any) -> None:
    status = _status({"inputs": [_x(data=[1, 2])], member: value})
    assert status == 200 if member == "unknown" else status in (200, 400, 422)


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("member", ["name", "parameters", "binary_data", "classification"])
def test_any_value_anywhere_in_a_wanted_output_is_read_or_refused(member: str, value: Any) -> None:
    output: dict[str, Any] = {"name": "y", "parameters": {}}
    place = output if member in output else output["parameters"]
    place[member] = value
    assert _status({"inputs": [_x(data=[1, 2])], "outputs": [output]}) in (200, 400)


def test_null_is_absent_wherever_a_field_may_be_absent() -> None:
    nothing = {"binary_data": None, "classification": None, "binary_data_size": None, "shared_memory_region": None}
    for parameters in (None, {}, nothing):
        body = _request(
            [_x(data=[1, 2], parameters=parameters)],
            id=None,
            outputs=[{"name": "y", "parameters": parameters}],
            parameters=parameters if parameters is None else {"binary_data_output": None},
            model_name=None,
        )
        wanted = InferRequest([Tensor("x", "INT16", (1, 2), b"\x01\x00\x02\x00")], [OutputRequest("y")])
        assert v2.decode_infer(body, None) == wanted
    assert v2.decode_infer(_request([_x(data=[1, 2])], outputs=None), None).outputs == []


def test_null_data_is_absent_where_the_bytes_follow() -> None:
    header = _request([_x(data=None, parameters={"binary_data_size": 4})], id=None)
    (tensor,) = v2.decode_infer(header + b"\x01\x00\x02\x00", len(header)).inputs
    assert tensor.data == b"\x01\x00\x02\x00"


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"inputs": None}, "inputs: wanted a list, got nothing"),
        ({"inputs": {}}, "inputs: wanted a list, got an object"),
        ({"inputs": [None]}, "inputs[0]: wanted an object, got nothing"),
        ({"inputs": [_x(name=None)]}, "inputs[0].name: wanted a string, got nothing"),
        ({"inputs": [_x(data=[1, 2]), _x(datatype=None)]}, "inputs[1].datatype: wanted a string, got nothing"),
        ({"inputs": [_x(shape=None)]}, "inputs[0].shape: wanted a list, got nothing"),
        ({"inputs": [_x(data=None)]}, "input 'x': it has neither data nor parameters.binary_data_size"),
        ({"inputs": [_x(parameters=[4])]}, "inputs[0].parameters: wanted an object, got a list"),
        ({"inputs": [_x(parameters={"binary_data_size": 4.5})]}, "inputs[0].parameters.binary_data_size: wanted a whole number, got a number"),
        ({"inputs": [_x(parameters={"shared_memory_region": "r"})]}, "inputs[0].parameters.shared_memory_region: this service has no shared memory"),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "outputs[0].parameters.shared_memory_region: this service has no shared memory"),
        ({"inputs": [], "outputs": [{"name": None}]}, "outputs[0].name: wanted a string, got nothing"),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]}, "outputs[0].parameters.binary_data: wanted a boolean, got a string"),
        ({"inputs": [], "id": 7}, "id: wanted a string, got a number"),
        ({"inputs": [], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: wanted a boolean, got a number"),
        ({"instances": [[1, 2]]}, 'wanted {"inputs": [...]}, the body has instances: those of V1 go to POST /v1/models/NAME:predict'),
    ],
)  # fmt: skip
def test_the_error_says_where_and_what(asked: dict[str, Any], error: str) -> None:
    with pytest.raises(KindlingError) as fault:
        v2.decode_infer(json.dumps(asked).encode(), None)
    assert str(fault.value) == error


@pytest.mark.parametrize("everything", [None, False, True])
@pytest.mark.parametrize("own", ["absent", None, False, True])
def test_an_output_is_binary_as_it_says_else_as_the_request_says(everything: Any, own: Any) -> None:
    parameters = {} if own == "absent" else {"binary_data": own}
    body = _request(
        [_x(data=[1, 2])],
        parameters={"binary_data_output": everything},
        outputs=[{"name": "y", "parameters": parameters}, {"name": "z"}],
    )
    y, z = v2.decode_infer(body, None).outputs
    assert y.is_binary == (own if isinstance(own, bool) else bool(everything))
    assert z.is_binary == bool(everything)


def test_a_negative_classification_is_refused() -> None:
    outputs = [{"name": "y", "parameters": {"classification": -1}}]
    with pytest.raises((BadRequest, Unprocessable)):
        v2.decode_infer(_request([_x(data=[1, 2])], outputs=outputs), None)


def test_more_tensors_than_any_model_has_are_refused() -> None:
    with pytest.raises(BadRequest, match=r"^inputs: more than 64 tensors$"):
        v2.decode_infer(_request([_x(data=[1, 2])] * 65), None)


def test_a_shape_of_more_elements_than_there_are_is_refused_without_being_made() -> None:
    with pytest.raises(Unprocessable):
        v2.decode_infer(_request([_x(shape=[10**9, 10**9], data=[1, 2])]), None)


@pytest.mark.parametrize("size", [2**63, 10**4000])
def test_a_size_that_no_integer_of_64_bits_holds_is_refused(size: int) -> None:
    """More than 4300 digits cannot even be written into an error."""
    with pytest.raises(BadRequest, match=r"is not a list of at most 8 sizes$"):
        v2.decode_infer(_request([_x(shape=[size, size], data=[1, 2])]), None)
