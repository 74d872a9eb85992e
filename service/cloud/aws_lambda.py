"""AWS Lambda: importing this loads the model, in Lambda's init phase; `handler` tells by its form what an event is.

API Gateway, function URL, ALB   apig-wsgi       -> the routes -> the response
SQS                              each message    -> /events    -> which of them failed
EventBridge, Invoke              one CloudEvent  -> /events    -> the reply event, for a destination
Pipes                            a batch of them -> /events    -> the reply events, for the pipe's target
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
from service.cloud.startup import start
from service.settings import Settings

logger = logging.getLogger("kindling")

# Of a response as Lambda gets it: "Exceeded maximum allowed payload size (6291556 bytes)", says its Runtime API.
MAX_RESPONSE_BYTES = 6_291_556
# Told to API Gateway as it is; everything else is in base64.
TEXT = ("text/", "application/json", "application/cloudevents", "application/schema+json", "application/openmetrics")

settings = Settings.from_env()
app = start(settings)

_respond = make_lambda_handler(app, binary_support=True, non_binary_content_type_prefixes=TEXT)


class EventNotAnswered(Exception):
    """Tried again by whoever invoked the function; the message has the status and the reason."""


def handler(event: Any, context: Any) -> Any:
    """The answer in the form that whoever sent `event` wants.

    Raises:
        EventNotAnswered: the event was not answered, and can be later.
        ValueError: it is nothing that this function knows.
    """
    if isinstance(event, list):
        return _replies([_cloud_event(each) for each in event])
    if not isinstance(event, dict):
        raise ValueError(f"unknown event: a JSON {type(event).__name__}")  # noqa: TRY004 - it is a wrong value
    if "httpMethod" in event or "http" in event.get("requestContext", {}):
        return _http(event, context)
    if all("messageId" in each for each in event.get("Records", [{}])):
        return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in _failed(event["Records"])]}
    if "specversion" in event or "detail-type" in event:
        replies = _replies([_cloud_event(event)])
        return replies[0] if replies else None
    raise ValueError(f"unknown event: wanted HTTP, SQS, EventBridge or a CloudEvent, not {', '.join(event)[:100]!r}")


def _http(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A larger response than Lambda takes would be lost, and the function with it."""
    response = _respond(event, context)
    if (size := len(to_json(response))) <= MAX_RESPONSE_BYTES:
        return response
    refusal = Response(json.dumps({"error": _too_large(size)}), 413, content_type="application/json")
    return make_lambda_handler(refusal)(event, context)


def _failed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages that stay in the queue: until they are answered, or its redrive policy gives them up.

    Those of a FIFO queue stay in order: after one that failed none is tried.
    """
    if any(each.get("eventSourceARN", "").endswith(".fifo") for each in records):
        return records[len(list(takewhile(_is_answered, records))) :]
    # Two for each runner: one is decoded while another is run.
    with ThreadPoolExecutor(2 * app.extensions["runtime"].runners) as pool:
        answered = list(pool.map(_is_answered, records))
    return [each for each, is_answered in zip(records, answered, strict=True) if not is_answered]


def _is_answered(record: dict[str, Any]) -> bool:
    body = json.dumps(_cloud_event(record)).encode()
    answer = cloud.posting.post_event(app, body, {"Content-Type": events.codec.JSON_TYPE})
    if answer.status_code >= 400:
        logger.error("message %s: %d %s", record["messageId"], answer.status_code, answer.text.strip())
        return False
    if not settings.database_url and answer.data:
        logger.info("message %s: %s", record["messageId"], answer.text)
    return True


def _replies(given: list[Any]) -> list[Any]:
    """A batch of events, answered as one: what is wrong with one of them is told by the event that answers it."""
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


def _cloud_event(found: Any) -> Any:
    """The CloudEvent in an SQS message or in EventBridge's envelope, or in the one in the other; else what it is.

    The envelope's detail is a CloudEvent, or the data of one.
    """
    if isinstance(found, dict) and "messageId" in found and isinstance(found.get("body"), str):
        try:
            return _cloud_event(json.loads(found["body"]))
        except (ValueError, RecursionError):
            return found["body"]
    if not isinstance(found, dict) or not {"detail-type", "detail"} <= found.keys():
        return found
    detail = found["detail"]
    if isinstance(detail, dict) and "specversion" in detail:
        return detail
    told = {name: found[name] for name in ("id", "source", "time") if name in found}
    return {"specversion": "1.0", "type": found["detail-type"], **told, "data": detail}


def _too_large(size: int) -> str:
    return f"the answer has {size} bytes, more than the {MAX_RESPONSE_BYTES} that Lambda takes: ask for less at once"
