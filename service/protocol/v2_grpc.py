"""Pure: the Open Inference Protocol in gRPC's messages, to and from what v2.py has; imported with the first call.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from model.artifact import ITEM_BYTES, Artifact
from service.errors import BadRequest, Unprocessable
from service.protocol.classes import classify
from service.protocol.fields import MAX_OBJECTS
from service.protocol.tensor import Tensor, pack, values
from service.protocol.v2 import (
    MAX_REQUEST_ID_CHARS,
    MODEL_VERSION,
    InferRequest,
    OutputRequest,
    check_model,
    from_binary,
    length_prefixed,
    shape_of,
)

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Datatype -> its field of InferTensorContents; FP16 and BF16 have none."""


def _read_pool() -> DescriptorPool:
    """Our own: a program that also imports a client of the protocol has the same names in the default one."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(Path(__file__).with_name("open_inference.binpb").read_bytes()).file:
        pool.Add(file)
    return pool


_POOL = _read_pool()


def message(name: str, /, **fields: Any) -> Message:
    """A message of open_inference.proto."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))(**fields)


def decode(name: str, body: bytes) -> Any:
    """The message of that name.

    Raises:
        BadRequest: the bytes are none.
    """
    decoded = message(name)
    try:
        decoded.MergeFromString(body)
    except DecodeError:
        raise BadRequest(f"the message is not a {name}") from None
    return decoded


def decode_infer(body: bytes, artifact: Artifact) -> InferRequest:
    """The ModelInferRequest. Its answer is raw where the request is, and typed where the request is typed.

    Raises:
        BadRequest: it cannot be decoded.
        NotFound: it is for another model.
        Unprocessable: decoded, but its tensors do not match their shape or datatype.
    """
    asked = decode("ModelInferRequest", body)
    check_model(asked.model_name, asked.model_version, artifact)
    if len(asked.id) > MAX_REQUEST_ID_CHARS:
        raise BadRequest(f"id: wanted a string of at most {MAX_REQUEST_ID_CHARS} characters")
    if max(len(asked.inputs), len(asked.outputs)) > MAX_OBJECTS:
        raise BadRequest(f"more than {MAX_OBJECTS} tensors")
    raw: Sequence[bytes] = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise BadRequest(f"raw_input_contents has {len(raw)} tensors, inputs has {len(asked.inputs)}")
    inputs = [_input(each, raw[index] if raw else None) for index, each in enumerate(asked.inputs)]
    outputs = [_output(each, bool(raw)) for each in asked.outputs]
    return InferRequest(inputs, outputs, asked.id, bool(raw))


def encode_infer(artifact: Artifact, request: InferRequest, outputs: dict[str, Tensor]) -> bytes:
    """The ModelInferResponse."""
    answer: Any = message("ModelInferResponse", model_name=artifact.name, model_version=MODEL_VERSION, id=request.id)
    for each in request.outputs or [OutputRequest(name) for name in outputs]:
        tensor = outputs[each.name]
        if each.classes:
            tensor = classify(tensor, each.classes, artifact.labels)
        described = answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if request.is_binary:
            blob = length_prefixed(tensor.data) if isinstance(tensor.data, list) else bytes(tensor.data)
            answer.raw_output_contents.append(blob)
        else:
            _elements(described.contents, tensor).extend(
                tensor.data if isinstance(tensor.data, list) else values(tensor.datatype, tensor.data)
            )
    return answer.SerializeToString()  # type: ignore[no-any-return]


def _input(tensor: Any, raw: bytes | None) -> Tensor:
    where = f"input {tensor.name!r}"
    _refuse_shared_memory(tensor.parameters, where)
    if tensor.datatype not in ITEM_BYTES and tensor.datatype != "BYTES":
        raise Unprocessable(f"{where}: no datatype {tensor.datatype!r}")
    shape = shape_of([*tensor.shape], where)
    if raw is None:
        return Tensor(tensor.name, tensor.datatype, shape, _typed(tensor, shape, where))
    if tensor.HasField("contents"):
        raise BadRequest(f"{where} has contents, and the request has raw_input_contents")
    return Tensor(tensor.name, tensor.datatype, shape, from_binary(memoryview(raw), tensor.datatype, shape, where))


def _typed(tensor: Any, shape: tuple[int, ...], where: str) -> bytes | list[bytes]:
    """Typed elements as raw ones."""
    elements = [*_elements(tensor.contents, tensor)]
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if filled not in ([], [CONTENTS[tensor.datatype]]):
        raise Unprocessable(
            f"{where}: {tensor.datatype} goes into {CONTENTS[tensor.datatype]}, not into {' and '.join(filled)}"
        )
    if len(elements) != math.prod(shape):
        raise Unprocessable(f"{where}: {len(elements)} elements, shape {list(shape)} has {math.prod(shape)}")
    if tensor.datatype == "BYTES":
        return elements
    try:
        return pack(elements, tensor.datatype)
    except OverflowError:
        raise Unprocessable(f"{where}: an element is not a {tensor.datatype}") from None


def _elements(contents: Any, tensor: Any) -> Any:
    """The field of `contents` for the tensor's datatype."""
    if tensor.datatype not in CONTENTS:
        raise Unprocessable(f"tensor {tensor.name!r}: {tensor.datatype} has no typed contents: send raw_input_contents")
    return getattr(contents, CONTENTS[tensor.datatype])


def _output(output: Any, is_binary: bool) -> OutputRequest:
    where = f"output {output.name!r}"
    _refuse_shared_memory(output.parameters, where)
    classes = 0
    if "classification" in output.parameters:
        given = output.parameters["classification"]
        if given.WhichOneof("parameter_choice") != "int64_param" or given.int64_param < 0:
            raise BadRequest(f"{where}: the parameter classification: wanted an int64_param of at least 0")
        classes = given.int64_param
    return OutputRequest(output.name, is_binary, classes)


def _refuse_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    """Refuse it: if it were ignored, the client would take the old content of its memory for the answer."""
    if "shared_memory_region" in parameters:
        raise BadRequest(f"{where}: shared_memory_region: this service has no shared memory")
