"""An inference request as it came, by HTTP, an event or a job, and its result: decode -> run -> encode."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from service import protocol
from service.protocol import v1, v2
from service.protocol.classes import split, top
from service.protocol.items import items_of, outputs_of
from service.protocol.lists import check_finite
from service.runtime.runtime import Runtime
from service.settings import Settings
from service.telemetry import Timing

HEADER_LENGTH = "Inference-Header-Content-Length"
DEFAULT_TOP = 5

IMAGE, V2, V1, GRPC = "image", "v2", "v1", "grpc"


@dataclass(frozen=True)
class Call:
    """`protocol` is IMAGE, V2, V1 or GRPC; `header_length` is that of V2's JSON before binary tensors; `top` is for IMAGE."""

    protocol: str
    body: bytes
    header_length: int | None = None
    top: int = DEFAULT_TOP


@dataclass(frozen=True)
class Result:
    """A body to answer with; `headers` besides its type; when it was computed, as Unix time in seconds."""

    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    computed_s: float = field(default_factory=time.time, compare=False, repr=False)


def answer(call: Call, runtime: Runtime, settings: Settings, timing: Timing) -> Result:
    """The result of `call`, within the request timeout.

    Raises:
        KindlingError: why there is none.
    """
    with timing.inference():
        return {IMAGE: _image, V2: _v2, V1: _v1, GRPC: _grpc}[call.protocol](call, runtime, settings, timing)


def _image(call: Call, runtime: Runtime, _: Settings, timing: Timing) -> Result:
    """An encoded picture in, its top labels out."""
    with timing.phase("decode"):
        item = runtime.decode_image(call.body)
    (result,) = runtime.infer([(item,)], timing)
    artifact = runtime.artifact
    with timing.phase("encode"):
        output = next(iter(outputs_of([result], artifact).values()))
        check_finite(output)
        (scores,) = split(output)
        labels = [
            {"label": label or str(index), "index": index, "probability": round(score, 6)}
            for index, label, score in top(scores, call.top, artifact.labels, output.name)
        ]
        return _json({"model": artifact.name, "labels": labels})


def _v2(call: Call, runtime: Runtime, settings: Settings, timing: Timing) -> Result:
    """Open Inference Protocol: tensors in, tensors out."""
    with timing.phase("decode"):
        asked = v2.decode_infer(call.body, call.header_length)
        items = items_of(asked, runtime.artifact, runtime.decode_image, settings.max_request_items)
    results = runtime.infer(items, timing)
    with timing.phase("encode"):
        outputs = outputs_of(results, runtime.artifact)
        body, header_length = v2.encode_infer(runtime.artifact, asked, outputs)
    if header_length is None:
        return Result(body)
    return Result(body, "application/octet-stream", {HEADER_LENGTH: str(header_length)})


def _grpc(call: Call, runtime: Runtime, settings: Settings, timing: Timing) -> Result:
    """Open Inference Protocol: a ModelInferRequest in, a ModelInferResponse out."""
    with timing.phase("decode"):
        asked = protocol.v2_grpc.decode_infer(call.body, runtime.artifact)
        items = items_of(asked, runtime.artifact, runtime.decode_image, settings.max_request_items)
    results = runtime.infer(items, timing)
    with timing.phase("encode"):
        outputs = outputs_of(results, runtime.artifact)
        return Result(protocol.v2_grpc.encode_infer(runtime.artifact, asked, outputs), "application/grpc")


def _v1(call: Call, runtime: Runtime, settings: Settings, timing: Timing) -> Result:
    """V1: instances in, predictions out."""
    with timing.phase("decode"):
        items = v1.decode(call.body, runtime.artifact, runtime.decode_image, settings.max_request_items)
    results = runtime.infer(items, timing)
    with timing.phase("encode"):
        return _json({"predictions": v1.encode(outputs_of(results, runtime.artifact))})


def _json(value: Any) -> Result:
    return Result(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
