"""Routes: gRPC, on the connections that speak HTTP/2; the messages are imported with the first call.

A call is a POST to /PACKAGE.SERVICE/METHOD with one message in and one out, each behind 5 bytes; its status comes after
the answer (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

import re
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, current_app, g, request

from service import protocol, runtime
from service.call import GRPC, Call, answer
from service.errors import BadRequest, NoGrpc, NotFound, Unimplemented
from service.protocol.v2 import check_model
from service.web import inference, triton
from service.web.body import inflated, read_body
from service.web.faults import answer_error, describe

routes = Blueprint("grpc", __name__)

INFERENCE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"
TYPES = ("application/grpc", "application/grpc+proto")
TRAILERS = "gunicorn.http2.send_trailers"
OK, UNKNOWN, UNIMPLEMENTED = 0, 2, 12
STATUSES = {
    400: 3,  # INVALID_ARGUMENT
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 5,  # NOT_FOUND
    408: 1,  # CANCELLED
    409: 10,  # ABORTED
    413: 8,  # RESOURCE_EXHAUSTED
    422: 3,  # INVALID_ARGUMENT
    429: 8,  # RESOURCE_EXHAUSTED
    500: 13,  # INTERNAL
    501: UNIMPLEMENTED,
    503: 14,  # UNAVAILABLE
    504: 4,  # DEADLINE_EXCEEDED
}
"""The status of HTTP that an error has -> that of gRPC (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md)."""
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNIT_MS = {"H": 3.6e6, "M": 6e4, "S": 1e3, "m": 1.0, "u": 1e-3, "n": 1e-6}


@routes.post(f"/{INFERENCE}/<method>")
def call(method: str) -> Response:
    """One call of a method."""
    if not _is_grpc():
        raise NoGrpc(f"wanted a gRPC call: HTTP/2 and application/grpc; Content-Type is {request.mimetype!r}")
    run = METHODS.get(request.path)
    if run is None:
        raise Unimplemented(f"no method {method!r} in {request.path.split('/')[1]}")
    # One route has all methods; the metrics tell them apart.
    g.route = request.path
    g.timing.limit_ms = _timeout_ms()
    return _response(run(_message()), OK)


@routes.post(f"/{HEALTH}/<method>")
def health(method: str) -> Response:
    """The same; probes of the kubelet cannot send a key."""
    return call(method)


@routes.errorhandler(Exception)
def _refuse(error: Exception) -> Response:
    """The error as gRPC's status and message, with 200 as HTTP's; what is no gRPC call gets JSON like everybody."""
    if not _is_grpc():
        return answer_error(error)
    status, message, headers = describe(error)
    g.status = status
    response = _response(None, STATUSES.get(status, UNKNOWN), message)
    response.headers.update(headers)
    return response


def _is_grpc() -> bool:
    return TRAILERS in request.environ and request.mimetype in TYPES


def _response(message: bytes | None, status: int, reason: str = "") -> Response:
    trailers = [("grpc-status", str(status))]
    if reason:
        trailers.append(("grpc-message", quote(reason, safe=" !\"#$&'()*+,/:;<=>?@[\\]^_`{|}~")))
    request.environ[TRAILERS](trailers)
    body = b"" if message is None else struct.pack(">BI", 0, len(message)) + message
    return Response(body, content_type=TYPES[0], headers={"grpc-accept-encoding": "identity, gzip, deflate"})


def _message() -> bytes:
    """The message of the request."""
    body = read_body()
    if len(body) < 5 or len(body) != 5 + int.from_bytes(body[1:5], "big") or body[0] > 1:
        raise BadRequest("the body is not one message behind its length")
    message, encoding = body[5:], request.headers.get("grpc-encoding", "identity")
    if not body[0]:
        return message
    if encoding not in ("gzip", "deflate"):
        raise Unimplemented(f"grpc-encoding {encoding!r}: wanted gzip, deflate or identity")
    return inflated(message, encoding, current_app.extensions["settings"])


def _timeout_ms() -> float:
    """How long the client waits."""
    text = request.headers.get("grpc-timeout", "")
    if not text:
        return float("inf")
    if not (found := _TIMEOUT.fullmatch(text)):
        raise BadRequest(f"grpc-timeout is {text!r}: wanted digits and one of {', '.join(_UNIT_MS)}")
    return int(found[1]) * _UNIT_MS[found[2]]


def _model_infer(body: bytes) -> bytes:
    extensions = current_app.extensions
    return answer(Call(GRPC, body), extensions["runtime"], extensions["settings"], g.timing).body


def _health(body: bytes) -> bytes:
    """gRPC's own health check: of the server (""), of the service, or of the model."""
    served = current_app.extensions["runtime"]
    service = protocol.v2_grpc.decode("HealthCheckRequest", body).service
    if service not in ("", INFERENCE, HEALTH, served.artifact.name):
        raise NotFound(f"no service {service!r}")
    return _encoded("HealthCheckResponse", status="SERVING" if served.is_ready else "NOT_SERVING")


