"""Pure: the protocol of data without a content type, by its first bytes."""

import json
import re

from service.call import IMAGE, V1, V2

# Content types that say nothing: none, HTTP's and S3's for bytes, and curl's default for --data-binary.
TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")
# Pictures of every format, also refused ones: the decoder names the format, and says what to do.
_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|.{4}ftyp|GIF8|BM|II\*\0|MM\0\*", re.DOTALL)
# Whichever key comes first tells V1 requests from V2 requests.
_MEMBER = re.compile(rb'"(instances|inputs)"\s*:')


def protocol_of(data: bytes) -> str:
    """IMAGE, V2 or V1; "" if the data begins like nothing that is known."""
    if _PICTURE.match(data):
        return IMAGE
    if not _is_json(data):
        return ""
    member = _MEMBER.search(data)
    return V1 if member and member[1] == b"instances" else V2


def _is_json(data: bytes) -> bool:
    """Whether the data is JSON. For an object or a list the beginning is enough; the decoder checks the rest."""
    if data.lstrip()[:1] in (b"{", b"["):
        return True
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
