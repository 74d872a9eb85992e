"""Pure: the Open Inference Protocol v2, JSON and binary, to and from tensors.

https://github.com/kserve/open-inference-protocol (REST), and Triton's extension "binary tensor data":
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import math
import reprlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from model.artifact import ITEM_BYTES, Artifact
from service.errors import BadRequest, NotFound, Unprocessable
from service.protocol.base64_text import decode_base64
from service.protocol.classes import classify
from service.protocol.fields import Fields, decode_json
from service.protocol.lists import elements, encode_values, to_json
from service.protocol.tensor import MAX_DIMENSIONS, MAX_SIZE, Tensor

MODEL_VERSION = "1"
"""Of every model."""
PLATFORMS = {"aoti": "pytorch_aotinductor", "onnx": "onnxruntime_onnx"}
"""By engine."""
MAX_REQUEST_ID_CHARS = 256
FORM = '{"inputs": [...]}'


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


def check_model(name: str, version: str, artifact: Artifact) -> None:
    """Raise NotFound if these are not the model and a version of it; no version is the only one."""
    if name != artifact.name:
        raise NotFound(f"no model {name!r}, this service has {artifact.name!r}")
    if version not in ("", MODEL_VERSION):
        raise NotFound(f"no version {version!r} of {name!r}, it has {MODEL_VERSION!r}")


def decode_infer(body: bytes, header_length: int | None) -> InferRequest:
    """An infer request; `header_length` is the length of the JSON before binary tensors, None if there are none.

    Raises:
        BadRequest: it cannot be decoded.
        Unprocessable: decoded, but its tensors do not match their shape or datatype.
    """
    if header_length is not None and not 0 < header_length <= len(body):
        raise BadRequest(f"Inference-Header-Content-Length is {header_length}, the body has {len(body)} bytes")
    json_length = len(body) if header_length is None else header_length
    request = Fields(decode_json(body[:json_length], FORM))
    rest = memoryview(body)[json_length:]
    inputs: list[Tensor] = []
    for each in request.objects("inputs", _inputs(request)):
        tensor, rest = _decode_tensor(each, rest)
        inputs.append(tensor)
    if rest:
        raise BadRequest(f"{len(rest)} bytes follow the last binary tensor")
    is_binary = request.parameters.get("binary_data_output", bool, False)
    outputs = request.objects("outputs", request.get("outputs", list, []))
    request_id = request.get("id", str, "")
    if len(request_id) > MAX_REQUEST_ID_CHARS:
        raise BadRequest(f"id: wanted a string of at most {MAX_REQUEST_ID_CHARS} characters")
    return InferRequest(inputs, [_decode_output(each, is_binary) for each in outputs], request_id, is_binary)


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
            blob = length_prefixed(tensor.data) if isinstance(tensor.data, list) else bytes(tensor.data)
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            entry["data"] = to_json(tensor)
        described.append(entry)
    answer: dict[str, Any] = {"model_name": artifact.name, "model_version": MODEL_VERSION, "outputs": described}
    if request.id:
        answer["id"] = request.id
    header = json.dumps(answer, separators=(",", ":")).encode()
    return b"".join((header, *blobs)), len(header) if blobs else None


def _inputs(request: Fields) -> list[Any]:
    if request.raw.get("inputs") is None and "instances" in request.raw:
        raise BadRequest(f"wanted {FORM}, the body has instances: those of V1 go to POST /v1/models/NAME:predict")
    return request.require("inputs", list)  # type: ignore[no-any-return]


def _decode_output(output: Fields, is_binary: bool) -> OutputRequest:
    """One output; `is_binary` is the request's default for its outputs, which the output itself may override."""
    _refuse_shared_memory(output)
    classes = output.parameters.get("classification", int, 0)
    if classes < 0:
        raise BadRequest(f"{output.where}parameters.classification: wanted a number of at least 0")
    return OutputRequest(output.require("name", str), output.parameters.get("binary_data", bool, is_binary), classes)


def _refuse_shared_memory(tensor: Fields) -> None:
    """Refuse it: if it were ignored, the client would take the old content of its memory for the answer."""
    if tensor.parameters.raw.get("shared_memory_region") is not None:
        raise BadRequest(f"{tensor.where}parameters.shared_memory_region: this service has no shared memory")


def _decode_tensor(tensor: Fields, rest: memoryview) -> tuple[Tensor, memoryview]:
    """One input, and the bytes that follow its own."""
    _refuse_shared_memory(tensor)
    name, datatype = tensor.require("name", str), tensor.require("datatype", str)
    where = f"input {name!r}"
    if datatype not in ITEM_BYTES and datatype != "BYTES":
        raise Unprocessable(f"{where}: no datatype {datatype!r}")
    shape = shape_of(tensor.require("shape", list), where)
    size = tensor.parameters.get("binary_data_size", int)
    if size is None:
        return Tensor(name, datatype, shape, _from_json(tensor.raw.get("data"), datatype, shape, where)), rest
    if not 0 <= size <= len(rest):
        raise BadRequest(f"{where}: binary_data_size is {size}, {len(rest)} bytes are left")
    return Tensor(name, datatype, shape, from_binary(rest[:size], datatype, shape, where)), rest[size:]


def shape_of(sizes: list[Any], where: str) -> tuple[int, ...]:
    """A tensor's shape.

    Raises:
        BadRequest: it has too many dimensions, or one is no size.
    """
    if len(sizes) > MAX_DIMENSIONS or not all(type(each) is int and 0 <= each <= MAX_SIZE for each in sizes):
        raise BadRequest(f"{where}: shape {reprlib.repr(sizes)} is not a list of at most {MAX_DIMENSIONS} sizes")
    return tuple(sizes)


def _from_json(data: Any, datatype: str, shape: tuple[int, ...], where: str) -> bytes | list[bytes]:
    """BYTES in JSON are strings; a picture is base64, as JSON has no bytes."""
    if data is None:
        raise Unprocessable(f"{where}: it has neither data nor parameters.binary_data_size")
    if datatype != "BYTES":
        return encode_values(data, datatype, shape, where)
    return [decode_base64(each, f"{where}[{index}]") for index, each in enumerate(elements(data, shape, where))]


def from_binary(blob: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> memoryview | list[bytes]:
    """The data of a tensor of raw elements.

    Raises:
        Unprocessable: they are not as many as the shape says.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _binary_bytes(blob, count, where)
    if len(blob) != count * ITEM_BYTES[datatype]:
        raise Unprocessable(f"{where}: {len(blob)} bytes, {datatype} {list(shape)} has {count * ITEM_BYTES[datatype]}")
    return blob


def _binary_bytes(blob: memoryview, count: int, where: str) -> list[bytes]:
    """Each element is 4 bytes of little-endian length and that many bytes."""
    found, start = [], 0
    while start + 4 <= len(blob):
        (length,) = struct.unpack_from("<I", blob, start)
        found.append(bytes(blob[start + 4 : start + 4 + length]))
        start += 4 + length
    if start != len(blob) or len(found) != count:
        raise Unprocessable(f"{where}: its bytes are not {count} elements, each behind its length")
    return found


def length_prefixed(elements: Iterable[bytes]) -> bytes:
    """The elements of BYTES in one piece, each behind its length."""
    return b"".join(chain.from_iterable((struct.pack("<I", len(each)), each) for each in elements))
