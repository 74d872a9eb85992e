"""A server that has no more connections: waited for, then not ready, never a fault of the program."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from service.errors import NotReady
from service.jobs import connections
from service.jobs.database import Database
from service.jobs.job import NewJob
from service.jobs.schema import StoreError
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S
from tests.support import pgbouncer as bouncers
from tests.support import postgresql as postgres
from tests.support.eventually import eventually
from tests.support.postgresql import PostgreSQL
from tests.support.serving import HOST, free_port

# As small as PostgreSQL takes it with its three reserved ones.
MOST = 6
RESERVED = 3
THREADS = 12
REFUSED = "too many clients"


@pytest.fixture(scope="module")
def small(postgresql_binaries: Path) -> Iterator[PostgreSQL]:
    with postgres.running(postgresql_binaries) as server:
        server.stop()
        server.start(max_connections=str(MOST), superuser_reserved_connections=str(RESERVED), autovacuum="off",
                     max_wal_senders="0", max_logical_replication_workers="0")  # fmt: skip
        yield server


@contextmanager
def _taken(server: PostgreSQL, count: int = MOST) -> Iterator[list[psycopg.Connection[tuple[object, ...]]]]:
    """So many connections that somebody else has."""
    with ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(server.url("postgres"), autocommit=True)) for _ in range(count)]


def _have(server: PostgreSQL, url: str) -> int:
    """Connections to that database, as the server counts them; psycopg closes without waiting for that."""
    name = url.rpartition("/")[2]
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name]).fetchall()
    return int(count)


def _database(server: PostgreSQL) -> str:
    """The URL of a new one, once the connection that made it has gone."""
    eventually(lambda: _have(server, "/postgres") == 1, 10, "nobody else is there")
    url = server.database()
    eventually(lambda: _have(server, "/postgres") == 1, 10, "nobody else is there")
    return url


def _plainly(server: PostgreSQL, url: str, limit: int = -1) -> str:
    """The same for a user who may not have the reserved connections, and has no more than so many."""
    user = f"of_{url.rpartition('/')[2]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT {limit}".encode())
    return url.replace("kindling@", f"{user}@")


def _at_once(work: Callable[[int], object]) -> list[object]:
    """What comes of it in all threads; they begin together."""
    begin = threading.Barrier(THREADS)

    def run(number: int) -> object:
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


@pytest.mark.parametrize("size", [1, 2])
def test_a_process_has_no_more_connections_than_it_may(postgresql: PostgreSQL, size: int) -> None:
    url = postgresql.database()
    store = JobStore(url, JOB_TTL_S, size)
    _at_once(lambda thread: [store.create(NewJob("/test", f"{thread}/{number}")) for number in range(5)])
    assert len(store.page(None, 100, None)) == 5 * THREADS
    assert _have(postgresql, url) <= size
    store.close()


def test_who_finds_none_free_waits_and_then_is_told(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(postgresql.database(), 1)
    with ThreadPoolExecutor(1) as other:
        with database.statement():
            monkeypatch.setattr(connections, "WAIT_S", 0.2)
            with (
                pytest.raises(NotReady, match="the job store has no free connection: try again"),
                database.statement(),
            ):
                pass
            assert caplog.messages == ["none of the 1 connections to the job store was free for 0 s"]
            monkeypatch.setattr(connections, "WAIT_S", 60.0)
            waiting = other.submit(_answer, database)
        assert waiting.result(60) == 1
    database.close()


def _answer(database: Database) -> object:
    with database.statement() as connection:
        return connection.exec_driver_sql("SELECT 1").scalar_one()


@pytest.mark.parametrize("who", ["all", "reserved", "role", "pgbouncer"])
def test_a_full_server_is_waited_for_and_then_one_sentence(
    small: PostgreSQL, who: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(connections, "WAIT_S", 0.5)
    url = _database(small)
    with ExitStack() as stack:
        if who == "pgbouncer":
            binary = request.getfixturevalue("pgbouncer_binary")
            url = stack.enter_context(bouncers.running(binary, small, max_client_conn="1")).url(url)
            stack.enter_context(psycopg.connect(url))
        else:
            if who != "all":
                url = _plainly(small, url, 0 if who == "role" else -1)
            eventually(lambda: _have(small, "/postgres") == 1, 10, "nobody else is there")
            stack.enter_context(_taken(small, {"all": MOST, "reserved": MOST - RESERVED, "role": 0}[who]))
        begun = time.monotonic()
        with pytest.raises(StoreError, match="cannot be used: connection failed") as fault:
            Database(url)
        assert time.monotonic() - begun >= connections.WAIT_S
    assert "\n" not in str(fault.value)


def test_a_server_that_is_away_is_not_waited_for(postgresql_binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that wait would answer nobody meanwhile."""
    monkeypatch.setattr(connections, "WAIT_S", 600.0)
    with postgres.running(postgresql_binaries) as server:
        store = JobStore(server.database(), JOB_TTL_S)
        server.stop()
        begun = time.monotonic()
        for _ in range(5):
            assert set(_at_once(lambda _: _refusal(store))) == {"the job store does not answer"}
        with pytest.raises(StoreError, match="Connection refused"):
            Database(f"postgresql://{HOST}:{free_port()}/jobs")
        # 60 refusals, and not one each AGAIN_S.
        assert time.monotonic() - begun < 5 * THREADS * connections.AGAIN_S
        store.close()


def test_a_full_server_is_found_with_a_free_one(small: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WAIT_S", 60.0)
    url = _database(small)
    before = small.log.count(REFUSED)
    with _taken(small) as others, ThreadPoolExecutor(1) as pool:
        opening = pool.submit(Database, url)
        eventually(lambda: small.log.count(REFUSED) > before, 30, "it is refused")
        others[0].close()
        opening.result(60).close()


def test_those_who_get_no_other_share_the_one_that_is_there(small: PostgreSQL) -> None:
    """And find the others later, when the server has them."""
    url = _database(small)
    store = JobStore(url, JOB_TTL_S, 3)
    with _taken(small, MOST - 1):
        before = small.log.count(REFUSED)
        begun = time.monotonic()
        _at_once(lambda thread: [store.create(NewJob("/test", f"{thread}/{number}")) for number in range(5)])
        refused, took_s = small.log.count(REFUSED) - before, time.monotonic() - begun
    assert len(store.page(None, 100, None)) == 5 * THREADS
    # Each try costs the server a process: three at once, then one at a time.
    assert 1 <= refused <= 3 + took_s / connections.AGAIN_S

    def has_more() -> bool:
        _at_once(lambda _: [store.page(None, 100, None) for _ in range(5)])
        return _have(small, url) > 1

    eventually(has_more, 30, "it has another connection")
    store.close()


def test_many_who_wait_for_a_full_server_do_not_storm_it(small: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WAIT_S", 1.0)
    store = JobStore(_database(small), JOB_TTL_S, THREADS)
    store.database._engine.dispose()  # as if the server had ended all of its connections
    with _taken(small):
        before = small.log.count(REFUSED)
        told = _at_once(lambda _: _refusal(store))
        assert small.log.count(REFUSED) - before <= THREADS + 10
    assert set(told) <= {"the job store does not answer", "the job store has no free connection: try again"}
    store.close()


def _refusal(store: JobStore) -> str:
    with pytest.raises(NotReady) as fault:
        store.page(None, 1, None)
    return str(fault.value)
