"""Routes: Triton's extensions of the protocol. What they tell is imported when the first of them is asked."""

from typing import NoReturn

from flask import Blueprint, Response, current_app, jsonify

from service import runtime
from service.errors import Forbidden
from service.protocol.fields import Fields, decode_json
from service.protocol.v2 import MODEL_VERSION
from service.web.body import read_body
from service.web.inference import model

routes = Blueprint("triton", __name__)


@routes.get("/v2/models/<name>/config")
@routes.get(f"/v2/models/<name>/versions/{MODEL_VERSION}/config")
def model_configuration(name: str) -> Response:
    return jsonify(runtime.triton.configuration(model(name), current_app.extensions["settings"]))


@routes.get("/v2/models/<name>/stats")
@routes.get(f"/v2/models/<name>/versions/{MODEL_VERSION}/stats")
def model_statistics(name: str) -> Response:
    return jsonify(runtime.triton.statistics(model(name), current_app.extensions["requests"]))


@routes.get("/v2/models/stats")
def statistics() -> Response:
    """Of all models, which are one."""
    return jsonify(runtime.triton.statistics(current_app.extensions["runtime"], current_app.extensions["requests"]))


@routes.post("/v2/repository/index")
def repository_index() -> Response:
    return jsonify(runtime.triton.index(current_app.extensions["runtime"], only_ready=_only_ready(read_body())))


@routes.post("/v2/repository/models/<name>/load")
@routes.post("/v2/repository/models/<name>/unload")
def control(name: str) -> NoReturn:
    """The one model comes with the process, and goes with it."""
    model(name)
    raise Forbidden("this service has one model (MODEL_DIR), which can be neither loaded nor unloaded by a request")


def _only_ready(body: bytes) -> bool:
    """What the index's body asks for; tritonclient sends none.

    Raises:
        BadRequest: it is not `{"ready": true}` or `{"ready": false}`.
    """
    return bool(Fields(decode_json(body, '{"ready": true}')).get("ready", bool)) if body.strip() else False
