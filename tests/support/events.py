"""CloudEvents as another program sends them with the library, and the service's replies as the library reads them."""

import json
from collections.abc import Mapping
from typing import Any

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft202012Validator

from tests.support.serving import ROOT, Answer, Server

COMPLETED, FAILED = "dev.kindling.inference.completed", "dev.kindling.inference.failed"
MODES = ("binary", "structured", "batched")
JSON_TYPE, BATCH_TYPE = "application/cloudevents+json", "application/cloudevents-batch+json"
# What Eventing delivers again (knative.dev/eventing, pkg/kncloudevents/retries.go); all else is dead-lettered at once.
RETRIED = frozenset((404, 408, 409, 429, *range(500, 600)))
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

SCHEMA = json.loads((ROOT / "service/events/event.schema.json").read_text())
FORMAT = JSONFormat()

REQUEST = Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": "#/$defs/request"}]})
REPLY = Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": "#/$defs/completed"}, {"$ref": "#/$defs/failed"}]})


def event(data: Any, content_type: str, **attributes: Any) -> CloudEvent:
    """A request event: a dict or bytes as data, any extension as a keyword."""
    named = {"id": "event-1", "source": "/tests", "type": "org.example.picture.taken", "datacontenttype": content_type}
    return CloudEvent(named | attributes, data)


def message(mode: str, *events: CloudEvent) -> http.HTTPMessage:
    """The events as an HTTP request in that mode."""
    if mode == "batched":
        return http.HTTPMessage({"content-type": BATCH_TYPE}, b"[" + b",".join(map(FORMAT.write, events)) + b"]")
    (only,) = events
    return http.to_binary_event(only) if mode == "binary" else http.to_structured_event(only)


def send(
    server: Server, mode: str, *events: CloudEvent, path: str = "/", headers: Mapping[str, str] | None = None
) -> Answer:
    sent = message(mode, *events)
    return server.call("POST", path, sent.body, sent.headers | dict(headers or {}))


def replies(answer: Answer) -> list[BaseCloudEvent]:
    """The events in an answer of 2xx, each valid by the schema; Eventing makes a 502 of any other body."""
    assert 200 <= answer.status < 300, answer.body
    if answer.status == 204:
        assert answer.body == b""
        return []
    content_type = answer.headers["Content-Type"]
    if content_type == BATCH_TYPE:
        found = [FORMAT.read(None, json.dumps(each)) for each in json.loads(answer.body)]
        assert found
    else:
        found = [http.from_http_event(http.HTTPMessage(dict(answer.headers), answer.body))]
    for each in found:
        assert_valid(REPLY, each)
    return found


def reply(server: Server, mode: str, asked: CloudEvent, **how: Any) -> BaseCloudEvent:
    """The one that answers the event: in its mode, and linked to it."""
    answer = send(server, mode, asked, **how)
    (found,) = replies(answer)
    assert_valid(REQUEST, asked)
    wanted = {"binary": found.get_datacontenttype(), "structured": JSON_TYPE, "batched": BATCH_TYPE}[mode]
    assert answer.headers["Content-Type"] == wanted
    assert ("Ce-Id" in answer.headers) == (mode == "binary")
    assert (found.get_extension("requestid"), found.get_extension("requestsource")) == (
        asked.get_id(), asked.get_source()
    )  # fmt: skip
    return found


def assert_valid(validator: Draft202012Validator, found: BaseCloudEvent) -> None:
    described = json.loads(FORMAT.write(found))
    assert validator.is_valid(described), described


def assert_refused(answer: Answer, *statuses: int) -> None:
    """The sender's fault, told in few words, and not delivered again."""
    assert answer.status in statuses, answer.body
    assert answer.status not in RETRIED
    assert answer.error
