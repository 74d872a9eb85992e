"""Pure: the protocol of data of which the sender has not said what they are, by how they begin."""

import json
import re

from service.call import IMAGE, V1, V2

# Content types that say nothing: none, HTTP's for bytes, S3's for them, and curl's for whatever --data-binary sends.
TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")
# Pictures of every format, also of those that this service refuses: their decoder names them, and says what to do.
_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|.{4}ftyp|GIF8|BM|II\*\0|MM\0\*", re.DOTALL)
# Whichever comes first tells V1's requests from V2's.
_MEMBER = re.compile(rb'"(instances|inputs)"\s*:')


def protocol_of(data: bytes) -> str:
    """IMAGE, V2 or V1; "" when they begin like nothing that is known."""
    if _PICTURE.match(data):
        return IMAGE
    if not _is_json(data):
        return ""
    member = _MEMBER.search(data)
    return V1 if member and member[1] == b"instances" else V2


def _is_json(data: bytes) -> bool:
    """Of an object its beginning is enough: whether all of it is JSON is for its decoder to say."""
    if data.lstrip()[:1] in (b"{", b"["):
        return True
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
