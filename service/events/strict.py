"""Pure: CloudEvents by the letter of the specification, where the library invents what is missing or lets it pass.

https://github.com/cloudevents/spec (v1.0.2: spec.md, bindings/http-protocol-binding.md, formats/json-format.md)
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloudevents.core.bindings import http
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from service.errors import BadRequest

# Of id and source, which are a key of the store: an entry of PostgreSQL's index has at most 2704 bytes.
MAX_NAME_BYTES = 1024
# No characters of a CloudEvents String (spec.md, "Type System"); nor does every database take them.
_FORBIDDEN = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class AsGiven(CloudEvent):
    """Attributes and data as they are: the library adds an id, a specversion and a time where there are none."""

    def __init__(self, attributes: dict[str, Any], data: Any = None) -> None:
        self._attributes = attributes
        self._data = data


FORMAT = JSONFormat()


def read_binary(headers: Mapping[str, str], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Attributes and data of an event whose attributes are HTTP headers; their names are in lower case here.

    Raises:
        BadRequest: it is no valid one.
    """
    unquoted = {name: _unquoted(value) for name, value in headers.items()}
    try:
        # Without the body: of bytes that happen to be UTF-8, or JSON, the library makes something else.
        event = http.from_binary(http.HTTPMessage(unquoted, b""), FORMAT, AsGiven)
    except (ValueError, OverflowError) as fault:
        raise BadRequest(f"no valid CloudEvent: its time: {fault}") from None
    return _valid(event.get_attributes()), body


def read_json(found: Any) -> tuple[dict[str, Any], bytes]:
    """Attributes and data of an event in the JSON format.

    Raises:
        BadRequest: it is no valid one.
    """
    if not isinstance(found, dict):
        raise BadRequest("the event is not a JSON object")
    # An attribute that is null is as good as none (json-format.md, 2.2), and so are data.
    attributes = {name: value for name, value in found.items() if value is not None}
    try:
        data = _data(attributes)
        event = FORMAT.read(AsGiven, json.dumps(attributes))
    except (ValueError, TypeError, OverflowError, RecursionError) as fault:
        raise BadRequest(f"no valid CloudEvent: its data or its time: {fault}") from None
    return _valid(event.get_attributes()), data


def names_of(found: Any) -> dict[str, Any]:
    """As much of id and source as is valid, of what is not."""
    named = found if isinstance(found, dict) else {}
    return {name: named[name] for name in ("id", "source") if _is_name(named.get(name))}


def is_json(media_type: str) -> bool:
    return media_type.endswith(("/json", "+json"))


def media_type(content_type: str) -> str:
    """Without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def _data(attributes: dict[str, Any]) -> bytes:
    """The data in the JSON format, taken out of what is left as attributes: text, base64 or any JSON value."""
    encoded, data = attributes.pop("data_base64", None), attributes.pop("data", None)
    if encoded is not None:
        if data is not None:
            raise ValueError("there are data and data_base64")
        return base64.b64decode(encoded, validate=True)
    if isinstance(data, str) and not is_json(media_type(str(attributes.get("datacontenttype", "application/json")))):
        return data.encode()
    return b"" if data is None else json.dumps(data).encode()


def _valid(attributes: dict[str, Any]) -> dict[str, Any]:
    """These attributes: all that the specification demands, and none that it forbids."""
    for name in ("specversion", "id"):
        if name not in attributes:
            raise BadRequest(f"no valid CloudEvent: it has no {name}")
    try:
        CloudEvent(dict(attributes))
    except CloudEventValidationError as fault:
        raise BadRequest("no valid CloudEvent: " + "; ".join(str(each[0]) for each in fault.errors.values())) from None
    for name, value in attributes.items():
        if not isinstance(value, str | int | datetime) or _FORBIDDEN.search(str(value)):
            raise BadRequest(f"no valid CloudEvent: {name} is not of a type that an attribute can have")
        if name in ("id", "source") and not _is_name(value):
            raise BadRequest(f"{name} has more than {MAX_NAME_BYTES} bytes")
    return attributes


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and not _FORBIDDEN.search(value) and 1 <= len(value.encode()) <= MAX_NAME_BYTES


def _unquoted(value: str) -> str:
    """A header's value, which older senders put into double quotes (http-protocol-binding.md, 3.1.3.2)."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if re.fullmatch(r'".*"', value) else value
