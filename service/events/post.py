"""Posts one event to its receiver by HTTP, and reads the answer."""

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from service.events import codec

# As in Knative Eventing: these answers and a broken connection are tried again, every other answer is final
# (knative.dev/eventing, pkg/kncloudevents/retries.go).
RETRIED = frozenset((404, 408, 409, 429, *range(500, 600)))
# The longest wait that Retry-After may ask for.
MAX_RETRY_AFTER_S = 60.0
MAX_SAID_BYTES = 1024


@dataclass(frozen=True)
class Answer:
    """`status` is 0 if there was no answer; `said` is why it is not a success."""

    status: int
    said: str = ""
    retry_after_s: float = 0.0

    @property
    def is_taken(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_final(self) -> bool:
        """Whether another try would get the same answer."""
        return self.is_taken or (self.status != 0 and self.status not in RETRIED)


def post(
    url: str, event: codec.Event, timeout_s: float, credentials: Mapping[str, str] = MappingProxyType({})
) -> Answer:
    """The answer to the event; raises nothing. Redirects and proxies are not used, because both lose events."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    message = codec.encode(codec.BINARY, [event])
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with closing(kind(str(parts.hostname), parts.port, timeout=timeout_s)) as connection:
        try:
            connection.request("POST", path, message.body, {**message.headers, "Prefer": "reply", **credentials})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException, ValueError) as fault:
            return Answer(0, f"no answer ({fault or type(fault).__name__})")
    if 200 <= response.status < 300:
        return Answer(response.status)
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after[:9]) if retry_after.isascii() and retry_after.isdigit() else 0.0
    return Answer(response.status, _reason(body[:MAX_SAID_BYTES]), min(seconds, MAX_RETRY_AFTER_S))


def _reason(body: bytes) -> str:
    """The message in an error of this service, or any other text of the answer."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
