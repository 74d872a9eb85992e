"""What the text of an environment variable means. Every ValueError says what was wanted instead."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

IMAGE_FORMATS = ("JPEG", "PNG", "WebP", "AVIF", "GIF", "BMP", "TIFF")
URL = "http://HOST/PATH or https://HOST/PATH"
S3_URL = "s3://BUCKET/PATH"
# A bucket's name (docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html); ARNs are refused.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# The origin of a webhook is a DNS name (cloudevents/spec, http-webhook.md, 4.1.2).
_ORIGIN = re.compile(r"\*|[a-z0-9_-]+(\.[a-z0-9_-]+)*")

_WEB_ORIGIN = re.compile(r"https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def scalar(text: str, kind: Any, low: float | None) -> Any:
    """The text as the field's type: text, yes or no, a path, or a number of at least `low`."""
    if kind in (str, str | None):
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if kind in (Path, Path | None):
        return Path(text)
    wanted = ("a whole number" if kind is int else "a number") + ("" if low is None else f" of at least {low:g}")
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(wanted) from None
    if not (low is None or low <= value < float("inf")):
        raise ValueError(wanted)
    return value


def image_formats(text: str) -> tuple[str, ...]:
    """The formats that IMAGE_FORMATS names, in upper or lower case."""
    written = {name.lower(): name for name in IMAGE_FORMATS}
    asked = [name for each in text.split(",") if (name := each.strip().lower())]
    if not asked or not written.keys() >= set(asked):
        raise ValueError(f"some of {', '.join(IMAGE_FORMATS)}, and commas between them")
    return tuple(dict.fromkeys(written[name] for name in asked))


def urls(text: str) -> tuple[str, ...]:
    """Beginnings of URLs; those of S3 are valid only where its SDK is installed."""
    found = tuple(url for each in text.split(",") if (url := each.strip()))
    if not all(is_url(url) or is_of_s3(url) for url in found):
        raise ValueError(f"{URL} or {S3_URL}, and commas between them")
    if any(map(is_of_s3, found)) and find_spec("botocore") is None:
        raise ValueError("for s3:// the package botocore: install it, or build the image with EXTRA=s3")
    return found


def origins(text: str) -> tuple[str, ...]:
    """DNS names of senders, or `*`."""
    found = tuple(origin for each in text.lower().split(",") if (origin := each.strip()))
    if not all(map(_ORIGIN.fullmatch, found)):
        raise ValueError("names of DNS, and commas between them, or *")
    return found


def web_origins(text: str) -> tuple[str, ...]:
    """Origins of pages as browsers name them, without the port that the scheme has anyway; or `*`."""
    found = tuple(origin for each in text.lower().split(",") if (origin := each.strip()))
    if not found or not all(each == "*" or _WEB_ORIGIN.fullmatch(each) for each in found):
        raise ValueError("https://HOST or http://HOST:PORT, and commas between them, or *")
    ports = {"http": ":80", "https": ":443"}
    return tuple(each.removesuffix(ports.get(each.partition("://")[0], "?")) for each in found)


def is_of_s3(url: str) -> bool:
    """Whether it is s3://BUCKET, with or without a key."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    usable = key.isascii() and key.isprintable() and not set(key) & set(" ?#")
    return url.startswith("s3://") and usable and _BUCKET.fullmatch(bucket) is not None


def access_log(text: str) -> str:
    """How the access log is written."""
    if text not in ("off", "text", "json"):
        raise ValueError("off, text or json")
    return text


def is_url(text: str) -> bool:
    """Whether it is an address by HTTP."""
    try:
        parts = urlsplit(text)
        usable = text.isascii() and text.isprintable() and " " not in text
        return usable and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def are_overrides(text: str) -> bool:
    """Whether it is what Knative puts into K_CE_OVERRIDES."""
    try:
        extensions = json.loads(text).get("extensions", {})
    except (ValueError, AttributeError, RecursionError):
        return False
    return isinstance(extensions, dict) and all(isinstance(each, str) for each in extensions.values())
