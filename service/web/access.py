"""The access log: one line for each request, as text or JSON; imported with the first request, if ACCESS_LOG asks for it."""

import io
import json
import logging
from datetime import UTC, datetime

from flask import Response, g, request

from service.telemetry import Timing

MAX_PATH_CHARS, MAX_AGENT_CHARS = 2048, 256


def _logger() -> logging.Logger:
    """Its lines are whole: nothing before them, and no level that leaves them out."""
    logger = logging.getLogger("kindling.access")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    return logger


_log = _logger()


def note(form: str, timing: Timing, response: Response, request_id: str) -> None:
    """Write the line of the request that is being answered; `form` is text or json.

    The query and the bodies may hold secrets, so they are not in it. What the client chose is written as JSON strings, so
    no line can be forged.
    """
    found = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "method": request.method,
        "path": request.path[:MAX_PATH_CHARS],
        "status": g.get("status", response.status_code),
        "bytes_in": _bytes_in(),
        "bytes_out": 0 if request.method == "HEAD" else response.calculate_content_length(),
        "ms": round(timing.total_ms, 1),
        "phases_ms": {phase: round(ms, 1) for phase, ms in timing.phases_ms.items()},
        "request_id": request_id,
        "user_agent": request.headers.get("User-Agent", "")[:MAX_AGENT_CHARS],
    }
    _log.info(_as_json(found) if form == "json" else _as_text(found))


def _bytes_in() -> int:
    """Of the body, as it came."""
    body = request.environ["wsgi.input"]
    return body.getbuffer().nbytes if isinstance(body, io.BytesIO) else request.content_length or 0


def _as_json(found: object) -> str:
    # DEL is the one control character that JSON need not escape.
    return json.dumps(found, separators=(",", ":")).replace("\x7f", "\\u007f")


def _as_text(found: dict[str, object]) -> str:
    """`TIME METHOD "PATH" STATUS name=value ...`; a stream has no bytes_out."""
    phases = found.pop("phases_ms")
    assert isinstance(phases, dict)
    first = [found.pop("time"), found.pop("method"), _as_json(found.pop("path")), found.pop("status")]
    agent = _as_json(found.pop("user_agent"))
    named = {**found, **phases, "user_agent": agent}
    return " ".join([*map(str, first), *(f"{name}={'-' if value is None else value}" for name, value in named.items())])
