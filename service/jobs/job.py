"""A job, and the statuses that it goes through.

             cancel
    queued ──────────► cancelled
     ▲  │
     │  │ claim: one process has it, with a lease
     │  ▼
    running ──────────► succeeded
     │  │    compute
     │  └─────────────► failed ──── send again ────► queued
     │                    ▲
     └► queued            └── queued: the broker gave it up
        released (429, 5xx), or its lease is over

Every arrow is one SQL statement that says from which status it may start (store.py), so of two that try one succeeds.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from service.call import Call, Result
from service.errors import KindlingError, Unprocessable

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"
STATUSES = (QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED)
UNFINISHED = (QUEUED, RUNNING)
FINAL = (SUCCEEDED, FAILED, CANCELLED)


@dataclass(frozen=True)
class Job:
    """A job as it was when it was read. Times are Unix times in seconds; in a list, `result` is always None.

    `made_by` is the name of the API key that made it.
    """

    id: str
    source: str
    event_id: str
    fingerprint: str
    status: str
    attempts: int
    deliveries: int
    created_s: float
    updated_s: float
    expires_s: float
    result: Result | None
    error_code: int | None
    error: str | None
    made_by: str | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


@dataclass(frozen=True)
class NewJob:
    """A job to be created.

    `event` is the request event in the JSON format, None if its sender keeps it; `due_s` is when the embedded delivery
    sends it, None if a broker delivers.
    """

    source: str
    event_id: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    event: bytes | None = None
    fingerprint: str = ""
    idempotency_key: str | None = None
    due_s: float | None = None
    made_by: str | None = None


@dataclass(frozen=True)
class Asked:
    """How a job was asked for: the caller, None where no keys are needed; Idempotency-Key; the headers, for tracing."""

    caller: str | None
    key: str | None
    trace: Mapping[str, str]


def fingerprint(call: Call) -> str:
    """A digest of the request: equal requests have equal digests."""
    described = json.dumps([call.protocol, call.header_length, call.top]).encode()
    return hashlib.sha256(described + b"\0" + call.body).hexdigest()


def failure(job: Job) -> KindlingError:
    """The error that a failed job has instead of a result."""
    fault = Unprocessable(job.error or "it failed")
    code = job.error_code or 0
    fault.status = code if 400 <= code < 600 else 500
    return fault
