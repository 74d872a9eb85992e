"""Which way is up, from the metadata; if that is broken, the picture is upright as stored."""

import re
import struct

UPRIGHT = 1
EXIF = b"Exif\0\0"
_TAG, _SHORT = 0x0112, 3
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])\b")


def of_exif(tiff: bytes) -> int:
    """The orientation in an Exif block (TIFF 6.0 section 2: header, then entries of 12 bytes), 1 if it has no valid one."""
    tiff = tiff.removeprefix(EXIF)
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        return _in_directory(tiff, order)
    except struct.error:  # it points behind its own end
        return UPRIGHT


def of_xmp(packet: bytes) -> int:
    """The orientation in XMP, 1 if there is none: some programs write it only there."""
    found = _XMP.search(packet)
    return int(found[1]) if found else UPRIGHT


def _in_directory(tiff: bytes, order: str) -> int:
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
        if tag == _TAG:
            return value if kind == _SHORT and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
