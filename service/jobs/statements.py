"""The statements of store.py in SQL.

The two that every event needs are built only once, because building them takes longer than sending them.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from service.events.post import RETRIED
from service.jobs.job import FAILED, FINAL, QUEUED, RUNNING, SUCCEEDED
from service.jobs.schema import jobs

Time = float | sa.BindParameter[Any]
"""Unix time in seconds, or where one will be put."""

EVENT = (jobs.c.source, jobs.c.event_id)
NO_LEASE: Mapping[str, Any] = {"lease_owner": None, "lease_until_s": None}
NO_ERROR: Mapping[str, Any] = {"error": None, "error_code": None}

# A job that failed with one of these statuses was given up although another try may succeed: when its event comes again,
# it is run. The codes are literals; as parameters they would take longer than the rest of a statement.
_GIVEN_UP = sa.and_(
    jobs.c.status == FAILED, jobs.c.error_code.in_([sa.literal_column(f"{code}") for code in sorted(RETRIED)])
)


def scoped(made_by: str | None, text: str) -> str:
    """A source or an idempotency key as it is stored, so that those of two callers are never the same."""
    return text if made_by is None else f"{made_by}\n{text}"


def named(source: str, event_id: str, made_by: str | None) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.source == scoped(made_by, source), jobs.c.event_id == event_id)


def seen_by(viewer: str | None) -> sa.ColumnElement[bool]:
    """Whether a job may be seen by the caller of that name; where no keys are needed (None), all may be."""
    return sa.true() if viewer is None else jobs.c.made_by == viewer


def held_by(owner: str | sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.status == RUNNING, jobs.c.lease_owner == owner)


def is_free(now: Time) -> sa.ColumnElement[bool]:
    """Whether a job may be run: it is queued, its lease is over, or it was only given up."""
    is_over = sa.and_(jobs.c.status == RUNNING, jobs.c.lease_until_s <= now)
    return sa.or_(jobs.c.status == QUEUED, is_over, _GIVEN_UP)


def is_expired(now: Time) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.status.in_(FINAL), jobs.c.expires_s < now)


def until(end: Time) -> dict[str, Any]:
    """The end of a lease, and the time when the embedded delivery sends the job again."""
    return {"lease_until_s": end, "due_s": sa.case((jobs.c.due_s.is_not(None), end))}


def taken(owner: str | sa.BindParameter[Any], end: Time) -> dict[str, Any]:
    """The new values of a job that `owner` runs from now on."""
    return {"status": RUNNING, "attempts": jobs.c.attempts + 1, "lease_owner": owner, **until(end), **NO_ERROR}


def _begin(dialect: ModuleType) -> ReturningInsert[Any]:
    """An INSERT with ON CONFLICT, which SQLAlchemy has only for each database separately."""
    now: sa.BindParameter[Any] = sa.bindparam("now")
    run = {
        **taken(sa.bindparam("owner"), sa.bindparam("until")),
        "updated_s": now,
        "expires_s": sa.bindparam("expires"),
    }
    new = {
        "id": sa.bindparam("job"),
        "source": sa.bindparam("of"),
        "event_id": sa.bindparam("event_of"),
        "made_by": sa.bindparam("made_by"),
        "created_s": now,
    }
    free = sa.or_(is_free(now), is_expired(now))
    insert = dialect.insert(jobs).values({**new, **run, "attempts": 1, "due_s": None})
    return insert.on_conflict_do_update(index_elements=EVENT, set_=run, where=free).returning(jobs.c.id)  # type: ignore[no-any-return]


BEGIN = {"postgresql": _begin(postgresql), "sqlite": _begin(sqlite)}
"""By dialect. Parameters: job, of, event_of, made_by, owner, now, until, expires."""

SUCCEED = (
    jobs.update()
    .where(jobs.c.id == sa.bindparam("job"), held_by(sa.bindparam("owner")))
    .values(
        status=SUCCEEDED,
        result=sa.bindparam("body"),
        result_type=sa.bindparam("content_type"),
        result_headers=sa.bindparam("headers"),
        computed_s=sa.bindparam("computed"),
        updated_s=sa.bindparam("now"),
        expires_s=sa.bindparam("expires"),
        **NO_ERROR,
        **NO_LEASE,
    )
)
"""Parameters: job, owner, body, content_type, headers, computed, now, expires."""
