"""What gRPC's real clients are told about errors and health."""

import inspect
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy
import pytest
import tritonclient.grpc as triton
from flask import Flask
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import errors
from service.settings import Settings
from service.web import grpc as routes
from service.web.app import create_app
from tests.conftest import Serve
from tests.support.grpc import (
    HEALTH,
    INFER,
    INFERENCE,
    channel,
    framed,
    pictures,
    pixels,
    refusal,
    request,
    speaking_grpc,
    tensor,
)
from tests.support.http2 import speaking_http2
from tests.support.serving import Server

GRPC = {"content-type": "application/grpc", "te": "trailers"}


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (request(pixels(1), "huge"), StatusCode.NOT_FOUND, "no model 'huge', this service has 'tiny'"),
        (request(pixels(1), model_version="3"), StatusCode.NOT_FOUND, "no version '3' of 'tiny', it has '1'"),
        (request(pixels(65)), StatusCode.INVALID_ARGUMENT, "a batch of 65 items: wanted 1 to 64"),
        (request(pixels(1)[:, :8]), StatusCode.INVALID_ARGUMENT, "input 'image': shape [1, 8, 16, 3], wanted [-1, 16, 16, 3]"),
        (b"\xff", StatusCode.INVALID_ARGUMENT, "the message is not a ModelInferRequest"),
        (request(pixels(1), id="ü\n%" * 100), StatusCode.INVALID_ARGUMENT, "id: wanted a string of at most 256 characters"),
        (request(pixels(1), "Ü\n%é"), StatusCode.NOT_FOUND, "no model 'Ü\\n%é', this service has 'tiny'"),
    ],
)  # fmt: skip
def test_errors_have_a_code_and_a_sentence(tiny_server: Server, message: bytes, code: StatusCode, reason: str) -> None:
    with channel(tiny_server) as opened:
        fault = refusal(opened, INFER, message)
    assert (fault.code(), fault.details()) == (code, reason)


def test_the_clients_exception_says_the_same(tiny_server: Server) -> None:
    with speaking_grpc(tiny_server) as client:
        with pytest.raises(
            triton.InferenceServerException, match="not a picture: wanted JPEG, PNG, WebP or AVIF"
        ) as fault:
            client.infer("tiny", [pictures([b"nonsense"])])
        assert fault.value.status() == "StatusCode.INVALID_ARGUMENT"
        with pytest.raises(triton.InferenceServerException, match="no model 'huge'"):
            client.get_model_metadata("huge")


@pytest.mark.parametrize("is_compressed", [True, False])
def test_a_message_that_is_too_large_is_resource_exhausted(
    serve: Serve, tiny_onnx: Path, *, is_compressed: bool
) -> None:
    server = serve(tiny_onnx, MAX_BODY_BYTES="2000")
    given = numpy.zeros((9, 16, 16, 3), numpy.uint8)
    compression = grpc.Compression.Gzip if is_compressed else None
    with channel(server) as opened:
        fault = refusal(opened, INFER, request(given), compression=compression)
        assert fault.code() is StatusCode.RESOURCE_EXHAUSTED
        inflated = " when inflated" if is_compressed else ""
        assert fault.details() == f"the body is more than 2000 bytes{inflated} (MAX_BODY_BYTES)"
        opened.unary_unary(INFER)(request(pixels(1)))


def test_methods_that_are_not_there_are_unimplemented(tiny_server: Server) -> None:
    with channel(tiny_server) as opened:
        for path, reason in (
            (f"{INFERENCE}/Unknown", "no method 'Unknown' in inference.GRPCInferenceService"),
            (f"{HEALTH}/Watch", "no method 'Watch' in grpc.health.v1.Health"),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "Received http2 header with status: 404"),
        ):
            fault = refusal(opened, path)
            assert (fault.code(), fault.details()) == (StatusCode.UNIMPLEMENTED, reason)


