"""Pure: CloudEvents in HTTP's three modes <-> what they ask for, and the reply; event.schema.json describes them.

https://github.com/cloudevents/spec (v1.0.2: bindings/http-protocol-binding.md)
"""

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cloudevents.core.bindings import http

from service.call import DEFAULT_TOP, HEADER_LENGTH, IMAGE, V1, V2, Call, Result
from service.errors import BadRequest, Unprocessable
from service.events import strict, untold

REQUESTED = "dev.kindling.inference.requested"
COMPLETED = "dev.kindling.inference.completed"
FAILED = "dev.kindling.inference.failed"
REPLIES = (COMPLETED, FAILED)

BINARY, STRUCTURED, BATCHED = "binary", "structured", "batched"
JSON_TYPE, BATCH_TYPE = "application/cloudevents+json", "application/cloudevents-batch+json"

# Extension attributes of a request, all optional: the protocol (otherwise by content type), and its parameters.
PROTOCOL, MODEL, TOP, JSON_LENGTH = "inferprotocol", "infermodel", "infertop", "inferheaderlength"
# Whose job the event is: the name of an API key. Counts where no keys are needed, as in a worker.
MADE_BY = "kindlingmadeby"
MAX_MADE_BY_CHARS = 63
# The claim check extension: where the data is.
DATAREF = "dataref"
# Extension attributes of a reply: which event it answers.
REQUEST_ID, REQUEST_SOURCE = "requestid", "requestsource"
# The distributed tracing extension, passed on unchanged.
TRACING = ("traceparent", "tracestate")
MAX_ERROR_CHARS = 500


@dataclass(frozen=True)
class Event:
    """A request event: its attributes as they came (in JSON not always text), its data as bytes.

    `fault` says why an event of a batch is invalid.
    """

    attributes: Mapping[str, Any]
    data: bytes
    fault: str = ""

    @property
    def id(self) -> str:
        return self.get("id") or ""

    @property
    def source(self) -> str:
        return self.get("source") or ""

    @property
    def type(self) -> str:
        return self.get("type") or ""

    @property
    def content_type(self) -> str:
        """The content type without parameters, in lower case; "" if there is none."""
        return strict.media_type(self.get("datacontenttype") or "")

    def get(self, name: str) -> str | None:
        """An attribute as text."""
        value = self.attributes.get(name)
        return None if value is None else strict.canonical(value)


@dataclass(frozen=True)
class Message:
    """An HTTP body and its headers, Content-Type among them."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def decode(headers: Mapping[str, str], body: bytes) -> tuple[str, list[Event]]:
    """The mode, and the events in it: one, or in batched mode any number, of which some may have a fault.

    The values of `headers` are as WSGI has them: one character for each byte.

    Raises:
        BadRequest: not a CloudEvent, or not a valid one.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    content_type = strict.media_type(lower.get("content-type", ""))
    if content_type == BATCH_TYPE:
        found = _json(body)
        if not isinstance(found, list):
            raise BadRequest("the batch is not a JSON array of events")
        return BATCHED, [_one_of_batch(each) for each in found]
    if content_type.startswith("application/cloudevents"):
        if content_type != JSON_TYPE:
            raise BadRequest(f"events in the format {content_type!r} are not known, only {JSON_TYPE}")
        return STRUCTURED, [Event(*strict.read_json(_json(body)))]
    if not any(name.startswith(strict.PREFIX) for name in lower):
        raise BadRequest(f"no CloudEvent: there are no ce- headers, and Content-Type is {content_type!r}")
    return BINARY, [Event(*strict.read_binary(lower, body))]


def from_json(encoded: bytes) -> Event:
    """An event that `to_json` made."""
    return Event(*strict.read_json(_json(encoded)))


def to_json(event: Event) -> bytes:
    """One event in the JSON format, its data in base64."""
    return strict.FORMAT.write(strict.AsGiven(dict(event.attributes), event.data))


def encode(mode: str, events: Sequence[Event]) -> Message:
    """Events as an HTTP message in that mode."""
    if mode == BATCHED:
        return Message(b"[" + b",".join(map(_to_json_readable, events)) + b"]", {"Content-Type": BATCH_TYPE})
    (event,) = events
    if mode == STRUCTURED:
        return Message(_to_json_readable(event), {"Content-Type": JSON_TYPE})
    attributes = {name: strict.canonical(value) for name, value in event.attributes.items()}
    message = http.to_binary(strict.AsGiven(attributes, event.data), strict.FORMAT)
    headers = {name.title(): value for name, value in message.headers.items()}
    if "Content-Type" in headers:
        headers["Content-Type"] = headers["Content-Type"].encode().decode("latin-1")
    return Message(message.body, headers)


def made_by(event: Event) -> str | None:
    """Whose job the event says it is.

    Raises:
        BadRequest: no name of a key is that long.
    """
    name = event.get(MADE_BY)
    if name is not None and len(name) > MAX_MADE_BY_CHARS:
        raise BadRequest(f"{MADE_BY} has {len(name)} characters: wanted at most {MAX_MADE_BY_CHARS}")
    return name or None


