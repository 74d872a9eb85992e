"""gRPC's real clients: tritonclient, and grpcio for what tritonclient cannot ask."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as messages

from tests.support import eager
from tests.support.models import SIDE
from tests.support.serving import Server

INFERENCE, HEALTH = "/inference.GRPCInferenceService", "/grpc.health.v1.Health"
INFER = f"{INFERENCE}/ModelInfer"


@contextmanager
def speaking_grpc(server: Server) -> Iterator[Any]:
    """tritonclient's client."""
    with triton.InferenceServerClient(server.address) as client:
        yield client


@contextmanager
def channel(server: Server) -> Iterator[Any]:
    """One connection of grpcio; it never tries again by itself."""
    with grpc.insecure_channel(server.address, options=[("grpc.enable_retries", 0)]) as opened:
        yield opened


def refusal(opened: Any, path: str, message: bytes = b"", **options: Any) -> Any:
    """The error of a call: code(), details() and metadata."""
    try:
        opened.unary_unary(path)(message, **options)
    except grpc.RpcError as fault:
        return fault
    raise AssertionError("the call was not refused")


def framed(message: bytes, flag: int = 0) -> bytes:
    """A message behind its length, as it is in a body."""
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def pixels(count: int, seed: int = 0) -> Any:
    return numpy.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=numpy.uint8)


def probabilities(given: Any) -> Any:
    return numpy.array(eager.probabilities([each.tobytes() for each in given]))


def tensor(given: Any) -> Any:
    """A raw input of pixels."""
    made = triton.InferInput("image", list(given.shape), "UINT8")
    made.set_data_from_numpy(given)
    return made


def pictures(encoded: Sequence[bytes]) -> Any:
    """A raw input of encoded pictures."""
    made = triton.InferInput("image", [len(encoded)], "BYTES")
    made.set_data_from_numpy(numpy.array(encoded, dtype=object))
    return made


def request(given: Any, model: str = "tiny", **fields: Any) -> bytes:
    """A ModelInferRequest with raw pixels."""
    described = messages.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=given.shape)
    asked = messages.ModelInferRequest(
        model_name=model, inputs=[described], raw_input_contents=[given.tobytes()], **fields
    )
    return bytes(asked.SerializeToString())
