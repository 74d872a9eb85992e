"""What the client is told about an error; the one error handler."""

import json
import logging
from collections.abc import Mapping

from flask import Response, current_app, jsonify
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from service.errors import EngineError, KindlingError
from service.web.body import discard_body, too_large

logger = logging.getLogger("kindling")

# Bytes of the message as JSON. With its object around it, an error stays under 768 bytes, which are 1024 in base64: the
# most that a dead letter sink keeps.
MAX_ERROR_BYTES = 750


def answer_error(error: Exception) -> Response:
    """Every error as `{"error": "..."}`."""
    status, message, headers = describe(error)
    response = jsonify(error=message)
    response.status_code = status
    response.headers.update(headers)
    return response


def describe(error: Exception) -> tuple[int, str, Mapping[str, str]]:
    """An error's status, its sentence and its headers; an unknown one tells the client nothing and the log everything."""
    discard_body()
    headers: Mapping[str, str] = {}
    if isinstance(error, KindlingError):
        status, message, headers = error.status, str(error), error.headers
        if isinstance(error, EngineError):
            logger.error("the model failed", exc_info=error)
            message = "the model failed on this input"
    elif isinstance(error, HTTPException):
        status, message = error.code or 500, error.description or error.name
        if isinstance(error, RequestEntityTooLarge):
            message = str(too_large(current_app.config["MAX_CONTENT_LENGTH"]))
        headers = {key: value for key, value in error.get_headers() if key == "Allow"}
    else:
        logger.error("unexpected error", exc_info=error)
        status, message = 500, "internal error"
    return status, cut(message), headers


def cut(message: str) -> str:
    """As much of the text's beginning as fits the limit once JSON has escaped it."""
    message = message[:MAX_ERROR_BYTES]
    while len(json.dumps(message)) > MAX_ERROR_BYTES:
        message = message[: len(message) * 9 // 10]
    return message
