"""Routes: jobs, and what turns an inference request into one (Prefer, Idempotency-Key)."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, current_app, g, jsonify, request

from service.call import Call, Result
from service.errors import BadRequest, Conflict, NotFound
from service.jobs.job import STATUSES, Asked, Job, failure
from service.jobs.service import Jobs

if TYPE_CHECKING:
    from service.settings import Settings

routes = Blueprint("jobs", __name__)

MAX_KEY_CHARS = 255
PAGE, MAX_PAGE = 50, 500
# How long a browser's EventSource waits before it comes back, when a stream ended before its job.
RETRY_MS = 2000


@dataclass(frozen=True)
class Preferences:
    """What the request prefers (RFC 7240); `wait_s` is None if it does not mention waiting."""

    respond_async: bool = False
    wait_s: float | None = None


def later(call: Call, content_type: str) -> Response | None:
    """The answer to a request that asks for a job or has a key; None if it does neither, or if there is no database.

    If nobody delivers jobs, the request is answered at once: a preference need not be honoured (RFC 7240, section 2).
    """
    jobs, prefers, key = _jobs(), preferences(), _key()
    if not jobs.are_kept:
        return None
    if not jobs.are_delivered or (not prefers.respond_async and prefers.wait_s is None):
        return None if key is None else respond(jobs.compute(call, _asked(key), g.timing))
    job = jobs.submit(call, content_type, _asked(key))
    applied = ["respond-async"] if prefers.respond_async else []
    if prefers.wait_s is not None:
        job, waited_s = _waited(job.id, prefers.wait_s)
        applied.append(f"wait={waited_s:.0f}")
    response = _finished(job) if job.is_final else _described(job)
    response.headers["Preference-Applied"] = ", ".join(applied)
    response.headers["Location"] = f"{request.script_root}/jobs/{job.id}"
    if not job.is_final:
        response.status_code = 202
    return response


def respond(result: Result) -> Response:
    """The response that carries this result."""
    return Response(result.body, content_type=result.content_type, headers=result.headers)


@routes.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    """The job as JSON, with `Prefer: wait=N` once it is final; as a stream of events if the client accepts that."""
    jobs = _kept()
    if request.accept_mimetypes.best_match(("application/json", "text/event-stream")) == "text/event-stream":
        return _stream(jobs, job_id)
    return _after_waiting(job_id, _described)


@routes.get("/jobs/<job_id>/result")
def job_result(job_id: str) -> Response:
    """The result, as an immediate answer would have had it; 409 while there is none."""
    _kept()
    return _after_waiting(job_id, _finished)


@routes.get("/jobs")
def list_jobs() -> Response:
    """The newest first, a page at a time."""
    status, limit = request.args.get("status"), request.args.get("limit", str(PAGE))
    if status is not None and status not in STATUSES:
        raise BadRequest(f"status={status!r}: wanted one of {', '.join(STATUSES)}")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= MAX_PAGE:
        raise BadRequest(f"limit={limit!r}: wanted a whole number from 1 to {MAX_PAGE}")
    found = _kept().store.page(status, int(limit) + 1, _cursor(), _caller())
    page, more = found[: int(limit)], len(found) > int(limit)
    cursor = f"{page[-1].created_s!r}-{page[-1].id}" if more else None
    return jsonify(jobs=[_view(each, request.script_root) for each in page], next=cursor)


@routes.delete("/jobs/<job_id>")
def cancel(job_id: str) -> Response:
    """Cancel a queued job; delete one that is final."""
    jobs = _kept()
    jobs.get(job_id, _caller())
    if jobs.store.cancel(job_id):
        return _described(jobs.get(job_id, _caller()))
    if not jobs.store.delete(job_id):
        raise Conflict("the job is running: it cannot be cancelled any more")
    return Response(status=204)


@routes.post("/jobs/<job_id>/retry")
def retry(job_id: str) -> Response:
    """Deliver a failed job again."""
    response = _described(_kept().send_again(job_id, _caller()))
    response.status_code = 202
    return response


def preferences() -> Preferences:
    """The preferences in all Prefer headers, which are lists. Eventing's senders add `reply`."""
    found: dict[str, str] = {}
    for each in ",".join(request.headers.getlist("Prefer")).split(","):
        name, _, value = each.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = found.get("wait")
    if wait is not None and not re.fullmatch(r"\d{1,9}", wait, re.ASCII):
        raise BadRequest(f"Prefer: wait={wait!r}: wanted a whole number of seconds")
    return Preferences("respond-async" in found, None if wait is None else float(wait))


