"""Routes: Open Inference Protocol v2, V1, image upload, health and metadata."""

import zlib
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, request

from service import protocol, protocol_v1
from service.errors import BadRequest, ContentTooLarge, NotFound
from service.items import items_of, outputs_of
from service.runtime import Runtime
from service.settings import Settings
from service.telemetry import Timing
from service.tensor import check_finite

routes = Blueprint("inference", __name__)

VERSION = "1"
HEADER_LENGTH = "Inference-Header-Content-Length"
EXTENSIONS = ["binary_tensor_data", "classification"]
DEFAULT_TOP = 5


@routes.post("/infer")
@routes.put("/infer")
def infer_image() -> Response:
    """An encoded picture in, its top labels out."""
    runtime, count, timing = _runtime(), _top(), _timing()
    with timing.phase("decode"):
        item = runtime.decode_image(_picture())
    (result,) = runtime.infer([(item,)], timing)
    artifact = runtime.artifact
    with timing.phase("encode"):
        output = next(iter(outputs_of([result], artifact).values()))
        check_finite(output.datatype, output.data, f"output {output.name}")  # type: ignore[arg-type]
        (scores,) = protocol.split(output)
        labels = [
            {"label": label or str(index), "index": index, "probability": round(score, 6)}
            for index, label, score in protocol.top(scores, count, artifact.labels)
        ]
        return jsonify(model=artifact.name, labels=labels)


@routes.post("/v2/models/<name>/infer")
@routes.post(f"/v2/models/<name>/versions/{VERSION}/infer")
def infer(name: str) -> Response:
    """Open Inference Protocol: tensors in, tensors out."""
    runtime, settings, timing = _model(name), _settings(), _timing()
    with timing.phase("decode"):
        asked = protocol.decode_infer(_body(), _header_length())
        items = items_of(asked, runtime.artifact, runtime.decode_image, settings.max_request_items)
    results = runtime.infer(items, timing)
    with timing.phase("encode"):
        outputs = outputs_of(results, runtime.artifact)
        body, header_length = protocol.encode_infer(runtime.artifact, asked, outputs)
    if header_length is None:
        return Response(body, mimetype="application/json")
    return Response(body, mimetype="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})


@routes.post("/v1/models/<name>:predict")
def predict(name: str) -> Response:
    """V1: instances in, predictions out."""
    runtime, settings, timing = _model(name), _settings(), _timing()
    with timing.phase("decode"):
        items = protocol_v1.decode(_body(), runtime.artifact, runtime.decode_image, settings.max_request_items)
    results = runtime.infer(items, timing)
    with timing.phase("encode"):
        return jsonify(predictions=protocol_v1.encode(outputs_of(results, runtime.artifact)))


@routes.get("/v2")
def server_metadata() -> Response:
    return jsonify(name="kindling", version=current_app.config["VERSION"], extensions=EXTENSIONS)


@routes.get("/v2/health/live")
def live() -> Response:
    return jsonify(live=True)


@routes.get("/v2/health/ready")
def ready() -> Response:
    _runtime().wait_until_ready(timeout_s=0)
    return jsonify(ready=True)


@routes.get("/v2/models/<name>")
@routes.get(f"/v2/models/<name>/versions/{VERSION}")
def model_metadata(name: str) -> Response:
    artifact = _model(name).artifact

    def described(specs: Any) -> list[dict[str, Any]]:
        return [{"name": each.name, "datatype": each.datatype, "shape": [-1, *each.shape]} for each in specs]

    return jsonify(
        name=artifact.name,
        versions=[VERSION],
        platform={"aoti": "pytorch_aotinductor", "onnx": "onnxruntime_onnx"}[artifact.engine],
        inputs=described(artifact.inputs),
        outputs=described(artifact.outputs),
    )


@routes.get("/v2/models/<name>/ready")
@routes.get(f"/v2/models/<name>/versions/{VERSION}/ready")
@routes.get("/v1/models/<name>")
def model_ready(name: str) -> Response:
    _model(name).wait_until_ready(timeout_s=0)
    return jsonify(name=name, ready=True)


@routes.get("/v1/models")
def models() -> Response:
    return jsonify(models=[_runtime().artifact.name])


def _runtime() -> Runtime:
    return current_app.extensions["runtime"]  # type: ignore[no-any-return]


def _timing() -> Timing:
    return g.timing  # type: ignore[no-any-return]


def _settings() -> Settings:
    return current_app.extensions["settings"]  # type: ignore[no-any-return]


def _model(name: str) -> Runtime:
    runtime = _runtime()
    if name != runtime.artifact.name:
        raise NotFound(f"no model {name!r}, this service has {runtime.artifact.name!r}")
    return runtime


def _body() -> bytes:
    """The raw body whatever its Content-Type says: curl's default for --data-binary is that of a form."""
    body, limit = request.get_data(cache=False), _settings().max_body_bytes
    # Of a chunked body Flask reads as much as it may and says nothing of the rest.
    if len(body) == limit and request.environ["wsgi.input"].read(1):
        raise ContentTooLarge(f"the body is more than {limit} bytes")
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise BadRequest(f"Content-Encoding {encoding!r}: wanted gzip, deflate or none")
    inflater = zlib.decompressobj(wbits=47)  # 32 + 15: zlib's or gzip's header
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as fault:
        raise BadRequest(f"the body is not {encoding}: {fault}") from None
    if len(inflated) > limit:
        raise ContentTooLarge(f"the body is more than {limit} bytes when inflated")
    if not inflater.eof:
        raise BadRequest(f"the body is not {encoding}: it ends too early")
    return inflated


def _header_length() -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise BadRequest(f"{HEADER_LENGTH} is {text!r}: wanted a number of bytes")
    return int(text[:18])


def _picture() -> bytes:
    if request.mimetype == "multipart/form-data":
        files = [file for _, file in request.files.items(multi=True)]
        if len(files) != 1:
            raise BadRequest(f"the form has {len(files)} files, wanted one picture")
        body: bytes = files[0].read()
    else:
        body = _body()
    if not body:
        raise BadRequest("the body is empty, wanted a JPEG, PNG or WebP")
    return body


def _top() -> int:
    text = request.args.get("top", str(DEFAULT_TOP))
    if not text.isascii() or not text.isdigit() or len(text) > 6 or int(text) < 1:
        raise BadRequest(f"top={text!r}: wanted a whole number from 1 to 999999")
    return int(text)
