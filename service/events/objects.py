"""Pure: what a store says about an object -> the CloudEvent that asks for it, or why nothing is to be computed.

S3           one record of a notification, or EventBridge's detail   s3://BUCKET/KEY
Cloud Storage  bucket and name, by Eventarc or by Pub/Sub            https://storage.googleapis.com/BUCKET/NAME
Blob Storage   by Event Grid                                         its own URL

The event names the object in its `dataref`, so that DATAREF_ALLOW decides whether it is fetched.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_plus

STORED_BY_GOOGLE = "google.cloud.storage.object.v1."
STORED_BY_AZURE = "Microsoft.Storage."
FINALIZED, CREATED = f"{STORED_BY_GOOGLE}finalized", f"{STORED_BY_AZURE}BlobCreated"


@dataclass(frozen=True)
class Ignored:
    """A delivery that asks for nothing, such as the deletion of an object; `why` is for the log."""

    why: str


Found = dict[str, Any] | Ignored


def told_apart(inside: Iterable[Any]) -> tuple[list[Any], list[Ignored]]:
    """What a delivery asks for, and what in it asks for nothing."""
    every = list(inside)
    ignored = [each for each in every if isinstance(each, Ignored)]
    return [each for each in every if not isinstance(each, Ignored)], ignored


def of_s3(record: Mapping[str, Any]) -> Found:
    """The object of one record of an S3 notification, MinIO's and Ceph's included.

    The attributes are those of CloudEvents' adapter for S3 (cloudevents/spec, adapters/aws-s3.md), except for the id:
    the adapter takes the id of the request to S3, which is the same in all test events of the Lambda console.

    Raises:
        KeyError, TypeError, AttributeError: not such a record.
    """
    bucket, stored, name = record["s3"]["bucket"]["name"], record["s3"]["object"], record["eventName"]
    # "The object key name value is URL encoded": docs.aws.amazon.com/AmazonS3, notification-content-structure.html.
    key = unquote_plus(stored["key"])
    url = _s3_url(bucket, key, stored.get("versionId"))
    if not name.removeprefix("s3:").startswith("ObjectCreated:"):
        return _ignored(name, url)
    unique = [bucket, stored, record.get("responseElements"), record.get("eventTime")]
    told = {
        "id": hashlib.sha256(json.dumps(unique, sort_keys=True).encode()).hexdigest()[:32],
        "source": f"{record.get('eventSource', 'aws:s3')}.{record.get('awsRegion', '')}.{bucket}",
        "type": f"com.amazonaws.s3.{name.removeprefix('s3:')}",
        "time": record.get("eventTime"),
    }
    return _asking_for(url, key, told)


def of_bridge(told: Mapping[str, Any], detail: Mapping[str, Any]) -> Found:
    """The object of an event that S3 has sent to EventBridge; `told` are the attributes of EventBridge's envelope.

    Raises:
        KeyError, TypeError, AttributeError: it is no such event.
    """
    stored = detail["object"]
    # Not decoded: only notifications have encoded keys.
    key = stored["key"]
    url = _s3_url(detail["bucket"]["name"], key, stored.get("version-id"))
    return _asking_for(url, key, told) if told["type"] == "Object Created" else _ignored(told["type"], url)


def of_google(told: Mapping[str, Any], bucket: str, name: str, generation: str) -> Found:
    """The object of Cloud Storage.

    The generation keeps caches from answering with an older object: public objects are cached for an hour.

    Raises:
        TypeError: it is no such object.
    """
    url = f"https://storage.googleapis.com/{quote(bucket, safe='', errors='replace')}/{_quoted(name)}"
    if told["type"] != FINALIZED:
        return _ignored(told["type"], url)
    return _asking_for(f"{url}?generation={_quoted(generation)}" if generation else url, name, told)


def of_azure(told: Mapping[str, Any], data: Mapping[str, Any]) -> Found:
    """The object of Azure's Blob Storage, by Event Grid.

    Raises:
        KeyError, TypeError, AttributeError: it is no such event.
    """
    url = data["url"]
    return _asking_for(url, url, told) if told["type"] == CREATED else _ignored(told["type"], repr(url))


def _s3_url(bucket: str, key: str, version: str | None) -> str:
    return f"s3://{quote(bucket, safe='', errors='replace')}/{_quoted(key)}" + (
        f"?versionId={_quoted(version)}" if version else ""
    )


def _quoted(text: str) -> str:
    return quote(text, safe="/", errors="replace")


def _ignored(kind: str, url: str) -> Ignored:
    """Whatever the length of the names: it is a line of the log."""
    return Ignored(f"{kind[:80]!r} of {url[:1000]}")


def _asking_for(url: str, key: str, told: Mapping[str, Any]) -> Found:
    if key.endswith("/"):
        return Ignored(f"{url[:1000]!r} is a folder")
    attributes = {"specversion": "1.0", **told, "dataref": url}
    if key.isprintable():  # otherwise it cannot be an attribute
        attributes.setdefault("subject", key)
    return {name: value for name, value in attributes.items() if value is not None}
