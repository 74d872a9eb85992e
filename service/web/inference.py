"""Routes: Open Inference Protocol v2, V1, image upload, health and metadata."""

from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, request

from service.call import DEFAULT_TOP, HEADER_LENGTH, IMAGE, V1, V2, Call, answer
from service.errors import BadRequest
from service.protocol.v2 import MODEL_VERSION, PLATFORMS, check_model
from service.runtime.runtime import Runtime
from service.settings import Settings
from service.web import form, jobs
from service.web.body import read_body

routes = Blueprint("inference", __name__)

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]


@routes.post("/infer")
@routes.put("/infer")
def infer_image() -> Response:
    """An encoded picture in, its top labels out."""
    top = _top()
    return _answer(Call(IMAGE, _picture(), top=top))


@routes.post("/v2/models/<name>/infer")
@routes.post(f"/v2/models/<name>/versions/{MODEL_VERSION}/infer")
def infer(name: str) -> Response:
    """Open Inference Protocol: tensors in, tensors out."""
    model(name)
    return _answer(Call(V2, read_body(), header_length=_header_length()))


@routes.post("/v1/models/<name>:predict")
def predict(name: str) -> Response:
    """V1: instances in, predictions out."""
    model(name)
    return _answer(Call(V1, read_body()))


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
@routes.get(f"/v2/models/<name>/versions/{MODEL_VERSION}")
def model_metadata(name: str) -> Response:
    artifact = model(name).artifact

    def described(specs: Any) -> list[dict[str, Any]]:
        return [{"name": each.name, "datatype": each.datatype, "shape": [-1, *each.shape]} for each in specs]

    return jsonify(
        name=artifact.name,
        versions=[MODEL_VERSION],
        platform=PLATFORMS[artifact.engine],
        inputs=described(artifact.inputs),
        outputs=described(artifact.outputs),
    )


@routes.get("/v2/models/<name>/ready")
@routes.get(f"/v2/models/<name>/versions/{MODEL_VERSION}/ready")
@routes.get("/v1/models/<name>")
def model_ready(name: str) -> Response:
    model(name).wait_until_ready(timeout_s=0)
    return jsonify(name=name, ready=True)


@routes.get("/v1/models")
def models() -> Response:
    return jsonify(models=[_runtime().artifact.name])


def _answer(call: Call) -> Response:
    """At once, or, when the request prefers that, by a job."""
    return jobs.later(call, request.content_type or "application/octet-stream") or jobs.respond(
        answer(call, _runtime(), _settings(), g.timing)
    )


def _runtime() -> Runtime:
    return current_app.extensions["runtime"]  # type: ignore[no-any-return]


def _settings() -> Settings:
    return current_app.extensions["settings"]  # type: ignore[no-any-return]


def model(name: str) -> Runtime:
    """The one that is served.

    Raises:
        NotFound: it has another name.
    """
    runtime = _runtime()
    check_model(name, "", runtime.artifact)
    return runtime


def _header_length() -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise BadRequest(f"{HEADER_LENGTH} is {text!r}: wanted a number of bytes")
    return int(text[:18])


def _picture() -> bytes:
    body = read_body()
    if request.mimetype == "multipart/form-data":
        files = form.files(body, request.mimetype_params.get("boundary", ""))
        if len(files) != 1:
            raise BadRequest(f"the form has {len(files)} files, wanted one picture")
        (body,) = files
    if not body:
        raise BadRequest("the body is empty, wanted a picture")
    return body


def _top() -> int:
    text = request.args.get("top", str(DEFAULT_TOP))
    if not text.isascii() or not text.isdigit() or len(text) > 6 or int(text) < 1:
        raise BadRequest(f"top={text!r}: wanted a whole number from 1 to 999999")
    return int(text)