def _key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= MAX_KEY_CHARS:
        raise BadRequest(f"Idempotency-Key has {len(key)} characters: wanted 1 to {MAX_KEY_CHARS}")
    return key


def _asked(key: str | None) -> Asked:
    return Asked(_caller(), key, {name.lower(): value for name, value in request.headers})


def _cursor() -> tuple[float, str] | None:
    text = request.args.get("after")
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,12}\.\d{1,12}-[0-9a-f]{32}", text, re.ASCII):
        raise BadRequest(f"after={text[:64]!r}: wanted what a page gave as next")
    created, _, job_id = text.partition("-")
    return float(created), job_id


def _after_waiting(job_id: str, respond_with: Callable[[Job], Response]) -> Response:
    """The response with the job, after the wait that the request prefers."""
    wait_s = preferences().wait_s
    if wait_s is None:
        return respond_with(_jobs().get(job_id, _caller()))
    found, waited_s = _waited(job_id, wait_s)
    response = respond_with(found)
    response.headers["Preference-Applied"] = f"wait={waited_s:.0f}"
    return response


def _waited(job_id: str, wait_s: float) -> tuple[Job, float]:
    """The job, once it is final or after this time; and the time granted, 0 if too many requests wait already."""
    given_s = min(wait_s, _longest_s())
    found, may_wait = _jobs().wait(job_id, given_s, _caller())
    return found, given_s if may_wait else 0.0


def _longest_s() -> float:
    """No longer than any request may take."""
    settings: Settings = current_app.extensions["settings"]
    return settings.request_timeout_ms / 1e3


def _finished(found: Job) -> Response:
    if not found.is_final:
        raise Conflict(f"the job is {found.status}: ask again")
    if found.result is not None:
        return respond(found.result)
    if found.status == "cancelled":
        raise Conflict("the job was cancelled")
    raise failure(found)


def _described(found: Job) -> Response:
    response = jsonify(_view(found, request.script_root))
    if not found.is_final:
        response.headers["Retry-After"] = "1"
    return response


def _view(found: Job, root: str) -> dict[str, Any]:
    """A job as JSON; with its result if that is JSON, otherwise with the address of the result.

    `root` is the path that a trusted proxy has taken off.
    """
    event = {"source": found.source, "id": found.event_id}
    view: dict[str, Any] = {"id": found.id, "status": found.status, "attempts": found.attempts, "event": event}
    for name, seconds in (("created", found.created_s), ("updated", found.updated_s), ("expires", found.expires_s)):
        view[name] = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if found.made_by is not None:
        view["made_by"] = found.made_by
    if found.error is not None:
        view["error"] = {"code": found.error_code, "message": found.error}
    if found.status == "succeeded":
        view["result_url"] = f"{root}/jobs/{found.id}/result"
    if found.result is not None and found.result.content_type == "application/json":
        view["result"] = json.loads(found.result.body)
    return view


def _stream(jobs: Jobs, job_id: str) -> Response:
    """The job as server-sent events; 204, which stops an EventSource, for a client that has seen the final status."""
    found, seen = jobs.get(job_id, _caller()), request.headers.get("Last-Event-ID")
    if found.is_final and seen == _event_id(found):
        return Response(status=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    followed = _events(jobs.follow(job_id, _longest_s(), _caller()), seen, request.script_root)
    return Response(followed, content_type="text/event-stream", headers=headers)


def _events(found: Iterator[Job | None], seen: str | None, root: str) -> Iterator[str]:
    """Each change as an event named after the status; a comment if there is no news; `reconnect` if the job goes on."""
    yield f"retry: {RETRY_MS}\n\n"
    is_final = False
    for each in found:
        if each is None or _event_id(each) == seen:
            yield ": no news\n\n"
        else:
            is_final = each.is_final
            yield f"event: {each.status}\nid: {_event_id(each)}\ndata: {json.dumps(_view(each, root))}\n\n"
    if not is_final:
        # Without an id, so that the client comes back with the id of the last status that it got.
        yield f'event: reconnect\ndata: {{"retry_ms": {RETRY_MS}}}\n\n'


def _event_id(found: Job) -> str:
    return repr(found.updated_s)


def _kept() -> Jobs:
    jobs = _jobs()
    if not jobs.are_kept:
        raise NotFound("no jobs are kept here: set DATABASE_URL")
    return jobs


def _caller() -> str | None:
    """The name of the caller's key: its jobs are all that it sees. None where no keys are needed."""
    return g.get("caller")  # type: ignore[no-any-return]


def _jobs() -> Jobs:
    return current_app.extensions["jobs"]  # type: ignore[no-any-return]
