"""Pure: CloudEvents strictly by the specification; the library invents missing attributes or accepts wrong ones.

https://github.com/cloudevents/spec (v1.0.2: spec.md, bindings/http-protocol-binding.md, formats/json-format.md)
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from service.errors import BadRequest

# The most bytes of id and source, which are a key of the store: an entry of PostgreSQL's index has at most 2704.
MAX_NAME_BYTES = 1024
# Characters that a CloudEvents String must not have (spec.md, "Type System"), and that not every database accepts.
_FORBIDDEN = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# RFC 3339 has leap seconds; Python has none.
_LEAP_SECOND = re.compile("(?<=:[0-9]{2}):60")
PREFIX = "ce-"


class AsGiven(CloudEvent):
    """Attributes and data unchanged; the library itself would add a missing id, specversion and time."""

    def __init__(self, attributes: dict[str, Any], data: Any = None) -> None:
        self._attributes = attributes
        self._data = data


FORMAT = JSONFormat()


def read_binary(headers: Mapping[str, str], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Attributes and data of an event whose attributes are HTTP headers, by their names in lower case.

    The values are as in WSGI: one character for each byte. Every attribute stays the text that came, also the time: the
    library would turn it into a datetime, which has no nanoseconds.

    Raises:
        BadRequest: it is no valid one.
    """
    attributes: dict[str, Any] = {
        name.removeprefix(PREFIX): _decoded(name, value) for name, value in headers.items() if name.startswith(PREFIX)
    }
    if "content-type" in headers:
        # Not percent-encoded, because it is HTTP's own header.
        attributes["datacontenttype"] = _text(_bytes(headers["content-type"]))
    return _valid(attributes), body


def read_json(found: Any) -> tuple[dict[str, Any], bytes]:
    """Attributes and data of an event in the JSON format.

    Raises:
        BadRequest: it is no valid one.
    """
    if not isinstance(found, dict):
        raise BadRequest("the event is not a JSON object")
    # A null attribute counts as absent (json-format.md, 2.2), and so does null data.
    attributes = {name: value for name, value in found.items() if value is not None}
    try:
        data = _data(attributes)
    except (ValueError, TypeError, RecursionError) as fault:
        raise BadRequest(f"no valid CloudEvent: its data: {fault}") from None
    return _valid(attributes), data


def names_of(found: Any) -> dict[str, Any]:
    """The id and source of an invalid event, as far as they are valid."""
    named = found if isinstance(found, dict) else {}
    return {name: named[name] for name in ("id", "source") if _is_name(named.get(name))}


def canonical(value: Any) -> str:
    """An attribute's value as text (spec.md, "Type System"), as in a header; JSON may also have it in this form."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def timestamp(time: datetime) -> str:
    """A UTC time as an attribute's value."""
    return time.isoformat().replace("+00:00", "Z")


def is_json(media_type: str) -> bool:
    return media_type.endswith(("/json", "+json"))


def media_type(content_type: str) -> str:
    """The content type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def _data(attributes: dict[str, Any]) -> bytes:
    """The data of an event in the JSON format, removed from its attributes: text, base64 or any JSON value."""
    encoded, data = attributes.pop("data_base64", None), attributes.pop("data", None)
    if encoded is not None:
        if data is not None:
            raise ValueError("there are data and data_base64")
        return base64.b64decode(encoded, validate=True)
    if isinstance(data, str) and not is_json(media_type(str(attributes.get("datacontenttype", "application/json")))):
        return data.encode()
    return b"" if data is None else json.dumps(data).encode()


def _valid(attributes: dict[str, Any]) -> dict[str, Any]:
    """These attributes, after a check that all required ones are there and none is forbidden."""
    for name in ("specversion", "id"):
        if name not in attributes:
            raise BadRequest(f"no valid CloudEvent: it has no {name}")
    for name, value in attributes.items():
        if not isinstance(value, str | int) or _FORBIDDEN.search(str(value)):
            raise BadRequest(f"no valid CloudEvent: {name} is not of a type that an attribute can have")
    try:
        CloudEvent({**attributes, **({"time": _time(attributes["time"])} if "time" in attributes else {})})
    except CloudEventValidationError as fault:
        raise BadRequest("no valid CloudEvent: " + "; ".join(str(each[0]) for each in fault.errors.values())) from None
    for name in ("id", "source"):
        if not _is_name(attributes[name]):
            raise BadRequest(f"{name} has more than {MAX_NAME_BYTES} bytes")
    return attributes


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and not _FORBIDDEN.search(value) and 1 <= len(value.encode()) <= MAX_NAME_BYTES


def _time(value: Any) -> datetime:
    """The time as the library wants it; the attribute itself stays text."""
    if not isinstance(value, str):
        raise BadRequest("no valid CloudEvent: its time is no text")
    try:
        return datetime.fromisoformat(_LEAP_SECOND.sub(":59", value.upper()))
    except (ValueError, OverflowError) as fault:
        raise BadRequest(f"no valid CloudEvent: its time: {fault}") from None


def _decoded(name: str, value: str) -> str:
    """An attribute's value from its header (http-protocol-binding.md, 3.1.3.2).

    Most SDKs do not percent-encode: those of Go, Java and Rust send UTF-8, and that of JavaScript sends Latin-1. Bytes
    that are valid UTF-8 are hardly ever anything else.

    Raises:
        BadRequest: the percent-encoded bytes are not UTF-8.
    """
    raw = _bytes(value)
    # Older senders put values into double quotes.
    if re.fullmatch(rb'".*"', raw):
        raw = re.sub(rb"\\(.)", rb"\1", raw[1:-1])
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        pass
    try:
        return unquote(raw.decode("latin-1"), errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(f"no valid CloudEvent: {name} is percent-encoded, but not as UTF-8") from None


def _bytes(value: str) -> bytes:
    """The bytes of a header: WSGI decodes every header as Latin-1 (PEP 3333)."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:  # not from WSGI
        return value.encode(errors="surrogatepass")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
