"""KServe's V1 without a service around it."""

import base64
import json
import struct
from typing import Any

import pytest

from model.artifact import Artifact, CpuSpec, Defaults, ImageSpec, TensorSpec
from service.errors import BadRequest, KindlingError, Unprocessable
from service.protocol import v1
from service.protocol.tensor import Tensor

CAT = base64.b64encode(b"cat").decode()
VALUES: list[Any] = [None, True, 0, -1, 1.5, 10**30, "", "x", [], [[]], [None], {}, {"a": 1}, "\ud800", 1e308]
OUTPUTS = {
    "y": Tensor("y", "FP32", (2, 3), struct.pack("<6f", 0.1, 0.7, 0.2, 3, 1, 2)),
    "z": Tensor("z", "INT64", (2,), struct.pack("<2q", -1, 2**62)),
}


def _artifact(*shape: int, datatype: str = "INT16") -> Artifact:
    return Artifact(
        name="m", engine="onnx", precision="fp32", inputs=(TensorSpec("x", datatype, shape),),
        outputs=(TensorSpec("y", "FP32", (3,)),), programs=(), defaults=Defaults(1, 1), cpu=CpuSpec("any"),
        image=ImageSpec(1, 1, 1),
    )  # fmt: skip


ARTIFACT = _artifact(2)


def _decode_image(encoded: bytes) -> bytes:
    if encoded == b"bad":
        raise Unprocessable("damaged")
    return b"<" + encoded + b">"


@pytest.mark.parametrize(
    ("instance", "item"),
    [
        ([1, -2], b"\x01\x00\xfe\xff"),
        ([[1], [-2]], b"\x01\x00\xfe\xff"),
        ({"x": [1, -2]}, b"\x01\x00\xfe\xff"),
        ({"x": [1, -2], "key": "k"}, b"\x01\x00\xfe\xff"),
        ({"x": [1, -2], "b64": None}, b"\x01\x00\xfe\xff"),
        ([[1, -2]], b"\x01\x00\xfe\xff"),
        ({"b64": CAT}, b"<cat>"),
        ({"b64": CAT, "x": None}, b"<cat>"),
        ({"x": {"b64": CAT, "type": None}}, b"<cat>"),
        ({"x": {"b64": CAT}}, b"<cat>"),
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


def _refused(raw: Any, artifact: Artifact = ARTIFACT) -> tuple[int, str]:
    with pytest.raises(KindlingError) as fault:
        v1.decode(json.dumps(raw).encode(), artifact, _decode_image, 2)
    return fault.value.status, str(fault.value)


@pytest.mark.parametrize(
    ("status", "error", "raw"),
    [
        (400, """wanted {"instances": [...]}, the body has []""", {}),
        (400, """wanted {"instances": [...]}, the body has ['data']""", {"data": [[1, 2]], "signature_name": None}),
        (400, """wanted {"instances": [...]} (inputs by name go to POST /v2/models/NAME/infer), the body has ['inputs']""", {"inputs": [[1, 2]], "instances": None}),
        (400, """the JSON is a list, wanted {"instances": [...]}""", [[1, 2]]),
        (400, "instances: wanted a list, got an object", {"instances": {"x": [1, 2]}}),
        (422, "instances: 3 items, wanted 1 to 2", {"instances": [[1, 2]] * 3}),
        (422, "instances: 0 items, wanted 1 to 2", {"instances": []}),
        (422, "instances[0]: the model's input is 'x', the instance has ['image_bytes']", {"instances": [{"image_bytes": {"b64": CAT}}]}),
        (422, "instances[1]: the model's input is 'x', the instance has ['data']", {"instances": [[1, 2], {"data": [1, 2]}]}),
        (422, "instances[0]: the model's input is 'x', the instance has []", {"instances": [{"x": None}]}),
        (422, "instances[0]: the model's input is 'x', the instance has ['b64', 'type']", {"instances": [{"b64": CAT, "type": "jpeg"}]}),
        (422, """instances[0]: wanted a list or {"b64": "..."}, it has ['data']""", {"instances": [{"x": {"data": CAT}}]}),
        (422, """instances[0]: a string, wanted a list or {"b64": "..."}""", {"instances": [CAT]}),
        (422, """instances[0]: a string, wanted a list or {"b64": "..."}""", {"instances": [{"x": CAT}]}),
        (422, "instances[0]: wanted a list, got nothing", {"instances": [None]}),
        (422, "instances[0]: wanted a list, got a number", {"instances": [1]}),
        (400, "instances[0]: wanted a string with base64, got a number", {"instances": [{"b64": 1}]}),
        (400, "instances[1]: not base64: character 1 is '!'", {"instances": [{"b64": CAT}, {"b64": "!"}]}),
        (422, "instances[1]: damaged", {"instances": [{"b64": CAT}, {"b64": "YmFk"}]}),
        (422, "instances[0]: the lists are nested [1, 1, 2, 2], wanted [2]", {"instances": [[[[[1, 2], [3, 4]]]]]}),
    ],
)  # fmt: skip
def test_the_error_says_what_the_body_has_and_what_is_wanted(status: int, error: str, raw: Any) -> None:
    assert _refused(raw) == (status, error)


def test_an_array_is_nested_as_the_item_is() -> None:
    planes = [[[0] * 4 for _ in range(4)] for _ in range(3)]
    artifact = _artifact(4, 4, 3)
    assert _refused({"instances": [planes]}, artifact) == (
        422, "instances[0]: the lists are nested [3, 4, 4], wanted [4, 4, 3]"
    )  # fmt: skip
    pixels = [[[0] * 3 for _ in range(4)] for _ in range(4)]
    lines, rows = [[0] * 3] * 16, [[0] * 12] * 4
    for right in (pixels, [pixels], [0] * 48, lines, rows):
        assert v1.decode(json.dumps({"instances": [right]}).encode(), artifact, _decode_image, 2) == [(bytes(96),)]
    # the batch left out: each row is taken for an item
    assert _refused({"instances": pixels[:2]}, artifact) == (
        422, "instances[0]: the lists are nested [4, 3], wanted [4, 4, 3]"
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_number_is_an_item_where_an_item_is_one_number(shape: tuple[int, ...]) -> None:
    for instances in ([1, -2], [[1], [-2]], [{"x": 1}, {"x": [[-2]]}]):
        body = json.dumps({"instances": instances, "signature_name": None, "parameters": None}).encode()
        assert v1.decode(body, _artifact(*shape), _decode_image, 2) == [(b"\x01\x00",), (b"\xfe\xff",)]


def test_what_json_does_not_have_is_pointed_to_the_binary_form() -> None:
    artifact = _artifact(2, datatype="FP32")
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "3.5e38"):
        with pytest.raises(KindlingError, match=r"binary tensor \(binary_data_size\) of POST /v2/models/NAME/infer"):
            v1.decode(b'{"instances": [[1, %s]]}' % number.encode(), artifact, _decode_image, 2)


def test_a_line_break_inside_a_string_is_named() -> None:
    with pytest.raises(BadRequest, match=r"line break inside a string\? `base64 -w0` writes none"):
        v1.decode(b'{"instances": [{"b64": "Y2\nF0"}]}', ARTIFACT, _decode_image, 2)
