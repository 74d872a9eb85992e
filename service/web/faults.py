"""What the client is told about an error; the one error handler."""

import json
import logging
from collections.abc import Mapping

from flask import Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.http import HTTP_STATUS_CODES

from service.errors import EngineError, KindlingError
from service.web.body import discard_body, too_large
from service.web.metrics import request_id

logger = logging.getLogger("kindling")

# Bytes of the message as JSON. With its object around it, an error stays under 768 bytes, which are 1024 in base64: the
# most that a dead letter sink keeps.
MAX_ERROR_BYTES = 750
PROBLEM = "application/problem+json"
# What problem details have around the message, with the longest of all titles ("Request Header Fields Too Large").
MAX_PROBLEM_FRAME_BYTES = 110


def answer_error(error: Exception) -> Response:
    """Every error as `{"error": "..."}`, or as problem details."""
    status, message, headers = describe(error)
    response = _problem(status, message) if _wants_problem() else jsonify(error=message)
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
            logger.error("the model failed (request %s)", request_id(), exc_info=error)
            message = "the model failed on this input"
    elif isinstance(error, HTTPException):
        status, message = error.code or 500, error.description or error.name
        if isinstance(error, RequestEntityTooLarge):
            message = str(too_large(current_app.config["MAX_CONTENT_LENGTH"]))
        headers = {key: value for key, value in error.get_headers() if key == "Allow"}
    else:
        logger.error("unexpected error (request %s)", request_id(), exc_info=error)
        status, message = 500, "internal error"
    return status, cut(message), headers


def cut(message: str, limit: int = MAX_ERROR_BYTES) -> str:
    """As much of the text's beginning as fits the limit once JSON has escaped it."""
    message = message[:limit]
    while len(json.dumps(message)) > limit:
        message = message[: len(message) * 9 // 10]
    return message


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
