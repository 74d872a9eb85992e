"""Work: an event is computed once, however often it is delivered; its result is kept."""

from collections.abc import Callable

from service.call import Result
from service.errors import Cancelled, Conflict, ContentTooLarge, RequestError
from service.jobs.job import CANCELLED, UNFINISHED, Job, failure
from service.jobs.lease import Leases
from service.jobs.store import JobStore


class Work:
    """Called by any number of threads.

    Args:
        max_result_bytes: a larger result is a failure.
        ended: called with the id of each job that was run, whatever the result.
    """

    def __init__(
        self, jobs: JobStore, leases: Leases, max_result_bytes: int, ended: Callable[[str], None] = lambda _: None
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._max_result_bytes = max_result_bytes
        self._ended = ended

    def once(self, source: str, event_id: str, compute: Callable[[], Result], made_by: str | None = None) -> Result:
        """The result of the event: the stored one, or else that of `compute`, which is then stored.

        Raises:
            Cancelled: the job was cancelled.
            Conflict: it is being computed elsewhere.
            KindlingError: what `compute` raised; if it is the sender's fault, it is stored too.
        """

        def begin(owner: str, lease_s: float) -> str | None:
            return self._jobs.begin(source, event_id, owner, lease_s, made_by=made_by)

        return self._run(begin, lambda: self._jobs.find(source, event_id, made_by), compute)

    def run(self, job: Job, compute: Callable[[], Result]) -> Result:
        """As `once`, for a job that exists."""

        def claim(owner: str, lease_s: float) -> str | None:
            return job.id if self._jobs.claim(job.id, owner, lease_s) else None

        return self._run(claim, lambda: self._jobs.get(job.id), compute)

    def _run(
        self,
        take: Callable[[str, float], str | None],
        find: Callable[[], Job | None],
        compute: Callable[[], Result],
    ) -> Result:
        with self._leases.claim(take) as claimed:
            if claimed is None:
                return _kept(find())
            owner, job_id = claimed
            try:
                return self._claimed(job_id, owner, compute)
            finally:
                self._ended(job_id)

    def _claimed(self, job_id: str, owner: str, compute: Callable[[], Result]) -> Result:
        try:
            result = self._bounded(compute())
        except RequestError as fault:
            self._jobs.fail(job_id, fault.status, str(fault), owner)
            raise
        except BaseException:
            self._jobs.release(job_id, owner)
            raise
        return result if self._jobs.succeed(job_id, owner, result) else _kept(self._jobs.get(job_id))

    def _bounded(self, result: Result) -> Result:
        if len(result.body) > self._max_result_bytes:
            raise ContentTooLarge(f"the result has {len(result.body)} bytes, more than MAX_RESULT_BYTES")
        return result


def _kept(job: Job | None) -> Result:
    """The stored result or failure of a job that was run elsewhere."""
    if job is None or job.status in UNFINISHED:
        raise Conflict("this request is being computed: ask again")
    if job.status == CANCELLED:
        raise Cancelled("the job was cancelled")
    if job.result is None:
        raise failure(job)
    return job.result
