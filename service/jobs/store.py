"""JobStore: jobs in SQL, SQLite or PostgreSQL by the same statements.

Every change of status is one statement whose WHERE clause names the status before. So if two processes try, only one
succeeds.
"""

import json
import time
import uuid
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from service.call import Result
from service.jobs.database import Database
from service.jobs.job import CANCELLED, FAILED, FINAL, QUEUED, RUNNING, SUCCEEDED, Job, NewJob
from service.jobs.schema import jobs
from service.jobs.statements import (
    BEGIN,
    NO_ERROR,
    NO_LEASE,
    SUCCEED,
    held_by,
    is_expired,
    is_free,
    named,
    scoped,
    seen_by,
    taken,
    until,
)
from service.settings import Settings

# Expired jobs are looked for at most this often.
TIDY_S = 60.0
# How long a job that is not final is kept at least: a broker may still deliver its event.
UNFINISHED_S = 86_400.0
MAX_ERROR_CHARS = 1024


class JobStore:
    """Called by any number of threads and processes.

    Args:
        url: of the database.
        ttl_s: how long a job is kept once it is final.
        pool_size: most connections to PostgreSQL.

    Raises:
        StoreError: the database cannot be used.
    """

    def __init__(self, url: str, ttl_s: float, pool_size: int = Settings.database_pool_size) -> None:
        self._ttl_s = ttl_s
        self._tidy_at_s = 0.0
        self.database = Database(url, pool_size)

    def close(self) -> None:
        self.database.close()

    def create(self, new: NewJob) -> tuple[Job, bool]:
        """The job of an event, and whether it is new. A job that has the same event or key already is returned unchanged."""
        self._tidy()
        same, key = named(new.source, new.event_id, new.made_by), new.idempotency_key
        if key is not None:
            key = scoped(new.made_by, key)
            same = sa.or_(same, jobs.c.idempotency_key == key)
        described = {**asdict(new), "source": scoped(new.made_by, new.source), "idempotency_key": key}
        while True:
            now = time.time()
            values = {
                **described, "status": QUEUED, "created_s": now, "updated_s": now, "expires_s": self._expires_s(QUEUED),
            }  # fmt: skip
            with self.database.transaction() as connection:
                insert = _insert(connection).values(values).on_conflict_do_nothing().returning(jobs.c.id)
                is_new = connection.execute(insert).one_or_none() is not None
                if not is_new:
                    connection.execute(jobs.delete().where(same, is_expired(time.time())))
                row = connection.execute(sa.select(*_WHOLE).where(same)).one_or_none()
            # None: the job that was in the way has expired, or was just deleted.
            if row is not None:
                return _job(row), is_new

    def get(self, job_id: str, viewer: str | None = None) -> Job | None:
        """The job, if `viewer` may see it: one query, whether it is missing or another caller's."""
        return self._read(sa.and_(jobs.c.id == job_id, seen_by(viewer)))

    def find(self, source: str, event_id: str, made_by: str | None = None) -> Job | None:
        """The job of an event."""
        return self._read(named(source, event_id, made_by))

    def statuses(self, ids: Collection[str]) -> dict[str, str]:
        """The status of each of these jobs that still exists."""
        query = sa.select(jobs.c.id, jobs.c.status).where(jobs.c.id.in_(ids), sa.not_(is_expired(time.time())))
        with self.database.statement() as connection:
            return {row.id: row.status for row in connection.execute(query)}

    def event(self, job_id: str) -> bytes | None:
        """The request event of a job, in the JSON format."""
        with self.database.statement() as connection:
            return connection.execute(sa.select(jobs.c.event).where(jobs.c.id == job_id)).scalar_one_or_none()

    def page(
        self, status: str | None, limit: int, after: tuple[float, str] | None, viewer: str | None = None
    ) -> list[Job]:
        """The jobs that `viewer` may see, newest first, without results.

        `after` is the creation time and id of the last job of the previous page.
        """
        newest_first = jobs.c.created_s.desc(), jobs.c.id.desc()
        kept = sa.and_(seen_by(viewer), sa.not_(is_expired(time.time())))
        query = sa.select(*_LISTED).where(kept).order_by(*newest_first).limit(limit)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if after is not None:
            query = query.where(sa.tuple_(jobs.c.created_s, jobs.c.id) < sa.tuple_(*map(sa.literal, after)))
        with self.database.statement() as connection:
            return [_job(row) for row in connection.execute(query)]

    def begin(
        self, source: str, event_id: str, owner: str, lease_s: float, *, made_by: str | None = None
    ) -> str | None:
        """The id of an event's job, created if necessary and claimed for `owner`; None if `claim` fails."""
        self._tidy()
        now = time.time()
        values = {
            "job": uuid.uuid4().hex, "of": scoped(made_by, source), "event_of": event_id, "made_by": made_by,
            "owner": owner, "now": now, "until": now + lease_s, "expires": self._expires_s(RUNNING),
        }  # fmt: skip
        with self.database.statement() as connection:
            found: str | None = connection.execute(BEGIN[connection.dialect.name], values).scalar_one_or_none()
        return found

    def claim(self, job_id: str, owner: str, lease_s: float) -> bool:
        """Take a job to run it, if it is queued, its lease is over, or it was only given up; otherwise False."""
        return self._change(job_id, is_free(time.time()), **taken(owner, time.time() + lease_s))

    def renew(self, process: str, lease_s: float) -> int:
        """Prolong all leases whose owner's name has this beginning; returns how many."""
        held = sa.and_(jobs.c.status == RUNNING, jobs.c.lease_owner.startswith(f"{process}/", autoescape=True))
        with self.database.statement() as connection:
            return connection.execute(jobs.update().where(held).values(**until(time.time() + lease_s))).rowcount

    def succeed(self, job_id: str, owner: str, result: Result) -> bool:
        """Store the result; False if another owner has the lease by now."""
        values = {
            "job": job_id, "owner": owner, "body": result.body, "content_type": result.content_type,
            "headers": json.dumps(result.headers), "computed": result.computed_s,
            "now": time.time(), "expires": self._expires_s(SUCCEEDED),
        }  # fmt: skip
        with self.database.statement() as connection:
            return connection.execute(SUCCEED, values).rowcount == 1

    def release(self, job_id: str, owner: str) -> bool:
        """Give a claimed job back, to be run again."""
        return self._change(job_id, held_by(owner), status=QUEUED, **NO_LEASE)

    def fail(self, job_id: str, code: int, error: str, owner: str | None = None) -> bool:
        """Make the job failed; False if it is final already, or if `owner` has lost its lease."""
        condition = jobs.c.status.not_in(FINAL) if owner is None else held_by(owner)
        return self._change(job_id, condition, status=FAILED, error_code=code, error=_kept(error), **NO_LEASE)

    def cancel(self, job_id: str) -> bool:
        """Only a queued job can be cancelled."""
        return self._change(job_id, jobs.c.status == QUEUED, status=CANCELLED)

    def send_again(self, job_id: str, due_s: float | None) -> bool:
        """Queue a failed job again, as if it were new."""
        return self._change(
            job_id, jobs.c.status == FAILED, status=QUEUED, attempts=0, deliveries=0, due_s=due_s, **NO_ERROR
        )

    def keep_event(self, job_id: str, event: bytes, due_s: float | None = None) -> bool:
        """Store the event of a job that has none, so that it can be sent; False if it has one."""
        return self._change(job_id, jobs.c.event.is_(None), event=event, due_s=due_s)

    def sent(self, job_id: str) -> bool:
        """Note that a broker has the event; False if the job no longer exists."""
        return self._change(job_id, sa.true(), deliveries=jobs.c.deliveries + 1)

    def lost(self, job_id: str, quiet_s: float) -> bytes | None:
        """The event of a job that a broker has had for this long without a run; from now on it counts as sent again."""
        now = time.time()
        given_up = sa.or_(jobs.c.status == QUEUED, sa.and_(jobs.c.status == RUNNING, jobs.c.lease_until_s <= now))
        brokers = sa.and_(jobs.c.event.is_not(None), jobs.c.due_s.is_(None))
        condition = sa.and_(brokers, given_up, jobs.c.updated_s <= now - quiet_s)
        is_lost = self._change(job_id, condition, deliveries=jobs.c.deliveries + 1)
        return self.event(job_id) if is_lost else None

    def discard(self, job_id: str) -> bool:
        """Delete a queued job that no broker has taken."""
        return self._delete(job_id, sa.and_(jobs.c.status == QUEUED, jobs.c.deliveries == 0))

    def delete(self, job_id: str) -> bool:
        """Delete a job that is final."""
        return self._delete(job_id, jobs.c.status.in_(FINAL))

    def _tidy(self) -> None:
        """Now and then, delete jobs that have expired."""
        now = time.time()
        if now >= self._tidy_at_s:
            self._tidy_at_s = now + TIDY_S
            # Only the embedded delivery would deliver jobs that it has not finished, so these stay.
            forgotten = sa.or_(is_expired(time.time()), sa.and_(jobs.c.expires_s < now, jobs.c.due_s.is_(None)))
            with self.database.statement() as connection:
                connection.execute(jobs.delete().where(forgotten))

    def _expires_s(self, status: str | None) -> float:
        return time.time() + (self._ttl_s if status in FINAL else max(self._ttl_s, UNFINISHED_S))

    def _read(self, condition: sa.ColumnElement[bool]) -> Job | None:
        with self.database.statement() as connection:
            row = connection.execute(
                sa.select(*_WHOLE).where(condition, sa.not_(is_expired(time.time())))
            ).one_or_none()
        return None if row is None else _job(row)

    def _changed(self, **values: Any) -> dict[str, Any]:
        values["updated_s"] = time.time()
        if "status" in values:
            values["expires_s"] = self._expires_s(values["status"])
        return values

    def _change(self, job_id: str, condition: sa.ColumnElement[bool], **values: Any) -> bool:
        changed = jobs.update().where(jobs.c.id == job_id, condition).values(self._changed(**values))
        with self.database.statement() as connection:
            return connection.execute(changed).rowcount == 1

    def _delete(self, job_id: str, condition: sa.ColumnElement[bool]) -> bool:
        with self.database.statement() as connection:
            return connection.execute(jobs.delete().where(jobs.c.id == job_id, condition)).rowcount == 1


# All columns but the request event, which is large; and all but the event and the result.
_WHOLE = [column for column in jobs.c if column.name != "event"]
_LISTED = [column for column in _WHOLE if column.name != "result"]


def _insert(connection: Connection) -> Any:
    """With ON CONFLICT, which SQLAlchemy has only by database."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(jobs)


def _kept(error: str) -> str:
    """The text as it is stored: cut to a useful length, and without NUL, which PostgreSQL refuses."""
    return error[:MAX_ERROR_CHARS].replace("\0", "")


def _job(row: Row[Any]) -> Job:
    result = None
    if row.status == SUCCEEDED and (body := getattr(row, "result", None)) is not None:
        # A job of the first schema has only the time of its last change.
        computed_s = row.computed_s or row.updated_s
        result = Result(body, row.result_type, json.loads(row.result_headers), computed_s)
    source = row.source.removeprefix(scoped(row.made_by, ""))
    return Job(
        row.id, source, row.event_id, row.fingerprint, row.status, row.attempts, row.deliveries,
        row.created_s, row.updated_s, row.expires_s, result, row.error_code, row.error, row.made_by,
    )  # fmt: skip
