"""CloudEvents; nothing here is imported before the first event.

codec.py      pure: events in HTTP's three modes <-> what they ask for, and the reply; event.schema.json describes ours
strict.py     pure: events by the letter of the specification
untold.py     pure: the protocol of data without a content type, by its first bytes
envelopes.py  pure: what a platform delivers (SQS, SNS, EventBridge, Pub/Sub, ...) -> CloudEvents
objects.py    pure: what a store says about an object (S3, Cloud Storage, Blob Storage) -> the CloudEvent that asks for it
dataref.py    the data of an event, fetched from its `dataref`
s3.py         the same from S3, or a store with its protocol
post.py       one event by HTTP, and the answer
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.events import codec, dataref, envelopes, objects, post, s3, strict, untold

__all__ = ["codec", "dataref", "envelopes", "objects", "post", "s3", "strict", "untold"]
__getattr__ = files_of(__name__)
