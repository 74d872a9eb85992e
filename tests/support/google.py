"""What Google Cloud delivers: Pub/Sub's push envelope, and what Eventarc and Cloud Storage put into it."""

import base64
import json
from typing import Any

SUBSCRIPTION = "projects/p/subscriptions/s"
TOPIC = "//pubsub.googleapis.com/projects/p/topics/t"
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
STORED = "google.cloud.storage.object.v1."


def pushed(data: bytes = b"", message_id: str = "2070443601311540", **attributes: str) -> dict[str, Any]:
    """The body of a push: docs.cloud.google.com/pubsub/docs/push, "Receive messages"."""
    time = "2026-11-27T19:13:55.749Z"
    message: dict[str, Any] = {
        "data": base64.b64encode(data).decode(), "messageId": message_id, "message_id": message_id, "publishTime": time,
        "publish_time": time,
    }  # fmt: skip
    if attributes:
        message["attributes"] = attributes
    return {"message": message, "subscription": SUBSCRIPTION}


def published(data: bytes = b"", message_id: str = "1", **attributes: str) -> dict[str, Any]:
    """What Eventarc makes of a message."""
    return {
        "specversion": "1.0", "id": message_id, "source": TOPIC, "type": PUBLISHED, "datacontenttype": "application/json",
        "time": "2026-11-27T19:13:55.749Z", "data": pushed(data, message_id, **attributes),
    }  # fmt: skip


def stored(bucket: str, name: str, kind: str = "finalized", **told: Any) -> dict[str, Any]:
    """What Eventarc tells of an object: googleapis/google-cloudevents, google/events/cloud/storage/v1."""
    data = {
        "kind": "storage#object", "id": f"{bucket}/{name}/1587627537231057", "bucket": bucket, "name": name,
        "generation": "1587627537231057", "metageneration": "1", "contentType": "image/png", "size": "352",
        "timeCreated": "2026-04-23T07:38:57.230Z",
    }  # fmt: skip
    return {
        "specversion": "1.0", "id": "1096434104173400", "type": STORED + kind, "subject": f"objects/{name}",
        "source": f"//storage.googleapis.com/projects/_/buckets/{bucket}", "time": "2026-04-23T07:38:57.772Z",
        "datacontenttype": "application/json", "bucket": bucket, "data": data, **told,
    }  # fmt: skip


def notified(bucket: str, name: str, kind: str = "OBJECT_FINALIZE") -> dict[str, Any]:
    """A notification of Cloud Storage: docs.cloud.google.com/storage/docs/pubsub-notifications, "Notification format"."""
    attributes = {
        "notificationConfig": f"projects/_/buckets/{bucket}/notificationConfigs/5", "eventType": kind,
        "payloadFormat": "JSON_API_V1", "bucketId": bucket, "objectId": name, "objectGeneration": "1587627537231057",
        "eventTime": "2026-04-23T07:38:57.772Z",
    }  # fmt: skip
    return pushed(json.dumps(stored(bucket, name)["data"]).encode(), **attributes)
