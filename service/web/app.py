"""create_app: the only place where objects are connected; the one error handler."""

import json
import logging
from collections.abc import Callable

from flask import Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.middleware.proxy_fix import ProxyFix

from model.artifact import Artifact
from service import __version__
from service.errors import EngineError, KindlingError, QueueFull
from service.jobs.service import Jobs
from service.runtime.runtime import Runtime
from service.settings import Settings
from service.telemetry import ledger
from service.web import events, inference, metrics, robots, triton
from service.web import jobs as job_routes
from service.web.body import discard_body, too_large

logger = logging.getLogger("kindling")

# Bytes of the message as JSON. With its object around it, an error stays under 768 bytes, which are 1024 in base64: the
# most that a dead letter sink keeps.
MAX_ERROR_BYTES = 750
PROBLEM = "application/problem+json"
# What problem details have around the message, with the longest of all titles ("Request Header Fields Too Large").
MAX_PROBLEM_FRAME_BYTES = 110


def create_app(
    settings: Settings, on_failure: Callable[[], None] = lambda: None, runtime: Runtime | None = None
) -> Flask:
    """The WSGI application; its model loads in the background, or is `runtime`, which has begun to load before.

    Raises:
        ArtifactError: there is no artifact to serve.
    """
    runtime = runtime or Runtime(Artifact.read(settings.model_dir), settings, on_failure)
    app = Flask("service", static_folder=None)
    # `/infer/` is the same as `/infer`. A redirect would not do: few clients follow one with a body.
    app.url_map.strict_slashes = False
    if settings.trust_forwarded_prefix:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=0, x_prefix=1)  # type: ignore[method-assign]
    app.config.update(MAX_CONTENT_LENGTH=settings.max_body_bytes, VERSION=__version__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    jobs = Jobs(runtime, settings)
    app.extensions.update(runtime=runtime, settings=settings, jobs=jobs)
    metrics.observe(app)
    app.register_blueprint(inference.routes)
    app.register_blueprint(events.routes)
    app.register_blueprint(job_routes.routes)
    app.register_blueprint(metrics.routes)
    app.register_blueprint(triton.routes)
    app.register_blueprint(robots.routes)
    app.register_error_handler(Exception, _answer_error)
    jobs.resume()
    ledger.mark("app")
    return app


def _answer_error(error: Exception) -> Response:
    """Every error as `{"error": "..."}`; an unknown one tells the client nothing and the log everything."""
    discard_body()
    headers = {}
    if isinstance(error, KindlingError):
        status, message = error.status, str(error)
        if isinstance(error, QueueFull):
            headers["Retry-After"] = str(error.retry_after_s)
        if isinstance(error, EngineError):
            logger.error("the model failed (request %s)", metrics.request_id(), exc_info=error)
            message = "the model failed on this input"
    elif isinstance(error, HTTPException):
        status, message = error.code or 500, error.description or error.name
        if isinstance(error, RequestEntityTooLarge):
            message = str(too_large(current_app.config["MAX_CONTENT_LENGTH"]))
        headers = {key: value for key, value in error.get_headers() if key == "Allow"}
    else:
        logger.error("unexpected error (request %s)", metrics.request_id(), exc_info=error)
        status, message = 500, "internal error"
    response = _problem(status, message) if _wants_problem() else jsonify(error=cut(message))
    response.status_code = status
    response.headers.update(headers)
    return response


def _wants_problem() -> bool:
    """Whether the client's Accept names problem details (RFC 9457), beside whatever else."""
    accepted = request.headers.get("Accept", "")
    return PROBLEM in accepted and any(kind == PROBLEM and quality > 0 for kind, quality in request.accept_mimetypes)


def _problem(status: int, message: str) -> Response:
    """The error as problem details; `error` is there too, for who reads it everywhere."""
    title = HTTP_STATUS_CODES.get(status, "Error")
    message = cut(message, (MAX_ERROR_BYTES - MAX_PROBLEM_FRAME_BYTES) // 2)
    response = jsonify(type="about:blank", title=title, status=status, detail=message, error=message)
    response.content_type = PROBLEM
    return response


def cut(message: str, limit: int = MAX_ERROR_BYTES) -> str:
    """As much of the text's beginning as fits the limit once JSON has escaped it."""
    message = message[:limit]
    while len(json.dumps(message)) > limit:
        message = message[: len(message) * 9 // 10]
    return message
