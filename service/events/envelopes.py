"""Pure: what a platform delivers -> CloudEvents in the JSON format. The one place that knows the platforms' own forms.

SQS            {"messageId": ..., "body": TEXT}                            what the text is
SNS            {"Type": "Notification", "Message": TEXT}, {"Sns": ...}     what the text is
EventBridge    {"detail-type": ..., "detail": ...}                         a CloudEvent, the data of one, an object of S3
S3             {"Records": [{"s3": ...}]}, {"Event": "s3:TestEvent"}       an object for each record
Pub/Sub        {"message": {"data": BASE64}, "subscription": ...}          a CloudEvent, the data of one, an object
Eventarc       a CloudEvent of Google's, with one of these as its data     what the data is
Event Grid     a CloudEvent of Azure's, about an object                    the object
"""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from service.call import IMAGE
from service.events import codec, objects, untold
from service.events.objects import Found, Ignored

PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
# Every known record has one of these keys: a record of S3, or of SNS or SQS as Lambda gets it.
RECORDS = {"s3", "Sns", "messageId"}
# Attributes of a message in Pub/Sub that are ours, not the platform's.
PASSED = (codec.PROTOCOL, codec.MODEL, codec.TOP, codec.JSON_LENGTH, codec.DATAREF, *codec.TRACING)


def read(headers: Mapping[str, str], body: bytes) -> list[Any] | None:
    """The content of an envelope that came by HTTP, as from `opened`; None for a CloudEvent, or without an envelope."""
    lower = {name.lower(): value.lower() for name, value in headers.items()}
    is_event = "ce-specversion" in lower or lower.get("content-type", "").startswith("application/cloudevents")
    return None if is_event or not _is_object(body) else _opened(_json(body))


def of_event(event: codec.Event) -> list[Any] | None:
    """What a CloudEvent of Google's or Azure's is about, as from `opened`; None for every other event."""
    if not event.type.startswith(("google.cloud.", objects.STORED_BY_AZURE)):
        return None
    return opened(json.loads(codec.to_json(event)))


def opened(found: Any) -> list[Any]:
    """What a platform delivers: CloudEvents in the JSON format, valid or not, and `Ignored`.

    An unknown envelope is returned unchanged; the decoder then says what is wrong with it.
    """
    inside = _opened(found)
    return [found] if inside is None else inside


def _opened(found: Any) -> list[Any] | None:
    """As `opened`; None if it is no envelope."""
    inside: list[Any] | None = None
    match found:
        case {"specversion": _}:
            inside = _of_platforms_event(found)
        # Texts in texts: each level is escaped once more, so even the largest message has few levels.
        case (
            {"messageId": _, "body": str(text)}
            | {"Type": "Notification", "Message": str(text)}
            | {"Sns": {"Message": str(text)}}
        ):
            inside = opened(_parsed(text))
        case {"Type": "SubscriptionConfirmation" | "UnsubscribeConfirmation" as kind}:
            inside = [Ignored(f"{kind} of SNS, to be confirmed at {str(found.get('SubscribeURL'))[:1000]!r}")]
        case {"Event": "s3:TestEvent"}:
            inside = [Ignored(f"s3:TestEvent of the bucket {str(found.get('Bucket'))[:100]!r}")]
        case {"Records": [_, *_] as records} if all(
            isinstance(each, dict) and each.keys() & RECORDS for each in records
        ):
            inside = [one for each in records for one in _of_record(each)]
        case {"detail-type": _, "detail": detail}:
            inside = [_of_bridge(found, detail)]
        case {"message": dict(message), "subscription": str(subscription)}:
            inside = _of_message(message, f"//pubsub.googleapis.com/{subscription}")
    return inside


def _of_record(record: dict[str, Any]) -> list[Any]:
    if "Records" in record:  # no record that is known: it could go on like that for any depth
        return [record]
    if "s3" not in record:
        return opened(record)
    try:
        return [objects.of_s3(record)]
    except (KeyError, TypeError, AttributeError):
        return [record]


