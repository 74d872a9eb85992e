"""Pure: base64 as people really send it."""

import base64
import re
from typing import Any

from service.errors import BadRequest
from service.protocol.fields import kind_of

_ONE_LINE = str.maketrans("-_", "+/", "\r\n")


def decode_base64(text: Any, where: str) -> bytes:
    """The bytes of base64 in either alphabet; padding, line breaks and the beginning of a data URI are optional.

    Each of these is unambiguous. A space is not: it may have been a + that a form decoder changed.

    Raises:
        BadRequest: not base64; the error says why.
    """
    if not isinstance(text, str):
        raise BadRequest(f"{where}: wanted a string with base64, got {kind_of(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        plain = _payload(text, where).rstrip("\r\n=")
    if fault := _fault(plain):
        raise BadRequest(f"{where}: not base64: {fault}")
    plain = plain.translate(_ONE_LINE)
    return base64.b64decode(plain + "=" * (-len(plain) % 4))


def _payload(text: str, where: str) -> str:
    """The text without the beginning of a data URI, RFC 2397."""
    head, comma, payload = text.partition(",")
    if not comma or head[:5].lower() != "data:":
        return text
    if not head.lower().endswith(";base64"):
        raise BadRequest(f"{where}: a data URI without ;base64")
    return payload


def _fault(plain: str) -> str:
    """Why this is not base64, or nothing if it is."""
    if plain.startswith(("b'", 'b"')):
        return "it is written as Python writes bytes, b'...': decode() them first"
    if found := re.search(r"[^A-Za-z0-9+/_\r\n-]", plain):
        at = f"character {found.start() + 1} is {found[0]!r}"
        notes = {" ": ", perhaps a + that was read as a form", "=": ", the padding, and more follows"}
        return at + notes.get(found[0], "")
    if re.search(r"[+/]", plain) and re.search(r"[_-]", plain):
        return "it mixes + and / with - and _"
    length = len(plain) - plain.count("\r") - plain.count("\n")
    return f"{length} characters are one too many, or it is cut off" if length % 4 == 1 else ""
