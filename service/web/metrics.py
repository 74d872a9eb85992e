"""What is noted of every request (its id, Server-Timing, counters, log lines), and `GET /metrics`."""

import logging
import os

from flask import Blueprint, Flask, Response, current_app, g, request

from service import web
from service.telemetry import Requests, Timing, ledger

logger = logging.getLogger("kindling")

routes = Blueprint("metrics", __name__)

REQUEST_ID = "X-Request-Id"
MAX_REQUEST_ID_CHARS = 128


def observe(app: Flask) -> None:
    """Count and time every request of `app`."""
    app.extensions["requests"] = Requests()
    app.before_request(_begin)
    app.after_request(_finish)


@routes.get("/metrics")
def metrics() -> Response:
    """Every counter, as text for Prometheus or OpenMetrics."""
    requests, runtime = current_app.extensions["requests"], current_app.extensions["runtime"]
    text, content_type = web.exposition.expose(requests, runtime, request.headers.get("Accept", ""))
    return Response(text, content_type=content_type)


def server_timing(timing: Timing) -> str:
    """A Server-Timing header: the request's phases; before them the phases of the start, if the request waited for it."""
    phases = dict(timing.phases_ms)
    if timing.is_cold:
        spans = {f"cold-{phase}": ms for phase, ms in ledger.spans_ms().items() if phase not in ("request", "answer")}
        came_ms = ledger.now_ms() - timing.total_ms
        # A request may have come before readiness, and may even be answered a moment before readiness is noted. On a busy
        # machine the application is there after the model.
        marks_ms = ledger.marks_ms
        begun_ms = max(marks_ms["ready"], marks_ms.get("app", 0.0)) if "ready" in marks_ms else came_ms
        phases = {**spans, "cold-request": max(0.0, came_ms - begun_ms), **phases}
    phases["total"] = timing.total_ms
    return ", ".join(f"{phase};dur={ms:.1f}" for phase, ms in phases.items())


def request_id() -> str:
    """The id of the request that is being answered: the sender's, if it is usable, otherwise a new one."""
    if "request_id" not in g:
        given = request.headers.get(REQUEST_ID, "")
        g.request_id = given if _is_usable(given) else new_request_id()
    return str(g.request_id)


def new_request_id() -> str:
    """As a UUID has it, 128 random bits; but its module would have to be imported."""
    return os.urandom(16).hex()


def _is_usable(given: str) -> bool:
    """Whether it can stand in a header and in a line of the log as it is."""
    return (
        0 < len(given) <= MAX_REQUEST_ID_CHARS
        and given.isascii()
        and given.isprintable()
        and not set(given) & set(" \"'")
    )


def _begin() -> None:
    g.timing = current_app.extensions["requests"].begin()


def _finish(response: Response) -> Response:
    timing: Timing = g.timing
    route = g.get("route") or (request.url_rule.rule if request.url_rule else "none")
    current_app.extensions["requests"].finish(timing, route, g.get("status", response.status_code))
    if "run" in timing.phases_ms:
        response.headers["Server-Timing"] = server_timing(timing)
        if ledger.mark_answer(timing.total_ms):
            logger.info("first answer; %s", ledger)
    response.headers[REQUEST_ID] = request_id()
    if (form := current_app.extensions["settings"].access_log) != "off":
        web.access.note(form, timing, response, request_id())
    return response