def call_of(event: Event, model: str) -> Call:
    """What the event asks for.

    Raises:
        Unprocessable: another model, or data of an unknown kind.
    """
    if event.type in REPLIES:
        raise Unprocessable(f"{event.type} is what this service replies with: a Trigger sends its replies back to it")
    if event.get(MODEL) not in (None, model):
        raise Unprocessable(f"no model {event.get(MODEL)!r}, this service has {model!r}")
    protocol = event.get(PROTOCOL) or _protocol(event)
    if protocol == IMAGE:
        return Call(IMAGE, event.data, top=_number(event, TOP, low=1) or DEFAULT_TOP)
    if protocol in (V1, V2):
        return Call(protocol, event.data, header_length=_number(event, JSON_LENGTH, low=0))
    raise Unprocessable(f"{PROTOCOL} is {protocol!r}: wanted {IMAGE}, {V2} or {V1}")


def request_of(call: Call, event_id: str, model: str, content_type: str, trace: Mapping[str, str]) -> Event:
    """The event that asks for `call`, without the request headers that an event cannot carry."""
    told = {"datacontenttype": content_type, **{name: trace[name] for name in TRACING if name in trace}}
    attributes: dict[str, Any] = {
        "specversion": "1.0", "id": event_id, "source": f"/v2/models/{model}/jobs", "type": REQUESTED,
        "time": strict.timestamp(datetime.now(UTC)), PROTOCOL: call.protocol, MODEL: model,
        **{name: value for name, value in told.items() if value.isascii() and value.isprintable()},
    }  # fmt: skip
    if call.protocol == IMAGE:
        attributes[TOP] = str(call.top)
    if call.header_length is not None:
        attributes[JSON_LENGTH] = str(call.header_length)
    return Event(attributes, call.body)


def reply_to(event: Event, result: Result, model: str, digest: str) -> Event:
    """The reply event: the same for the same request and model, however often it is computed."""
    attributes = _reply_attributes(event, COMPLETED, model, digest, result.computed_s)
    attributes["datacontenttype"] = result.content_type
    if length := result.headers.get(HEADER_LENGTH):
        attributes[JSON_LENGTH] = length
    return Event(attributes, result.body)


def failure_of(event: Event, status: int, error: str, model: str, digest: str) -> Event:
    """The event that says why there is no answer, for a batch whose other events have answers."""
    attributes = _reply_attributes(event, FAILED, model, digest, time.time())
    attributes["datacontenttype"] = "application/json"
    return Event(attributes, json.dumps({"error": error[:MAX_ERROR_CHARS], "status": status}).encode())


def _reply_attributes(event: Event, kind: str, model: str, digest: str, at_s: float) -> dict[str, Any]:
    named = json.dumps([event.source, event.id, digest, kind]).encode()
    attributes: dict[str, Any] = {
        "specversion": "1.0", "id": hashlib.sha256(named).hexdigest()[:32] if event.id else uuid.uuid4().hex,
        "source": f"/v2/models/{model}", "type": kind,
        "time": strict.timestamp(datetime.fromtimestamp(at_s, UTC)),
    }  # fmt: skip
    went_on = {REQUEST_ID: "id", REQUEST_SOURCE: "source", **{name: name for name in ("subject", *TRACING)}}
    return attributes | {name: value for name, asked in went_on.items() if (value := event.get(asked))}


def _protocol(event: Event) -> str:
    """The protocol by the content type of the data, or else by its first bytes."""
    if event.content_type.startswith("image/"):
        return IMAGE
    if strict.is_json(event.content_type) or event.get(JSON_LENGTH):
        return V2
    if event.content_type not in untold.TYPES:
        raise Unprocessable(
            f"datacontenttype is {event.content_type!r}: wanted image/*, application/json, or {JSON_LENGTH} or {PROTOCOL}"
        )
    if not event.data and (event.get(DATAREF) or not event.content_type):
        return V2  # decided once the claim check is fetched; V2's decoder reports missing data
    if found := untold.protocol_of(event.data):
        return found
    told = f"is {event.content_type!r}" if event.content_type else "is missing"
    raise Unprocessable(f"datacontenttype {told}, and the data begin like no picture and no JSON: set {PROTOCOL}")


def _number(event: Event, name: str, low: int) -> int | None:
    text = event.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < low:
        raise Unprocessable(f"{name} is {text!r}: wanted a whole number of at least {low}")
    return int(text)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the event is not JSON") from None


def _one_of_batch(found: Any) -> Event:
    """One event of a batch: an invalid one does not spoil the others."""
    try:
        return Event(*strict.read_json(found))
    except BadRequest as fault:
        return Event(strict.names_of(found), b"", str(fault))


def _to_json_readable(event: Event) -> bytes:
    """The event in the JSON format: JSON data stays JSON, all other data is in base64."""
    data: Any = json.loads(event.data) if strict.is_json(event.content_type) else event.data
    return strict.FORMAT.write(strict.AsGiven(dict(event.attributes), data))
