"""Routes: a CloudEvent in, the reply event out; and what a broker could not deliver."""

import base64
import contextlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, current_app, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from service import events
from service.call import Call
from service.errors import BadRequest, Cancelled, ContentTooLarge, DeadlineExceeded, RequestError, Unprocessable
from service.jobs.job import NewJob
from service.jobs.service import Jobs
from service.runtime.runtime import Runtime
from service.web.body import discard_body, read_body, read_headers

if TYPE_CHECKING:
    from service.events.codec import Event
    from service.settings import Settings

logger = logging.getLogger("kindling")

routes = Blueprint("events", __name__)

SCHEMA = Path(events.__path__[0]) / "event.schema.json"
# Attributes that Eventing adds to an event that it gives up; the last is the answer's body in base64, at most 1024 bytes.
TOLD = ("knativeerrordest", "knativeerrorcode", "knativeerrordata")
MAX_REASON_CHARS = 1024


@routes.post("/", provide_automatic_options=False)
@routes.post("/events", provide_automatic_options=False)
def receive() -> Response:
    """A CloudEvent, or a batch of them; the answer has the same mode. Also takes the platforms' own forms."""
    headers, body = read_headers(), read_body()
    if (inside := events.envelopes.read(headers, body)) is not None:
        for each in _answered(inside):
            _log_reply(each)
        return Response(status=204)
    mode, asked = events.codec.decode(headers, body)
    if mode != events.codec.BATCHED and (inside := events.envelopes.of_event(asked[0])) is not None:
        replies = _answered(inside)
        for each in replies[1:]:
            _log_reply(each)
        return _response(mode, replies[:1])
    if len(asked) > (limit := _settings().max_request_items):
        raise Unprocessable(f"a batch of {len(asked)} events: wanted at most {limit}")
    return _response(mode, [reply for each in asked if (reply := _reply(each, is_batch=mode == events.codec.BATCHED))])


def _response(mode: str, replies: "Sequence[Event]") -> Response:
    if not replies:
        # Taken, without a reply: a body that is no event would be an error to a broker, which tries again.
        return Response(status=204)
    message = events.codec.encode(mode, replies)
    return Response(message.body, headers=message.headers)


@routes.route("/", methods=["OPTIONS"])
@routes.route("/events", methods=["OPTIONS"])
def allow_delivery() -> Response:
    """The handshake by which a sender asks whether its events are welcome; otherwise the usual answer to OPTIONS.

    https://github.com/cloudevents/spec (v1.0.2: http-webhook.md, 4). Its callback is never called: the answer is
    known at once, and the handshake is there to prevent requests to addresses that a stranger names.
    """
    response = current_app.make_default_options_response()
    if not (origin := request.headers.get("WebHook-Request-Origin")):
        return response
    allowed = _settings().webhook_origins
    if "*" in allowed or origin.lower() in allowed:
        # Any rate is welcome: events that the queue does not take get 429 and Retry-After.
        granted = "*" if "*" in allowed else origin
        response.headers.update({"WebHook-Allowed-Origin": granted, "WebHook-Allowed-Rate": "*"})
    else:
        current_app.logger.warning("webhook handshake of %.100r refused: it is not in WEBHOOK_ORIGINS", origin)
    return response


@routes.get("/events/schema")
def schema() -> Response:
    """The types and attributes of the events, as JSON Schema."""
    return Response(SCHEMA.read_bytes(), content_type="application/schema+json")


@routes.post("/dead-letters")
def bury() -> Response:
    """An event that a broker gave up: its job has failed, and can be sent again if its body could be read."""
    headers = read_headers()
    unread: RequestError | None = None
    try:
        body = read_body()
    except RequestEntityTooLarge:
        body, unread = b"", ContentTooLarge(f"the body is more than {_settings().max_body_bytes} bytes")
    except RequestError as fault:
        body, unread = b"", fault
    discard_body()
    letters = _given_up(headers, body, unread)
    for each in letters:
        if not each.fault:
            _bury(each, unread)
    if faults := [each.fault for each in letters if each.fault]:
        raise _unburied(BadRequest(faults[0]))
    return Response(status=204)


def _reply(event: "Event", *, is_batch: bool) -> "Event | None":
    """The reply to the event, if there is one. In a batch, a fault of one event is reported in its reply's place."""
    artifact = _runtime().artifact
    if event.fault:
        return events.codec.failure_of(event, BadRequest.status, event.fault, artifact.name, artifact.digest)
    if is_batch and event.type in events.codec.REPLIES:
        # A reply about it would come back too, and so on for ever.
        return None
    if is_batch and g.timing.total_ms > _settings().request_timeout_ms:
        raise DeadlineExceeded("the batch was not answered in time")
    try:
        result = _jobs().once(event, lambda: _call(event), g.timing, _made_by(event))
    except RequestError as fault:
        if not is_batch:
            raise
        return events.codec.failure_of(event, fault.status, str(fault), artifact.name, artifact.digest)
    except Cancelled:
        return None
    return events.codec.reply_to(event, result, artifact.name, artifact.digest)