def test_a_stream_of_requests_is_refused_while_it_is_open(tiny_server: Server) -> None:
    """Its client sends on until it is told; waiting for the end would be waiting for BODY_TIMEOUT_S."""
    told, came = threading.Event(), threading.Event()

    def requests() -> Any:
        yield request(pixels(1))
        came.wait(60)

    with channel(tiny_server) as opened:
        answers = opened.stream_stream(f"{INFERENCE}/ModelStreamInfer")(requests(), timeout=30)
        answers.add_done_callback(lambda _: told.set())
        assert told.wait(20)
        came.set()
        assert answers.code() is StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        (b"", {}, "the body is not one message behind its length"),
        (b"\0\0\0", {}, "the body is not one message behind its length"),
        (framed(b"") + framed(b""), {}, "the body is not one message behind its length"),
        (b"\0\0\0\0\x09abc", {}, "the body is not one message behind its length"),
        (framed(b"", 2), {}, "the body is not one message behind its length"),
        (framed(b"", 1), {"grpc-encoding": "zstd"}, "grpc-encoding 'zstd': wanted gzip, deflate or identity"),
        (framed(b"abc", 1), {"grpc-encoding": "gzip"}, "the body is not gzip: "),
        (framed(b""), {"grpc-timeout": "5"}, "grpc-timeout is '5': wanted digits and one of H, M, S, m, u, n"),
        (framed(b""), {"grpc-timeout": "-1S"}, "grpc-timeout is '-1S': wanted digits and one of H, M, S, m, u, n"),
    ],
)  # fmt: skip
def test_what_no_client_sends_is_refused(tiny_server: Server, body: bytes, more: dict[str, str], reason: str) -> None:
    with speaking_http2(tiny_server) as spoken:
        got = spoken.answer(spoken.ask("POST", INFER, body, GRPC | more))
    code = StatusCode.UNIMPLEMENTED if "zstd" in reason else StatusCode.INVALID_ARGUMENT
    assert (got.status, got.headers["content-type"], got.body) == (200, "application/grpc", b"")
    assert got.trailers["grpc-status"] == str(code.value[0])
    assert got.trailers["grpc-message"].startswith(reason)


def test_what_is_no_call_gets_json(tiny_server: Server) -> None:
    wanted = "wanted a gRPC call: HTTP/2 and application/grpc; Content-Type is "
    answer = tiny_server.call("POST", INFER, framed(b""), GRPC)
    assert (answer.status, answer.error) == (415, f"{wanted}'application/grpc'")
    with speaking_http2(tiny_server) as spoken:
        got = spoken.answer(spoken.ask("POST", INFER, b"{}", {"content-type": "application/json"}))
    assert (got.status, got.trailers) == (415, {})
    assert wanted in got.body.decode()
    assert tiny_server.call("GET", INFER).status == 405


KINDS = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, errors.KindlingError) and each is not errors.NoGrpc
]
CODES = {
    400: StatusCode.INVALID_ARGUMENT, 401: StatusCode.UNAUTHENTICATED, 403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND, 408: StatusCode.CANCELLED, 409: StatusCode.ABORTED,
    413: StatusCode.RESOURCE_EXHAUSTED, 422: StatusCode.INVALID_ARGUMENT, 429: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL, 501: StatusCode.UNIMPLEMENTED, 503: StatusCode.UNAVAILABLE, 504: StatusCode.DEADLINE_EXCEEDED,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_error_has_a_code(kind: type[errors.KindlingError]) -> None:
    assert routes.STATUSES[kind.status] == CODES[kind.status].value[0]


def _trailers(app: Flask, path: str, body: bytes) -> dict[str, str]:
    """Those of a call without a server."""
    found: list[tuple[str, str]] = []
    environ = {"gunicorn.http2.send_trailers": found.extend}
    answer = app.test_client().post(path, data=framed(body), headers=GRPC, environ_overrides=environ)
    return dict(found) | {"body": answer.data.hex()}


def test_a_model_that_is_not_ready_is_unavailable(tiny_onnx: Path) -> None:
    failed = threading.Event()
    app = create_app(Settings(model_dir=tiny_onnx, onnxruntime_dir=Path("/nowhere")), on_failure=failed.set)
    assert failed.wait(60)
    assert _trailers(app, INFER, request(pixels(1)))["grpc-status"] == str(StatusCode.UNAVAILABLE.value[0])
    not_serving = framed(health_pb2.HealthCheckResponse(status="NOT_SERVING").SerializeToString()).hex()
    assert _trailers(app, f"{HEALTH}/Check", b"") == {"grpc-status": "0", "body": not_serving}
    for method in ("ServerReady", "ModelReady"):
        assert _trailers(app, f"{INFERENCE}/{method}", b"\x0a\x04tiny"[: 6 * (method == "ModelReady")]) == {
            "grpc-status": "0", "body": framed(b"").hex()
        }  # fmt: skip


def test_grpcs_own_health_check(tiny_server: Server) -> None:
    with channel(tiny_server) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        for service in ("", "inference.GRPCInferenceService", "grpc.health.v1.Health", "tiny"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as fault:
            stub.Check(health_pb2.HealthCheckRequest(service="huge"))
        assert fault.value.code() is StatusCode.NOT_FOUND
        watching = stub.Watch(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.RpcError) as fault:
            next(watching)
        assert fault.value.code() is StatusCode.UNIMPLEMENTED


def test_without_it_clients_are_refused(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, GRPC="false")
    with speaking_grpc(server) as client, pytest.raises(triton.InferenceServerException) as fault:
        client.infer("tiny", [tensor(pixels(1))], client_timeout=20)
    assert fault.value.status() == "StatusCode.UNAVAILABLE"
    assert server.call("POST", INFER, framed(b""), GRPC).status == 404
