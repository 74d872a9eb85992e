"""Recognises a picture's format by its first bytes, and says what to do if that format is not accepted."""

from collections.abc import Sequence

from service.errors import Unprocessable

FORMATS = ("JPEG", "PNG", "WebP", "AVIF", "GIF", "BMP", "TIFF")
"""What IMAGE_FORMATS may name."""
DEFAULT = ("JPEG", "PNG", "WebP", "AVIF")

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\xf7\xff", "JPEG-LS"),
    (b"8BPS", "Photoshop document"),
    (b"\0\0\x01\0", "icon"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
)
# Major brands of ISO base media files (ISO/IEC 23008-12 annex B, AV1 Image File Format 1.1 section 8; mp4ra.org).
_BRANDS = (
    ((b"avif", b"avis"), "AVIF"),
    ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    ((b"crx ",), "Canon raw picture"),
    ((b"mif1", b"msf1", b"mif2"), "HEIF"),
)
_TEXT = (
    (b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<svg", "SVG"), (b"<?xml", "XML"), (b"{", "JSON"), (b"[", "JSON"),
    (b"data:image/", "data URI"),
)  # fmt: skip
_ADVICE = {
    "HEIC": "convert it to JPEG (iPhone: Settings > Camera > Formats > Most Compatible takes JPEG)",
    "HTML": "is it the error page of the server that the picture came from?",
    "JSON": "is it the error of the server that the picture came from?",
    "gzip data": "send it uncompressed",
    "data URI": "send the bytes behind it, decoded from base64",
}
_ADVICE["HEIF"] = _ADVICE["HEIC"]


def accepted_format(encoded: bytes, accepted: Sequence[str]) -> str:
    """Which of the accepted formats it is.

    Raises:
        Unprocessable: it is none of them; the message names its format, and says what to do.
    """
    found = _recognised(encoded)
    if found in accepted:
        return found
    wanted = f"wanted {_either(accepted)}"
    if not found:
        raise Unprocessable(f"not a picture: {wanted}")
    advice = _ADVICE.get(found, "convert it")
    if found in FORMATS:
        advice = "convert it, or name it in IMAGE_FORMATS"
    raise Unprocessable(f"{found}: {wanted}; {advice}")


def _recognised(encoded: bytes) -> str:
    """The name of the format, or "" if it is unknown."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WebP"
    if encoded[4:8] == b"ftyp":
        return _by_brand(encoded)
    for magic, name in _MAGIC:
        if encoded.startswith(magic):
            return name
    return _by_text(encoded)


def _by_brand(encoded: bytes) -> str:
    """By the major brand; a general one is narrowed by the compatible brands that follow it."""
    end = min(int.from_bytes(encoded[:4]), 256)
    brands = [encoded[8:12], *(encoded[at : at + 4] for at in range(16, end, 4))]
    for known, name in _BRANDS:
        if brands[0] in known[: None if name != "HEIF" else 0]:
            return name
    for known, name in _BRANDS:
        if brands[0] in _BRANDS[-1][0] and any(brand in known for brand in brands):
            return name
    return "video"


def _by_text(encoded: bytes) -> str:
    beginning = encoded[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, name in _TEXT:
        if beginning.startswith(mark):
            return "SVG" if name == "XML" and b"<svg" in beginning else name
    return ""


def _either(names: Sequence[str]) -> str:
    """The names as in a sentence: `JPEG, PNG or WebP`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
