"""create_app: the only place where objects are joined; the one error handler."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from model.artifact import Artifact
from service import __version__
from service.errors import KindlingError, QueueFull
from service.runtime import Runtime
from service.settings import Settings
from service.telemetry import ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask, Response

logger = logging.getLogger("kindling")

# With its JSON around it, an error stays under 768 bytes: a dead letter sink keeps 1024 of them in base64.
MAX_ERROR_CHARS = 500
APP_LOAD_ERROR = 4  # gunicorn.arbiter.Arbiter.APP_LOAD_ERROR: the arbiter stops instead of starting another worker


def create_app(settings: Settings, on_failure: Callable[[], None] = lambda: None) -> Flask:
    """The WSGI application, its model loading in the background.

    Raises:
        ArtifactError: there is no artifact to serve.
    """
    runtime = Runtime(Artifact.read(settings.model_dir), settings, on_failure)
    # Flask's import takes as long as the engine's: they go on at the same time.
    from flask import Flask

    from service import inference

    app = Flask("service", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=settings.max_body_bytes, VERSION=__version__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions.update(runtime=runtime, settings=settings)
    app.register_blueprint(inference.routes)
    app.register_error_handler(Exception, _answer_error)
    ledger.mark("app")
    return app


def application() -> Flask:
    """The application for gunicorn, which stops when the model cannot be served."""
    return create_app(Settings.from_env(), on_failure=lambda: os._exit(APP_LOAD_ERROR))


def _answer_error(error: Exception) -> Response:
    """Every error as `{"error": "..."}`; an unknown one tells the client nothing and the log everything."""
    from flask import jsonify
    from werkzeug.exceptions import HTTPException

    headers = {}
    if isinstance(error, KindlingError):
        status, message = error.status, str(error)
        if isinstance(error, QueueFull):
            headers["Retry-After"] = str(error.retry_after_s)
        if status == 500:
            logger.error("the model failed", exc_info=error)
            message = "the model failed on this input"
    elif isinstance(error, HTTPException):
        status, message = error.code or 500, error.description or error.name
        headers = {key: value for key, value in error.get_headers() if key == "Allow"}
    else:
        logger.error("unexpected error", exc_info=error)
        status, message = 500, "internal error"
    response = jsonify(error=message[:MAX_ERROR_CHARS])
    response.status_code = status
    response.headers.update(headers)
    return response
