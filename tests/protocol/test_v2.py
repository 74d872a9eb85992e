"""Requests and responses as bytes, without a service around them."""

import base64
import json
import struct
from typing import Any

import pytest

from model.artifact import Artifact, CpuSpec, Defaults, ImageSpec, TensorSpec
from service.errors import BadRequest, KindlingError, Unprocessable
from service.protocol import v1, v2
from service.protocol.tensor import Tensor
from service.protocol.v2 import InferRequest, OutputRequest

ARTIFACT = Artifact(
    name="m", engine="onnx", precision="fp32", inputs=(TensorSpec("x", "INT16", (2,)),),
    outputs=(TensorSpec("y", "FP32", (3,)), TensorSpec("z", "INT64", ())), programs=(), defaults=Defaults(1, 1),
    cpu=CpuSpec("any"), labels=("a", "b", "c"), image=ImageSpec(1, 1, 1),
)  # fmt: skip
OUTPUTS = {
    "y": Tensor("y", "FP32", (2, 3), struct.pack("<6f", 0.1, 0.7, 0.2, 3, 1, 2)),
    "z": Tensor("z", "INT64", (2,), struct.pack("<2q", -1, 2**62)),
}


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
        [OutputRequest("y"), OutputRequest("z", is_binary=True, classes=3)],
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
    accepted = {"name": ("", "x", "\ud800"), "parameters": ({}, {"a": 1})}.get(member, ())
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


def test_the_answer_in_json() -> None:
    body, header_length = v2.encode_infer(ARTIFACT, InferRequest([], id="i"), OUTPUTS)
    assert header_length is None
    assert json.loads(body) == {
        "model_name": "m", "model_version": "1", "id": "i",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": [0.100000001, 0.699999988, 0.200000003, 3, 1, 2]},
            {"name": "z", "datatype": "INT64", "shape": [2], "data": [-1, 2**62]},
        ],
    }  # fmt: skip


def test_the_answer_in_part_binary() -> None:
    asked = InferRequest([], [OutputRequest("z"), OutputRequest("y", is_binary=True)])
    body, header_length = v2.encode_infer(ARTIFACT, asked, OUTPUTS)
    assert header_length is not None
    assert json.loads(body[:header_length])["outputs"] == [
        {"name": "z", "datatype": "INT64", "shape": [2], "data": [-1, 2**62]},
        {"name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}},
    ]
    assert body[header_length:] == OUTPUTS["y"].data


@pytest.mark.parametrize("is_binary", [False, True])
def test_classes_are_score_index_label(*, is_binary: bool) -> None:
    asked = InferRequest([], [OutputRequest("y", is_binary, classes=2)])
    body, header_length = v2.encode_infer(ARTIFACT, asked, OUTPUTS)
    rows = [b"0.700000:1:b", b"0.200000:2:c", b"3.000000:0:a", b"2.000000:2:c"]
    (output,) = json.loads(body[:header_length])["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    if is_binary:
        assert body[header_length:] == b"".join(struct.pack("<I", len(each)) + each for each in rows)
    else:
        assert [each.encode() for each in output["data"]] == rows


def test_more_classes_than_there_are_give_all_of_them() -> None:
    classes = v2.classify(OUTPUTS["y"], 100, ("a",))
    assert classes.shape == (2, 3)
    assert classes.data == [
        b"0.700000:1", b"0.200000:2", b"0.100000:0:a", b"3.000000:0:a", b"2.000000:2", b"1.000000:1"
    ]  # fmt: skip


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_does_not_have_is_answered_in_binary_only(number: float) -> None:
    outputs = {"y": Tensor("y", "FP32", (1, 1), struct.pack("<f", number))}
    with pytest.raises(Unprocessable, match=r"^output y has NaN or Infinity, which JSON has not"):
        v2.encode_infer(ARTIFACT, InferRequest([]), outputs)
    body, header_length = v2.encode_infer(ARTIFACT, InferRequest([], is_binary=True), outputs)
    assert body[header_length:] == outputs["y"].data


def _decode_image(encoded: bytes) -> bytes:
    return b"<" + encoded + b">"


@pytest.mark.parametrize(
    ("instance", "item"),
    [
        ([1, -2], b"\x01\x00\xfe\xff"),
        ([[1], [-2]], b"\x01\x00\xfe\xff"),
        ({"x": [1, -2]}, b"\x01\x00\xfe\xff"),
        ({"b64": base64.b64encode(b"cat").decode()}, b"<cat>"),
        ({"x": {"b64": base64.b64encode(b"cat").decode()}}, b"<cat>"),
    ],
)
def test_v1_instances(instance: Any, item: bytes) -> None:
    body = json.dumps({"instances": [instance, instance]}).encode()
    assert v1.decode(body, ARTIFACT, _decode_image, 2) == [(item,), (item,)]


@pytest.mark.parametrize(
    "raw", [{}, {"instances": []}, {"instances": [[1, 2]] * 3}, {"instances": {}}, *({"instances": [each]} for each in VALUES),
            {"instances": [{"b64": 1}]}, {"instances": [{"b64": "é"}]}, {"instances": [{"b64": "YQ==", "x": 1}]}]
)  # fmt: skip
def test_malformed_v1_is_refused(raw: Any) -> None:
    with pytest.raises((BadRequest, Unprocessable)):
        v1.decode(json.dumps(raw).encode(), ARTIFACT, _decode_image, 2)


def test_v1_predictions() -> None:
    assert v1.encode({"z": OUTPUTS["z"]}) == [-1, 2**62]
    assert v1.encode({"y": OUTPUTS["y"]}) == [pytest.approx([0.1, 0.7, 0.2]), [3, 1, 2]]
    assert v1.encode(OUTPUTS) == [
        {"y": pytest.approx([0.1, 0.7, 0.2]), "z": -1}, {"y": [3, 1, 2], "z": 2**62}
    ]  # fmt: skip


def test_v1_predictions_are_json_too() -> None:
    with pytest.raises(Unprocessable):
        v1.encode({"y": Tensor("y", "FP32", (1, 1), struct.pack("<f", float("nan")))})
