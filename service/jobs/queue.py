"""DeliveryQueue: what the embedded delivery has to send, and when; durable, because it is in the table of jobs."""

import time

import sqlalchemy as sa

from service.jobs.database import Database
from service.jobs.job import QUEUED, UNFINISHED
from service.jobs.schema import jobs
from service.jobs.statements import NO_LEASE

_UNFINISHED = sa.and_(jobs.c.status.in_(UNFINISHED), jobs.c.due_s.is_not(None))


class DeliveryQueue:
    """Called by any number of threads and processes. Times are Unix times in seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, until_s: float) -> tuple[str, bytes, int] | None:
        """(id, event, deliveries before) of a job that is due; it is due again at `until_s`."""
        query = sa.select(jobs.c.id, jobs.c.due_s, jobs.c.event, jobs.c.deliveries)
        query = query.where(_UNFINISHED, jobs.c.due_s <= time.time()).order_by(jobs.c.due_s).limit(1)
        with self._database.statement() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        # If two processes read the same row, only one changes it.
        mine = sa.and_(jobs.c.id == row.id, jobs.c.due_s == row.due_s, _UNFINISHED)
        sent = jobs.update().where(mine).values(due_s=until_s, deliveries=jobs.c.deliveries + 1)
        with self._database.statement() as connection:
            is_mine = connection.execute(sent).rowcount == 1
        return (row.id, row.event, row.deliveries) if is_mine else None

    def put_off(self, job_id: str, due_s: float) -> bool:
        """Send a queued job no earlier than this."""
        statement = jobs.update().where(jobs.c.id == job_id, jobs.c.status == QUEUED).values(due_s=due_s)
        with self._database.statement() as connection:
            return connection.execute(statement).rowcount == 1

    def next_s(self) -> float | None:
        """When the next job is due."""
        with self._database.statement() as connection:
            found: float | None = connection.execute(sa.select(sa.func.min(jobs.c.due_s)).where(_UNFINISHED)).scalar()
        return found

    def release_all(self) -> int:
        """Make all jobs due now; for the only process that delivers, when it starts."""
        statement = jobs.update().where(_UNFINISHED).values(status=QUEUED, due_s=time.time(), **NO_LEASE)
        with self._database.statement() as connection:
            return connection.execute(statement).rowcount
