"""Answers of V2 as bytes, without a service around them."""

import json
import struct

import pytest

from model.artifact import Artifact, CpuSpec, Defaults, ImageSpec, TensorSpec
from service.errors import Unprocessable
from service.protocol import v2
from service.protocol.classes import classify
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
    classes = classify(OUTPUTS["y"], 100, ("a",))
    assert classes.shape == (2, 3)
    assert classes.data == [
        b"0.700000:1", b"0.200000:2", b"0.100000:0:a", b"3.000000:0:a", b"2.000000:2", b"1.000000:1"
    ]  # fmt: skip


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_does_not_have_is_answered_in_binary_only(number: float) -> None:
    outputs = {"y": Tensor("y", "FP32", (1, 1), struct.pack("<f", number))}
    with pytest.raises(Unprocessable, match=r"^output y has NaN or Infinity, which JSON cannot carry: "):
        v2.encode_infer(ARTIFACT, InferRequest([]), outputs)
    body, header_length = v2.encode_infer(ARTIFACT, InferRequest([], is_binary=True), outputs)
    assert body[header_length:] == outputs["y"].data


def test_nan_is_not_ranked_and_infinity_is_the_best() -> None:
    scores = Tensor("y", "FP32", (1, 3), struct.pack("<3f", 1, float("nan"), 2))
    with pytest.raises(Unprocessable, match=r"^output y has NaN, which cannot be ranked: "):
        classify(scores, 1, ())
    scores = Tensor("y", "FP32", (1, 3), struct.pack("<3f", 1, float("inf"), float("-inf")))
    assert classify(scores, 3, ()).data == [b"inf:1", b"1.000000:0", b"-inf:2"]