def _of_bridge(envelope: dict[str, Any], detail: Any) -> Any:
    if isinstance(detail, dict) and "specversion" in detail:
        return detail
    told = {"specversion": "1.0", "type": envelope["detail-type"]}
    told |= {name: envelope[name] for name in ("id", "source", "time") if name in envelope}
    if told.get("source") == "aws.s3":
        with suppress(KeyError, TypeError, AttributeError):
            return objects.of_bridge(told, detail)
    return {**told, "data": detail}


def _of_message(message: dict[str, Any], source: str) -> list[Any]:
    """The content of a Pub/Sub message, recognised by its attributes or its data."""
    attributes = given if isinstance(given := message.get("attributes"), dict) else {}
    encoded = message.get("data") or ""
    if "ce-specversion" in attributes:  # github.com/googleapis/google-cloudevents, docs/spec/pubsub.md
        told = {name[3:]: value for name, value in attributes.items() if name.startswith("ce-")}
        return opened({**told, "datacontenttype": attributes.get("content-type"), "data_base64": encoded})
    told = {"specversion": "1.0", "id": message.get("messageId") or message.get("message_id"), "source": source}
    if {"eventType", "bucketId", "objectId"} <= attributes.keys():
        return [_of_stores_message(attributes, told)]
    data = _decoded(encoded)
    if isinstance(request := _json(data), dict) and ("specversion" in request or _opened(request) is not None):
        return opened(request)
    told |= {"type": PUBLISHED, "time": message.get("publishTime"), "datacontenttype": attributes.get("content-type")}
    told |= {name: attributes[name] for name in PASSED if name in attributes}
    if data and not told["datacontenttype"]:
        told.setdefault(codec.PROTOCOL, untold.protocol_of(data) or IMAGE)
    return [{**told, "data_base64": encoded}]


def _of_stores_message(attributes: dict[str, Any], told: dict[str, Any]) -> Found:
    """cloud.google.com/storage/docs/pubsub-notifications: OBJECT_FINALIZE, OBJECT_DELETE, ..."""
    bucket, name, kind = (str(attributes[each]) for each in ("bucketId", "objectId", "eventType"))
    told = {
        **told, "source": f"//storage.googleapis.com/projects/_/buckets/{bucket}", "subject": f"objects/{name}",
        "type": objects.FINALIZED if kind == "OBJECT_FINALIZE" else kind, "time": attributes.get("eventTime"),
    }  # fmt: skip
    return objects.of_google(told, bucket, name, str(attributes.get("objectGeneration") or ""))


def _of_platforms_event(event: dict[str, Any]) -> list[Any] | None:
    """What a CloudEvent that a platform itself made is about; None for every other event."""
    kind, about = str(event.get("type")), _data_of(event)
    told = {name: value for name, value in event.items() if not name.startswith("data")}
    try:
        if kind == PUBLISHED:
            return _of_message(about["message"], str(event.get("source")))
        if kind.startswith(objects.STORED_BY_GOOGLE):
            return [objects.of_google(told, about["bucket"], about["name"], about.get("generation") or "")]
        if kind.startswith(objects.STORED_BY_AZURE):
            return [objects.of_azure(told, about)]
    except (KeyError, TypeError, AttributeError):
        return [event]
    return None


def _is_object(data: bytes) -> bool:
    """Whether it begins as a JSON object does."""
    return data[:64].lstrip().startswith(b"{")


def _data_of(event: dict[str, Any]) -> Any:
    """The JSON data of a CloudEvent in the JSON format; None if it has none."""
    encoded = event.get("data_base64")
    return event.get("data") if encoded is None else _json(_decoded(encoded))


def _decoded(encoded: Any) -> bytes:
    """The bytes of base64; none if it is not base64, and then the decoder of CloudEvents refuses the event."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError):
        return b""


def _json(data: bytes) -> Any:
    """The JSON value; None if it is not JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _parsed(text: str) -> Any:
    """The text parsed as JSON, or the text itself if it is not JSON."""
    parsed = _json(text.encode(errors="replace"))
    return text if parsed is None else parsed