def _server_ready(_: bytes) -> bytes:
    return _encoded("ServerReadyResponse", ready=current_app.extensions["runtime"].is_ready)


def _model_ready(body: bytes) -> bytes:
    """Of an unknown model, false: Triton says so, and its client asks that way whether there is such a model."""
    try:
        _asked("ModelReadyRequest", body)
    except NotFound:
        return _encoded("ModelReadyResponse", ready=False)
    return _encoded("ModelReadyResponse", ready=current_app.extensions["runtime"].is_ready)


def _model_metadata(body: bytes) -> bytes:
    return _encoded("ModelMetadataResponse", **_json(inference.model_metadata(_asked("ModelMetadataRequest", body))))


def _model_config(body: bytes) -> bytes:
    return _encoded("ModelConfigResponse", config=_json(triton.model_configuration(_asked("ModelConfigRequest", body))))


def _model_statistics(body: bytes) -> bytes:
    """Of the model, also when none is named: it is all that there are."""
    asked = protocol.v2_grpc.decode("ModelStatisticsRequest", body)
    if asked.name:
        _asked("ModelStatisticsRequest", body)
    return _encoded("ModelStatisticsResponse", **_json(triton.statistics()))


def _repository_index(body: bytes) -> bytes:
    only_ready = protocol.v2_grpc.decode("RepositoryIndexRequest", body).ready
    models = runtime.triton.index(current_app.extensions["runtime"], only_ready=only_ready)
    return _encoded("RepositoryIndexResponse", models=models)


def _asked(kind: str, body: bytes) -> str:
    """The model that a request of this kind is about; raises NotFound if it is not ours."""
    asked = protocol.v2_grpc.decode(kind, body)
    check_model(asked.name, asked.version, current_app.extensions["runtime"].artifact)
    return str(asked.name)


def _json(response: Response) -> dict[str, Any]:
    """What a route of REST answers: the same fields as gRPC's message."""
    return response.get_json()  # type: ignore[no-any-return]


def _encoded(name: str, /, **fields: Any) -> bytes:
    encoded: bytes = protocol.v2_grpc.message(name, **fields).SerializeToString()
    return encoded


METHODS: dict[str, Callable[[bytes], bytes]] = {
    f"/{INFERENCE}/ServerLive": lambda _: _encoded("ServerLiveResponse", live=True),
    f"/{INFERENCE}/ServerReady": _server_ready,
    f"/{INFERENCE}/ModelReady": _model_ready,
    f"/{INFERENCE}/ServerMetadata": lambda _: _encoded("ServerMetadataResponse", **_json(inference.server_metadata())),
    f"/{INFERENCE}/ModelMetadata": _model_metadata,
    f"/{INFERENCE}/ModelInfer": _model_infer,
    f"/{INFERENCE}/ModelConfig": _model_config,
    f"/{INFERENCE}/ModelStatistics": _model_statistics,
    f"/{INFERENCE}/RepositoryIndex": _repository_index,
    f"/{HEALTH}/Check": _health,
}
"""Path -> what makes the message of the answer from that of the request."""
