"""AWS Lambda: importing this loads the model, in Lambda's init phase; `handler` recognises events by their form.

API Gateway, function URL, ALB   apig-wsgi       -> the routes -> the response
SQS                              each message    -> /events    -> the messages that failed
EventBridge, S3, SNS, Invoke     one CloudEvent  -> /events    -> the reply event, for a destination
Pipes                            a batch of them -> /events    -> the reply events, for the pipe's target

service/events/envelopes.py knows the forms of messages and events.
"""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any

from apig_wsgi import make_lambda_handler
from awslambdaric.lambda_runtime_marshaller import to_json
from werkzeug.wrappers import Response

from service import cloud, events
from service.cloud import snapshot
from service.cloud.startup import start
from service.settings import Settings

logger = logging.getLogger("kindling")

# The largest response that Lambda takes: "Exceeded maximum allowed payload size (6291556 bytes)", says its Runtime API.
MAX_RESPONSE_BYTES = 6_291_556
# Bodies of these types go to API Gateway as text; all others go in base64.
TEXT = ("text/", "application/json", "application/cloudevents", "application/schema+json", "application/openmetrics")

KNOWN = "SNS, EventBridge, S3"

settings = Settings.from_env()
app = start(settings)
snapshot.register(app)

_respond = make_lambda_handler(app, binary_support=True, non_binary_content_type_prefixes=TEXT)


class EventNotAnswered(Exception):
    """The invoker tries again; the message has the status and the reason."""


def handler(event: Any, context: Any) -> Any:
    """The answer, in the form that the sender of `event` expects.

    Raises:
        EventNotAnswered: the event was not answered, and can be later.
        ValueError: this function does not know the form.
    """
    if isinstance(event, list):
        return _replies([inside for each in event for inside in events.envelopes.opened(each)])
    if not isinstance(event, dict):
        raise ValueError(f"unknown event: a JSON {type(event).__name__}")  # noqa: TRY004 - it is a wrong value
    if "httpMethod" in event or "http" in event.get("requestContext", {}):
        return _http(event, context)
    if all("messageId" in each for each in event.get("Records", [{}])):
        return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in _failed(event["Records"])]}
    inside = events.envelopes.opened(event)
    if inside == [event] and "specversion" not in event:
        raise ValueError(f"unknown event: wanted HTTP, SQS, {KNOWN} or a CloudEvent, not {', '.join(event)[:100]!r}")
    replies = _replies(inside)
    return replies if len(replies) > 1 else next(iter(replies), None)


def _http(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The response to an HTTP request. A response that is too large becomes a 413: Lambda would end the function."""
    response = _respond(event, context)
    if (size := len(to_json(response))) <= MAX_RESPONSE_BYTES:
        return response
    refusal = Response(json.dumps({"error": _too_large(size)}), 413, content_type="application/json")
    return make_lambda_handler(refusal)(event, context)


def _failed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages that stay in the queue until they are answered, or until its redrive policy gives them up.

    In a FIFO queue, order is kept: after a failed message, no further one is tried.
    """
    if any(each.get("eventSourceARN", "").endswith(".fifo") for each in records):
        return records[len(list(takewhile(_is_answered, records))) :]
    # Two for each runner: one is decoded while the other is run.
    with ThreadPoolExecutor(2 * app.extensions["runtime"].runners) as pool:
        answered = list(pool.map(_is_answered, records))
    return [each for each, is_answered in zip(records, answered, strict=True) if not is_answered]


def _is_answered(record: dict[str, Any]) -> bool:
    """Whether the message need not come again; every event in it is tried."""
    done = [_is_done(record["messageId"], each) for each in events.envelopes.opened(record)]
    return all(done)


def _is_done(message_id: str, inside: Any) -> bool:
    if isinstance(inside, events.objects.Ignored):
        logger.info("message %s: nothing to compute: %s", message_id, inside.why)
        return True
    answer = cloud.posting.post_event(app, json.dumps(inside).encode(), {"Content-Type": events.codec.JSON_TYPE})
    if answer.status_code >= 400:
        logger.error("message %s: %d %s", message_id, answer.status_code, answer.text.strip())
        return False
    if not settings.database_url and answer.data:
        logger.info("message %s: %s", message_id, answer.text)
    return True


def _replies(inside: list[Any]) -> list[Any]:
    """The replies to a batch of events; if one event is wrong, its reply says why."""
    given, ignored = events.objects.told_apart(inside)
    for each in ignored:
        logger.info("nothing to compute: %s", each.why)
    if not given:
        return []
    body = json.dumps(given).encode()
    answer = cloud.posting.post_event(app, body, {"Content-Type": events.codec.BATCH_TYPE})
    if answer.status_code >= 400:
        raise EventNotAnswered(f"{answer.status_code} {answer.text.strip()}")
    replies: list[Any] = json.loads(answer.data or b"[]")
    if (size := len(to_json(replies))) <= MAX_RESPONSE_BYTES:
        return replies
    _, asked = events.codec.decode({"Content-Type": events.codec.BATCH_TYPE}, body)
    artifact = app.extensions["runtime"].artifact
    refused = [events.codec.failure_of(each, 413, _too_large(size), artifact.name, artifact.digest) for each in asked]
    return json.loads(events.codec.encode(events.codec.BATCHED, refused).body)  # type: ignore[no-any-return]


def _too_large(size: int) -> str:
    return f"the answer has {size} bytes, more than the {MAX_RESPONSE_BYTES} that Lambda takes: ask for less at once"
