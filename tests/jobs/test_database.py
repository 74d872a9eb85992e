"""The database itself: opened, brought up to date, out of reach, and rid of what has expired."""

import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.call import Result
from service.errors import NotReady
from service.jobs import database as databases
from service.jobs import schema
from service.jobs import store as stores
from service.jobs.database import Database
from service.jobs.job import CANCELLED, FAILED, FINAL, SUCCEEDED, Job, NewJob
from service.jobs.schema import StoreError
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S
from tests.support import postgresql as postgres
from tests.support.postgresql import PostgreSQL
from tests.support.serving import HOST, free_port

RESULT = Result(b"{}")
OPENERS = 8
WANTED = "wanted sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"


def _new(store: JobStore, event_id: str) -> Job:
    return store.create(NewJob("/test", event_id, event=b"{}"))[0]


def _refusal(url: str) -> str:
    with pytest.raises(StoreError) as fault:
        Database(url)
    assert "\n" not in str(fault.value)
    assert "secret" not in str(fault.value)
    return str(fault.value)


@pytest.mark.parametrize("url", ["jobs", "postgresql://me:secret@host:port/jobs", "sqlite:jobs.db", "http//x"])
def test_an_unreadable_url_is_one_sentence(url: str) -> None:
    assert _refusal(url) == f"DATABASE_URL cannot be read: {WANTED}"


@pytest.mark.parametrize(
    "url",
    ["mysql://me:secret@host/jobs", "postgresql+psycopg2://host/jobs", "sqlite://", "sqlite:///:memory:", "x://y"],
)
def test_another_kind_of_database_is_one_sentence(url: str) -> None:
    told = _refusal(url)
    assert told.startswith("DATABASE_URL is ")
    assert told.endswith(WANTED)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    assert _refusal(f"sqlite:///{tmp_path}/no/jobs.sqlite") == f"DATABASE_URL: there is no folder {tmp_path}/no"


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    """Not even by root: files of one's own cannot be in /proc."""
    url = "sqlite:////proc/jobs.sqlite"
    assert _refusal(url) == f"the database {url} cannot be used: unable to open database file"


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_text("something else, and no less than a page of it\n" * 100)
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    assert _refusal(url) == f"the database {url} cannot be used: file is not a database"


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    told = _refusal(f"postgres://me:secret@{HOST}:{free_port()}/jobs")
    assert told.startswith(f"the database postgresql+psycopg://me:***@{HOST}:")
    assert "Connection refused" in told


def test_a_server_without_the_database_is_one_sentence(postgresql: PostgreSQL) -> None:
    assert 'database "nowhere" does not exist' in _refusal(postgresql.url("nowhere"))


def test_the_urls_own_parameters_count(postgresql: PostgreSQL) -> None:
    assert "wrong_option" in _refusal(f"{postgresql.database()}?wrong_option=1")
    url = f"{postgresql.database()}?connect_timeout=2&application_name=mine"
    database = Database(url)
    with database.statement() as connection:
        assert connection.exec_driver_sql("SHOW application_name").scalar_one() == "mine"
    database.close()