def _answered(inside: Sequence[Any]) -> "list[Event]":
    """The replies to what a platform has delivered.

    The platform would deliver it again for days, whatever is wrong with it. So an event that can never be computed is
    logged and acknowledged.
    """
    given, ignored = events.objects.told_apart(inside)
    for each in ignored:
        logger.info("nothing to compute: %s", each.why)
    if len(given) > (limit := _settings().max_request_items):
        logger.error("not computed: %d events in one delivery, of at most %d", len(given), limit)
        return []
    batch = json.dumps(given).encode()
    _, asked = events.codec.decode({"Content-Type": events.codec.BATCH_TYPE}, batch) if given else ("", [])
    replies = [reply for each in asked if (reply := _reply(each, is_batch=True))]
    for failed in (each for each in replies if each.type == events.codec.FAILED):
        _log_reply(failed)
    return [each for each in replies if each.type == events.codec.COMPLETED]


def _log_reply(reply: "Event") -> None:
    """Log a reply that nobody receives; a result that is stored is not logged."""
    asked = f"event {reply.get(events.codec.REQUEST_ID)} of {reply.get(events.codec.REQUEST_SOURCE)}"
    if reply.type == events.codec.FAILED:
        told = json.loads(reply.data)
        logger.error("%s: %d %s", asked, told["status"], told["error"])
    elif not _jobs().are_kept:
        logger.info("%s: 200 %s", asked, reply.data.decode(errors="replace"))


def _call(event: "Event") -> Call:
    """What the event asks for, with the data that its claim check stands for."""
    settings, model = _settings(), _runtime().artifact.name
    # Before anything is fetched: refuse events for another model or of an unknown protocol.
    call = events.codec.call_of(event, model)
    if (url := event.get(events.codec.DATAREF)) is None or event.data:
        return call
    body = events.dataref.fetch(
        url, settings.dataref_allow, settings.max_body_bytes, private=settings.dataref_allow_private
    )
    return events.codec.call_of(replace(event, data=body), model)


def _given_up(headers: Mapping[str, str], body: bytes, unread: RequestError | None) -> "list[Event]":
    """The events of a dead letter; in binary mode the headers are enough, whatever became of the body.

    Raises:
        RequestError: nothing says which event was given up.
    """
    try:
        return events.codec.decode(headers, body)[1]
    except BadRequest as fault:
        raise _unburied(unread or fault) from None


def _unburied(fault: RequestError) -> RequestError:
    """The fault, after a line in the log: nobody else hears of this event again."""
    logger.error("an event was given up and has no job, because it cannot be read: %s", fault)
    return fault


def _bury(event: "Event", unread: RequestError | None) -> None:
    """Store the event as a failed job, without the event itself if its body could not be read."""
    jobs, (code, said) = _jobs(), _why(event, unread)
    if unread or not jobs.are_kept:
        logger.error("an event was given up: %s of %s (%d %r)", event.id, event.source, code, said)
    if not jobs.are_kept:
        return
    made_by = _made_by(event)
    attributes = {name: value for name, value in event.attributes.items() if name not in (*TOLD, events.codec.MADE_BY)}
    if made_by is not None:
        attributes[events.codec.MADE_BY] = made_by
    encoded = None if unread else events.codec.to_json(replace(event, attributes=attributes))
    job, is_new = jobs.store.create(NewJob(event.source, event.id, event=encoded, made_by=made_by))
    if encoded and not is_new:
        jobs.store.keep_event(job.id, encoded)
    jobs.store.fail(job.id, code, said)


def _why(event: "Event", unread: RequestError | None) -> tuple[int, str]:
    """Status and message of the last try, as Eventing attaches them; otherwise why the event could not be read."""
    _, code, said = (event.get(name) or "" for name in TOLD)
    if unread and not code:
        return unread.status, str(unread)
    with contextlib.suppress(ValueError):
        said = base64.b64decode(said, validate=True).decode()
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        said = str(json.loads(said[:MAX_REASON_CHARS])["error"])
    said = said[:MAX_REASON_CHARS].encode(errors="replace").decode()
    return int(code) if re.fullmatch("[1-5][0-9]{2}", code) else 500, said or "the broker gave it up"


def _made_by(event: "Event") -> str | None:
    """Whose job the event is: the caller's; only a caller that needs no key may say that it is another's."""
    return g.get("caller") or events.codec.made_by(event)


def _runtime() -> Runtime:
    return current_app.extensions["runtime"]  # type: ignore[no-any-return]


def _jobs() -> Jobs:
    return current_app.extensions["jobs"]  # type: ignore[no-any-return]


def _settings() -> "Settings":
    return current_app.extensions["settings"]  # type: ignore[no-any-return]
