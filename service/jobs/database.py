"""Database: SQLite or PostgreSQL, with the tables in it; its errors become one sentence."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from service.errors import NotReady
from service.jobs import schema
from service.jobs.connections import Connections
from service.jobs.schema import StoreError
from service.settings import Settings

logger = logging.getLogger("kindling")

WANTED = "wanted sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
# How long to wait for SQLite's locked file, and for a PostgreSQL that has gone silent (libpq, "Parameter Key Words").
BUSY_MS = 10_000
POSTGRESQL = {"connect_timeout": "5", "tcp_user_timeout": "10000"}
# A connection that was idle for this long is tested before use. If each use were tested, that would be a third of an
# event's queries. If the server ends in between, one statement fails, and senders try again.
TRUSTED_S = 1.0
USED_S = "used_s"
# Readers do not wait for each other, and a writer waits for BUSY_MS. This is SQLAlchemy's default.
SQLITE_CONNECTIONS = 15


class Database:
    """Called by any number of threads.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`, with SQLAlchemy's and libpq's parameters.
        pool_size: most connections to PostgreSQL. SQLite's connections are only open files.

    Raises:
        StoreError: the database cannot be used.
    """

    def __init__(self, url: str, pool_size: int = Settings.database_pool_size) -> None:
        parsed = _parse(url)
        most = SQLITE_CONNECTIONS if parsed.get_backend_name() == "sqlite" else pool_size
        self._engine = sa.create_engine(parsed, pool_size=most, max_overflow=0)
        self._connections = Connections(most)
        # Uses the same connections.
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        if self.file is not None:
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
        else:
            sa.event.listen(self._engine, "connect", _prepare_postgresql)
            sa.event.listen(self._engine, "checkin", _note_use)
            sa.event.listen(self._engine, "checkout", self._ask_after_a_pause)
        try:
            with self._connections.one(self._engine.connect) as connection:
                schema.prepare(connection)
        except StoreError:
            self.close()
            raise
        except sa.exc.SQLAlchemyError as fault:
            self.close()
            raise StoreError(f"the database {parsed!r} cannot be used: {_cause(fault)}") from fault

    @property
    def file(self) -> Path | None:
        """SQLite's file."""
        url = self._engine.url
        return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """A connection for one statement, which is a transaction of its own."""
        with _told(), self._connections.one(self._autocommit.connect) as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with _told(), self._connections.one(self._engine.connect) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    def _ask_after_a_pause(self, connection: Any, record: Any, _: Any) -> None:
        if time.monotonic() - record.info.get(USED_S, math.inf) <= TRUSTED_S:
            return
        dialect = self._engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as fault:
            # All connections in the pool are as old; the caller gets a new one.
            raise sa.exc.InvalidatePoolError from fault


def import_driver(url: str) -> None:
    """Import what the database at `url` needs; nothing is connected.

    Raises:
        StoreError: the URL cannot be used.
    """
    _parse(url).get_dialect().import_dbapi()


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise StoreError(f"DATABASE_URL cannot be read: {WANTED}") from None
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        folder = Path(parsed.database).absolute().parent
        if not folder.is_dir():
            raise StoreError(f"DATABASE_URL: there is no folder {folder}")
        return parsed
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg", query={**POSTGRESQL, **parsed.query})
    raise StoreError(f"DATABASE_URL is {parsed!r}: {WANTED}")


def _note_use(_: Any, record: Any) -> None:
    record.info[USED_S] = time.monotonic()


def _prepare_postgresql(connection: Any, _: Any) -> None:
    """Prepare no statements behind a pooler, which may give the next transaction to another server process.

    A pooler invents the process number that it reports at the start of a connection (PgBouncer: client_proto.c,
    `cancel_key`), so it can be noticed without a setting. To prepare nothing at all would make the two statements of an
    event 40 % slower: 2.25 ms instead of 1.59 (20 x 150 events, paired).
    """
    connection.autocommit = True
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = False
    if pid != connection.info.backend_pid:
        connection.prepare_threshold = None


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Allow readers beside a writer; every commit is on the disk."""
    for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def _told() -> Iterator[None]:
    """Turn the error of a database that does not answer into NotReady, so that senders try again."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError) as fault:
        logger.error("the job store does not answer: %s", _cause(fault))  # noqa: TRY400 - one sentence is enough
        raise NotReady("the job store does not answer") from None


def _cause(fault: Exception) -> str:
    """The database's own words, in one line."""
    return " ".join(str(getattr(fault, "orig", fault)).split()) or type(fault).__name__
