"""Pure: the Open Inference Protocol v2, JSON and binary, to and from tensors.

https://github.com/kserve/open-inference-protocol (REST), and Triton's extensions "binary tensor data" and
"classification" (triton-inference-server/server, docs/protocol/).
"""

import base64
import binascii
import heapq
import json
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from model.artifact import ITEM_BYTES, Artifact
from service.errors import BadRequest, Unprocessable
from service.protocol.tensor import (
    FLOATS,
    MAX_DIMENSIONS,
    Tensor,
    encode_values,
    flatten,
    is_finite,
    kind_of,
    values,
)

MAX_TENSORS = 64
MAX_REQUEST_ID_CHARS = 256


@dataclass(frozen=True)
class OutputRequest:
    """One output as the client wants it; with `classes` above 0, its top classes instead of the tensor."""

    name: str
    is_binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """`outputs` is empty when the client named none: all are wanted then."""

    inputs: list[Tensor]
    outputs: list[OutputRequest] = field(default_factory=list)
    id: str = ""
    is_binary: bool = False


def decode_json(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadRequest: not JSON, not an object, nested too deeply, or with NaN or Infinity, which JSON does not have.
    """
    if not body:
        raise BadRequest("the body is empty")
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply") from None
    except ValueError as fault:
        raise BadRequest(f"the body is not JSON: {fault}") from None
    if not isinstance(value, dict):
        raise BadRequest(f"the JSON is {kind_of(value)}, wanted an object")
    return value


def decode_infer(body: bytes, header_length: int | None) -> InferRequest:
    """An infer request; `header_length` is that of the JSON in front of binary tensors, None when there are none.

    Raises:
        BadRequest: cannot be decoded.
        Unprocessable: decoded, but its tensors are not what they say.
    """
    view = memoryview(body)
    if header_length is not None and not 0 < header_length <= len(body):
        raise BadRequest(f"Inference-Header-Content-Length is {header_length}, the body has {len(body)} bytes")
    raw = decode_json(body if header_length is None else body[:header_length])
    rest = view[len(body) if header_length is None else header_length :]
    inputs: list[Tensor] = []
    for each in _objects(raw, "inputs"):
        tensor, rest = _decode_tensor(each, rest)
        inputs.append(tensor)
    if rest:
        raise BadRequest(f"{len(rest)} bytes follow the last binary tensor")
    outputs = [
        OutputRequest(
            name=_member(each, "name", str),
            is_binary=_parameter(each, "binary_data", bool, False),
            classes=_parameter(each, "classification", int, 0),
        )
        for each in _objects(raw, "outputs", optional=True)
    ]
    if any(each.classes < 0 for each in outputs):
        raise BadRequest("parameters.classification: wanted a number of at least 0")
    request_id = raw.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > MAX_REQUEST_ID_CHARS:
        raise BadRequest(f"id: wanted a string of at most {MAX_REQUEST_ID_CHARS} characters")
    return InferRequest(inputs, outputs, request_id, _parameter(raw, "binary_data_output", bool, False))


def decode_base64(text: Any, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise BadRequest(f"{where}: not base64") from None


def encode_infer(artifact: Artifact, request: InferRequest, outputs: dict[str, Tensor]) -> tuple[bytes, int | None]:
    """The response's body, and the length of its JSON when binary tensors follow."""
    wanted = request.outputs or [OutputRequest(name, request.is_binary) for name in outputs]
    described, blobs = [], []
    for each in wanted:
        tensor = outputs[each.name]
        if each.classes:
            tensor = classify(tensor, each.classes, artifact.labels)
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if each.is_binary:
            blob = _length_prefixed(tensor.data) if isinstance(tensor.data, list) else bytes(tensor.data)
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            entry["data"] = to_json(tensor)
        described.append(entry)
    answer: dict[str, Any] = {"model_name": artifact.name, "model_version": "1", "outputs": described}
    if request.id:
        answer["id"] = request.id
    header = json.dumps(answer, separators=(",", ":")).encode()
    return b"".join((header, *blobs)), len(header) if blobs else None


def classify(scores: Tensor, count: int, labels: Sequence[str]) -> Tensor:
    """The classification extension: for each item its `count` best classes, as BYTES `score:index:label`."""
    rows = [
        f"{score:f}:{index}:{label}".encode() if label else f"{score:f}:{index}".encode()
        for item in split(scores)
        for index, label, score in top(item, count, labels)
    ]
    return Tensor(scores.name, "BYTES", (scores.shape[0], len(rows) // scores.shape[0]), rows)


def top(scores: Sequence[float], count: int, labels: Sequence[str]) -> list[tuple[int, str, float]]:
    """The best (index, label, score), best first; the label is "" where the model has none."""
    order = heapq.nlargest(count, range(len(scores)), key=scores.__getitem__)
    return [(index, labels[index] if index < len(labels) else "", scores[index]) for index in order]


def split(tensor: Tensor) -> list[Sequence[float]]:
    """The numbers of each item of a batch."""
    numbers = values(tensor.datatype, tensor.data)  # type: ignore[arg-type]
    size = len(numbers) // tensor.shape[0]
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def to_json(tensor: Tensor) -> list[Any]:
    """The elements as JSON wants them, flat. Floats have the digits of their own precision.

    Raises:
        Unprocessable: BYTES that are not UTF-8, which only the binary extension can carry.
    """
    if isinstance(tensor.data, list):
        try:
            return [each.decode() for each in tensor.data]
        except UnicodeDecodeError:
            raise Unprocessable(f"output {tensor.name}: not UTF-8, ask for it with binary_data") from None
    numbers = values(tensor.datatype, tensor.data)
    if tensor.datatype in FLOATS and not is_finite(numbers):
        raise Unprocessable(
            f"output {tensor.name} has NaN or Infinity, which JSON has not: ask for it with binary_data"
        )
    if tensor.datatype == "FP32":
        return [float(f"{each:.9g}") for each in numbers]
    return list(numbers)


def _decode_tensor(raw: dict[str, Any], rest: memoryview) -> tuple[Tensor, memoryview]:
    name, datatype = _member(raw, "name", str), _member(raw, "datatype", str)
    shape = _member(raw, "shape", list)
    where = f"input {name!r}"
    if datatype not in ITEM_BYTES and datatype != "BYTES":
        raise Unprocessable(f"{where}: no datatype {datatype!r}")
    if len(shape) > MAX_DIMENSIONS or not all(type(each) is int and each >= 0 for each in shape):
        raise BadRequest(f"{where}: shape {shape} is not a list of at most {MAX_DIMENSIONS} sizes")
    count = math.prod(shape)
    size = _parameter(raw, "binary_data_size", int, None)
    if size is None:
        if datatype == "BYTES":
            return Tensor(name, datatype, tuple(shape), _json_bytes(raw.get("data"), count, where)), rest
        data = encode_values(raw.get("data"), datatype, tuple(shape), where)
        return Tensor(name, datatype, tuple(shape), data), rest
    if not 0 <= size <= len(rest):
        raise BadRequest(f"{where}: binary_data_size is {size}, {len(rest)} bytes are left")
    blob, rest = rest[:size], rest[size:]
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), _binary_bytes(blob, count, where)), rest
    if size != count * ITEM_BYTES[datatype]:
        raise Unprocessable(f"{where}: {size} bytes, {datatype} {shape} has {count * ITEM_BYTES[datatype]}")
    return Tensor(name, datatype, tuple(shape), blob), rest


def _json_bytes(data: Any, count: int, where: str) -> list[bytes]:
    """BYTES in JSON are strings; a picture is base64, as JSON has no bytes."""
    if not isinstance(data, list):
        raise Unprocessable(f"{where}: wanted a list, got {kind_of(data)}")
    flat = flatten(data, where)
    if len(flat) != count:
        raise Unprocessable(f"{where}: {len(flat)} elements, its shape has {count}")
    return [decode_base64(each, f"{where}[{index}]") for index, each in enumerate(flat)]


def _binary_bytes(blob: memoryview, count: int, where: str) -> list[bytes]:
    """Each element is 4 bytes of little-endian length and that many bytes."""
    elements, start = [], 0
    while start + 4 <= len(blob):
        (length,) = struct.unpack_from("<I", blob, start)
        elements.append(bytes(blob[start + 4 : start + 4 + length]))
        start += 4 + length
    if start != len(blob) or len(elements) != count:
        raise Unprocessable(f"{where}: its bytes are not {count} elements, each behind its length")
    return elements


def _length_prefixed(elements: Iterable[bytes]) -> bytes:
    return b"".join(chain.from_iterable((struct.pack("<I", len(each)), each) for each in elements))


def _objects(raw: dict[str, Any], key: str, *, optional: bool = False) -> list[dict[str, Any]]:
    entries = raw.get(key, [] if optional else None)
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise BadRequest(f"{key}: wanted a list of objects")
    if len(entries) > MAX_TENSORS:
        raise BadRequest(f"{key}: more than {MAX_TENSORS} tensors")
    return entries


def _member(raw: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(value := raw.get(key), kind):
        raise BadRequest(f"{key}: wanted a {kind.__name__}, got {kind_of(value)}")
    return value


def _parameter(raw: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    parameters = raw.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest(f"parameters: wanted an object, got {kind_of(parameters)}")
    value = parameters.get(key, default)
    if value is not default and type(value) is not kind:
        raise BadRequest(f"parameters.{key}: wanted a {kind.__name__}, got {kind_of(value)}")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
