"""A job, and the statuses that it goes through.

queued ──claim──► running ──► succeeded | failed
  ▲  └─cancel─► cancelled │        failed ──send again──► queued
  └──── released, or its lease is over ◄┘
"""

from dataclasses import dataclass

from service.call import Result

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"
STATUSES = (QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED)
UNFINISHED = (QUEUED, RUNNING)
FINAL = (SUCCEEDED, FAILED, CANCELLED)


@dataclass(frozen=True)
class Job:
    """A job as it was when it was read. Times are Unix times in seconds; `result` is None in a list, too."""

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

    @property
    def is_final(self) -> bool:
        return self.status in FINAL
