"""API keys, as API_KEYS has them: names, hashes and rates; `python -m service.keys NAME` makes a key.

A key has 192 random bits, so nobody finds it by trying: a plain SHA-256 hides it as well as a slow hash would, and
costs a request a microsecond instead of 100 ms.
"""

import hashlib
import hmac
import math
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
WANTED = "NAME=sha256:HEX or NAME=sha256:HEX;rate=10/s;burst=20, and commas or new lines between them"
# So that a secret scanner knows it for a key, and can say whose.
PREFIX = "kindling_"
KEY_BYTES = 24
# The name of the key that the process makes for its own requests; no entry can have it.
OWN = ""

_ENTRY = re.compile(
    rf"(?P<name>{NAME})=sha256:(?P<digest>[0-9a-fA-F]{{64}})"
    r"(;rate=(?P<count>[0-9]{1,9}(\.[0-9]{1,9})?)/(?P<unit>[smh])(;burst=(?P<burst>[0-9]{1,9}))?)?"
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_NOTHING = hashlib.sha256(b"").digest()
# What floats may lose when a bucket fills: far less than a request, far more than their error.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Rate:
    """So many requests a second in the long run, and so many at once after a pause."""

    per_s: float
    burst: int


@dataclass(frozen=True)
class Key:
    """An entry of API_KEYS. Keys of one name are one caller: they have the same jobs, and share a rate."""

    name: str
    digest: bytes = field(repr=False)
    rate: Rate | None = None


class Bucket:
    """Tokens that a rate puts in and requests take out. Called by any number of threads."""

    def __init__(self, rate: Rate, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._lock = threading.Lock()
        self._tokens = float(rate.burst)
        self._filled_s = now()

    def take(self) -> float:
        """0 if there was a token, which is taken; otherwise the seconds until there is one."""
        with self._lock:
            now = self._now()
            self._tokens = min(self._rate.burst, self._tokens + (now - self._filled_s) * self._rate.per_s)
            self._filled_s = now
            if self._tokens < 1 - _TOLERANCE:
                return (1 - self._tokens) / self._rate.per_s
            self._tokens -= 1
            return 0.0


class Keyring:
    """Tells callers by their keys. Called by any number of threads."""

    def __init__(self, keys: Sequence[Key], now: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._buckets = {key.name: Bucket(key.rate, now) for key in keys if key.rate is not None}

    def name_of(self, key: str) -> str | None:
        """Whose key it is. However it begins, and whether it is one, it is compared with all of them."""
        digest, found = digest_of(key), None
        for each in self._keys:
            if hmac.compare_digest(each.digest, digest):
                found = each.name
        return found

    def wait_s(self, name: str) -> float:
        """0 if this caller may have one more request now; otherwise the seconds until it may."""
        return self._buckets[name].take() if name in self._buckets else 0.0


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()


def parse(text: str) -> tuple[Key, ...]:
    """The entries of API_KEYS.

    Raises:
        ValueError: what was wanted instead; nothing of the text is in it.
    """
    keys = tuple(_key(entry) for each in re.split(r"[,\n]", text) if (entry := each.strip()))
    if not keys:
        raise ValueError(WANTED)
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("each hash once")
    rates = {key.name: key.rate for key in keys}
    for key in keys:
        if key.rate != rates[key.name]:
            raise ValueError(f"the same rate and burst in all entries of {key.name}")
    return keys


def _key(entry: str) -> Key:
    if not (found := _ENTRY.fullmatch(entry)):
        raise ValueError(WANTED)
    digest = bytes.fromhex(found["digest"])
    if digest == _NOTHING:
        raise ValueError(f"the hash of a key, but that of {found['name']} is the hash of an empty text")
    if found["count"] is None:
        return Key(found["name"], digest)
    per_s = float(found["count"]) / _SECONDS[found["unit"]]
    burst = math.ceil(per_s) if found["burst"] is None else int(found["burst"])
    if not per_s or not burst:
        raise ValueError(f"a rate and a burst of more than 0 for {found['name']}")
    return Key(found["name"], digest, Rate(per_s, burst))


def make() -> str:
    """A new key."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def main(arguments: Sequence[str]) -> int:
    """Print a new key and its entry; 2 if there is no usable name."""
    if len(arguments) != 1 or not re.fullmatch(NAME, arguments[0]):
        print(f"usage: python -m service.keys NAME, which matches {NAME}", file=sys.stderr)
        return 2
    key = make()
    print(f"key, for the caller alone: {key}")
    print(f"entry of API_KEYS:         {arguments[0]}=sha256:{digest_of(key).hex()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