def test_a_database_of_a_newer_program_is_one_sentence_and_stays_as_it_is(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = 1 + len(schema.UPGRADES)
    monkeypatch.setattr(schema, "UPGRADES", ("SELECT 1",) * (known + 1))
    Database(database_url).close()
    monkeypatch.undo()
    assert _refusal(database_url) == f"the database has schema {known + 2}, this program knows only {known}: update it"


def test_of_many_that_come_at_the_same_time_one_creates_and_one_upgrades(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pods do when a burst wakes them, the first of a revision."""
    begin = threading.Barrier(OPENERS)

    def open_one(_: int) -> None:
        begin.wait()
        Database(database_url).close()

    known = schema.UPGRADES
    with ThreadPoolExecutor(OPENERS) as pool:
        list(pool.map(open_one, range(OPENERS)))
        monkeypatch.setattr(schema, "UPGRADES", (*known, "ALTER TABLE kindling_jobs ADD COLUMN added TEXT"))
        list(pool.map(open_one, range(OPENERS)))
    database = Database(database_url)
    with database.statement() as connection:
        versions = connection.exec_driver_sql("SELECT version FROM kindling_schema ORDER BY version").scalars().all()
    assert versions == [1 + len(known), 2 + len(known)]
    database.close()


def test_an_older_database_is_brought_up_to_date_with_its_jobs(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = JobStore(database_url, JOB_TTL_S)
    job, _ = before.create(NewJob("/test", "1"))
    known = schema.UPGRADES
    upgrades = ("ALTER TABLE kindling_jobs ADD COLUMN first TEXT", "ALTER TABLE kindling_jobs ADD COLUMN second TEXT")
    for newest in (1, 2):
        monkeypatch.setattr(schema, "UPGRADES", (*known, *upgrades[:newest]))
        for _ in range(2):  # and again, with nothing left to do
            store = JobStore(database_url, JOB_TTL_S)
            assert store.get(job.id) == job
            store.close()
    database = Database(database_url)
    with database.statement() as connection:
        assert connection.exec_driver_sql("SELECT first, second FROM kindling_jobs").all() == [(None, None)]
        versions = connection.exec_driver_sql("SELECT version FROM kindling_schema ORDER BY version").scalars().all()
    assert versions == [1 + len(known) + more for more in (0, 1, 2)]
    # A pod of the revision before, which is still at work, goes on.
    assert before.cancel(job.id)
    before.close()
    database.close()


def test_a_database_of_the_first_schema_keeps_its_results(database_url: str) -> None:
    store = JobStore(database_url, JOB_TTL_S)
    job, _ = store.create(NewJob("/test", "1"))
    assert store.claim(job.id, "owner", 60.0)
    assert store.succeed(job.id, "owner", RESULT)
    with store.database.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE kindling_jobs DROP COLUMN computed_s")
        connection.exec_driver_sql("DROP INDEX kindling_jobs_made_by")
        connection.exec_driver_sql("ALTER TABLE kindling_jobs DROP COLUMN made_by")
        connection.exec_driver_sql("UPDATE kindling_schema SET version = 1")
    store.close()
    upgraded = JobStore(database_url, JOB_TTL_S)
    kept = upgraded.get(job.id)
    assert kept is not None
    assert kept.result == RESULT
    assert kept.result.computed_s == kept.updated_s
    upgraded.close()


def test_an_upgrade_that_fails_leaves_everything_as_it_was(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(database_url).close()
    faulty = ("ALTER TABLE kindling_jobs ADD COLUMN added TEXT", "no statement")
    monkeypatch.setattr(schema, "UPGRADES", (*schema.UPGRADES, *faulty))
    assert "syntax error" in _refusal(database_url)
    monkeypatch.undo()
    database = Database(database_url)
    with database.statement() as connection:
        assert "added" not in connection.exec_driver_sql("SELECT * FROM kindling_jobs").keys()  # noqa: SIM118
    database.close()


def test_a_locked_file_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "BUSY_MS", 10)
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite", JOB_TTL_S)
    other = sqlite3.connect(tmp_path / "jobs.sqlite")
    other.execute("BEGIN IMMEDIATE")
    assert store.page(None, 10, None) == []  # who only reads does not wait
    with pytest.raises(NotReady, match="the job store does not answer"):
        store.create(NewJob("/test", "1"))
    other.rollback()
    other.close()
    assert store.create(NewJob("/test", "1"))[1]
    store.close()


@pytest.mark.parametrize("trusted_s", [0.0, 60.0])
def test_a_server_that_goes_away_is_not_ready_and_found_again(
    postgresql_binaries: Path, trusted_s: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(databases, "TRUSTED_S", trusted_s)
    with postgres.running(postgresql_binaries) as server:
        store = JobStore(server.database(), JOB_TTL_S)
        job, _ = store.create(NewJob("/test", "1"))
        server.stop()
        caplog.clear()
        with pytest.raises(NotReady, match="the job store does not answer"):
            store.get(job.id)
        ((_, level, told),) = caplog.record_tuples
        assert level == logging.ERROR
        assert "\n" not in told
        server.start()
        assert store.get(job.id) == job
        store.close()


def test_a_server_that_was_away_after_a_pause_is_not_missed(
    postgresql_binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.running(postgresql_binaries) as server:
        store = JobStore(server.database(), JOB_TTL_S)
        job, _ = store.create(NewJob("/test", "1"))
        server.stop()
        server.start()
        monkeypatch.setattr(databases, "TRUSTED_S", 0.0)
        assert store.get(job.id) == job
        store.close()


def test_a_server_that_only_reads_is_not_ready(postgresql: PostgreSQL) -> None:
    url = postgresql.database()
    Database(url).close()
    store = JobStore(f"{url}?options=-c%20default_transaction_read_only%3Don", JOB_TTL_S)
    with pytest.raises(NotReady):
        store.create(NewJob("/test", "1"))
    assert store.page(None, 10, None) == []
    store.close()


@pytest.mark.parametrize("status", FINAL)
def test_what_is_final_expires(database_url: str, status: str) -> None:
    store = JobStore(database_url, ttl_s=-1)
    job, _ = store.create(NewJob("/test", "1", event=b"{}", idempotency_key="key"))
    ends = {SUCCEEDED: lambda: store.succeed(job.id, "owner", RESULT), FAILED: lambda: store.fail(job.id, 422, "why"),
            CANCELLED: lambda: store.cancel(job.id)}  # fmt: skip
    assert status != SUCCEEDED or store.claim(job.id, "owner", 60)
    assert ends[status]()
    assert store.get(job.id) is store.find("/test", "1") is None
    assert store.page(None, 10, None) == []
    again, is_new = store.create(NewJob("/test", "2", idempotency_key="key"))
    assert is_new
    assert again.id != job.id
    assert store.event(job.id) is None
    store.close()


def test_what_has_expired_leaves_the_disk(database_url: str) -> None:
    store = JobStore(database_url, ttl_s=-1)
    job = _new(store, "1")
    assert store.cancel(job.id)
    _new(store, "2")
    assert store.event(job.id) == b"{}"  # not yet: it is looked for now and then
    store.close()
    later = JobStore(database_url, ttl_s=-1)
    _new(later, "3")
    assert later.event(job.id) is None
    later.close()


def test_what_is_not_final_outlives_a_short_time_to_live(database_url: str) -> None:
    store = JobStore(database_url, ttl_s=0)
    job = _new(store, "1")
    store.close()
    later = JobStore(database_url, ttl_s=0)
    _new(later, "2")
    assert later.find("/test", "1") == job
    later.close()


def test_only_what_the_embedded_delivery_will_bring_is_kept_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was off for longer than a day goes on with its jobs."""
    monkeypatch.setattr(stores, "UNFINISHED_S", -1.0)
    store = JobStore(database_url, ttl_s=-1)
    ours, _ = store.create(NewJob("/test", "1", event=b"{}", due_s=time.time()))
    theirs, _ = store.create(NewJob("/test", "2", event=b"{}"))
    store.close()
    later = JobStore(database_url, ttl_s=-1)
    _new(later, "3")
    assert later.get(ours.id) == ours
    assert later.get(theirs.id) is None
    later.close()
