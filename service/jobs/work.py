"""Work: an event is computed once, however often it is delivered; its result is kept."""

from collections.abc import Callable

from service.call import Result
from service.errors import Cancelled, Conflict, ContentTooLarge, KindlingError, RequestError, Unprocessable
from service.jobs.job import CANCELLED, UNFINISHED, Job
from service.jobs.lease import Leases
from service.jobs.store import JobStore, NewJob


class Work:
    """Called by any number of threads.

    Args:
        max_result_bytes: a larger result is a failure.
        ended: called with the id of a job that was run, whatever came of it.
    """

    def __init__(
        self, jobs: JobStore, leases: Leases, max_result_bytes: int, ended: Callable[[str], None] = lambda _: None
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._max_result_bytes = max_result_bytes
        self._ended = ended

    def once(self, source: str, event_id: str, compute: Callable[[], Result]) -> Result:
        """The result of that event: the one that is kept, or else that of `compute`, which is kept from now on.

        Raises:
            Cancelled: the job was cancelled.
            Conflict: somebody else computes it.
            KindlingError: what `compute` raised; when it is the sender's fault it is kept, too.
        """
        return self.run(self._jobs.find(source, event_id) or self._jobs.create(NewJob(source, event_id))[0], compute)

    def run(self, job: Job, compute: Callable[[], Result]) -> Result:
        """As `once`, for a job that is there."""
        if not job.can_run:
            return self._kept(job.id)
        with self._leases.claim(job.id) as owner:
            if owner is None:
                return self._kept(job.id)
            try:
                return self._claimed(job.id, owner, compute)
            finally:
                self._ended(job.id)

    def _claimed(self, job_id: str, owner: str, compute: Callable[[], Result]) -> Result:
        try:
            result = self._bounded(compute())
        except RequestError as fault:
            self._jobs.fail(job_id, fault.status, str(fault), owner)
            raise
        except BaseException:
            self._jobs.release(job_id, owner)
            raise
        return result if self._jobs.succeed(job_id, owner, result) else self._kept(job_id)

    def _kept(self, job_id: str) -> Result:
        job = self._jobs.get(job_id)
        if job is None or job.status in UNFINISHED:
            raise Conflict("this request is being computed: ask again")
        if job.status == CANCELLED:
            raise Cancelled("the job was cancelled")
        if job.result is None:
            raise failure(job)
        return job.result

    def _bounded(self, result: Result) -> Result:
        if len(result.body) > self._max_result_bytes:
            raise ContentTooLarge(f"the result has {len(result.body)} bytes, more than MAX_RESULT_BYTES")
        return result


def failure(job: Job) -> KindlingError:
    """Why a failed job has no result, as it was when it failed."""
    fault = Unprocessable(job.error or "it failed")
    code = job.error_code or 0
    fault.status = code if 400 <= code < 600 else 500
    return fault
