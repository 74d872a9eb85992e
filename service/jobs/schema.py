"""The table of jobs, its creation and upgrade, in SQLite and PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_metadata = sa.MetaData()
jobs = sa.Table(
    "kindling_jobs",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    # The name of the API key that made it; None where no keys are needed.
    sa.Column("made_by", sa.Text),
    # Of the request event; together they identify it (CloudEvents, section "source"). Callers with keys have names of
    # their own: before the source, and before the idempotency key, stand `made_by` and a line end, which neither may have.
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text, unique=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, server_default=""),
    sa.Column("status", sa.String(9), nullable=False),
    # How often computing began, and how often the event was sent.
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("deliveries", sa.Integer, nullable=False, server_default="0"),
    # Unix times, in seconds.
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("updated_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False),
    # When the embedded delivery sends it (again); None where a broker does.
    sa.Column("due_s", sa.Double),
    sa.Column("lease_until_s", sa.Double),
    sa.Column("lease_owner", sa.Text),
    # The request event, in the JSON format; None when its sender keeps it.
    sa.Column("event", sa.LargeBinary),
    sa.Column("result", sa.LargeBinary),
    sa.Column("result_type", sa.Text),
    sa.Column("result_headers", sa.Text),
    sa.Column("computed_s", sa.Double),
    sa.Column("error_code", sa.Integer),
    sa.Column("error", sa.Text),
    sa.UniqueConstraint("source", "event_id"),
)
sa.Index("kindling_jobs_listed", jobs.c.created_s, jobs.c.id)
_has_maker = jobs.c.made_by.is_not(None)
sa.Index(
    "kindling_jobs_made_by",
    jobs.c.made_by,
    jobs.c.created_s,
    jobs.c.id,
    postgresql_where=_has_maker,
    sqlite_where=_has_maker,
)
sa.Index("kindling_jobs_due", jobs.c.status, jobs.c.due_s)
sa.Index("kindling_jobs_expired", jobs.c.expires_s)

_versions = sa.Table("kindling_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))
# A new database gets the tables above; an older one is upgraded, by one statement from each schema to the next.
UPGRADES: Sequence[str] = (
    "ALTER TABLE kindling_jobs ADD COLUMN computed_s DOUBLE PRECISION",
    "ALTER TABLE kindling_jobs ADD COLUMN made_by TEXT",
    "CREATE INDEX kindling_jobs_made_by ON kindling_jobs (made_by, created_s, id) WHERE made_by IS NOT NULL",
)
# The key of PostgreSQL's lock around creation and upgrade; any number will do.
_SCHEMA_LOCK = 4_935_612


class StoreError(Exception):
    """The database cannot be used: one sentence that says why."""


def prepare(connection: Connection) -> None:
    """Create the tables, or upgrade them; one process at a time.

    Raises:
        StoreError: the tables are those of a newer program.
    """
    newest = 1 + len(UPGRADES)
    with _alone(connection):
        _metadata.create_all(connection)
        found = connection.execute(sa.select(sa.func.max(_versions.c.version))).scalar_one()
        if found is not None and found > newest:
            raise StoreError(f"the database has schema {found}, this program knows only {newest}: update it")
        for statement in () if found is None else UPGRADES[found - 1 :]:
            connection.execute(sa.text(statement))
        if found != newest:
            connection.execute(_versions.insert().values(version=newest))


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """A transaction that excludes all other processes."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    yield
    connection.commit()
