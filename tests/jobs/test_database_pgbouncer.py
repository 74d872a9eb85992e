"""Jobs behind PgBouncer, which gives each transaction whatever connection to PostgreSQL is free."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from service.errors import NotReady
from service.jobs.database import Database
from service.jobs.job import NewJob
from service.jobs.schema import StoreError
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S
from tests.support import pgbouncer as bouncers
from tests.support import postgresql as postgres
from tests.support.eventually import eventually
from tests.support.jobs import PICTURE, finished
from tests.support.pgbouncer import PgBouncer
from tests.support.postgresql import PostgreSQL
from tests.support.serving import START_S, Answer, Server, serving

REQUESTS, CLIENTS = 1000, 16
# More than psycopg runs of a statement before it prepares it.
OFTEN = 20


@pytest.fixture
def pair(tiny_onnx: Path, tmp_path: Path, pgbouncer: PgBouncer) -> Iterator[tuple[Server, Server]]:
    """Two processes with one database."""
    url = pgbouncer.database()
    with (
        serving(tiny_onnx, tmp_path / "first.log", DATABASE_URL=url) as first,
        serving(tiny_onnx, tmp_path / "second.log", DATABASE_URL=url) as second,
    ):
        yield first, second


def _ask(server: Server, number: int) -> Answer:
    """Two of five are answered later, the others are events."""
    if number % 5 < 2:
        return server.call("POST", "/infer", PICTURE, {"Prefer": "respond-async"})
    named = {"Ce-Specversion": "1.0", "Ce-Source": "/test", "Ce-Type": "test", "Ce-Id": f"{number}"}
    return server.call("POST", "/events", PICTURE, {**named, "Content-Type": "image/png"})


def test_no_request_of_a_thousand_fails(pair: tuple[Server, Server]) -> None:
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda number: _ask(pair[number % 2], number), range(REQUESTS)))
    assert Counter(answer.status for answer in answers) == {202: REQUESTS * 2 // 5, 200: REQUESTS * 3 // 5}
    jobs = [answer.json["id"] for answer in answers if answer.status == 202]
    assert Counter(finished(pair[0], job)["status"] for job in jobs) == {"succeeded": len(jobs)}
    for server in pair:
        assert "Traceback" not in server.log
        assert "does not answer" not in server.log


@pytest.mark.parametrize(("name", "is_prepared"), [("postgresql", True), ("pgbouncer", False)])
def test_statements_are_prepared_where_the_next_transaction_finds_them(
    request: pytest.FixtureRequest, name: str, is_prepared: bool
) -> None:
    """They make an event's statements a third quicker."""
    server: PostgreSQL | PgBouncer = request.getfixturevalue(name)
    database = Database(server.database())
    for _ in range(OFTEN):
        with database.statement() as connection:
            connection.exec_driver_sql("SELECT 1")
    with database.statement() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one()
    assert (count > 0) == is_prepared
    database.close()


def test_what_the_url_asks_of_psycopg_changes_nothing(pgbouncer: PgBouncer) -> None:
    store = JobStore(f"{pgbouncer.database()}?application_name=mine", JOB_TTL_S)
    for number in range(OFTEN):
        assert store.create(NewJob("/test", f"{number}"))[1]
    store.close()


def test_options_that_pgbouncer_does_not_pass_on_are_one_sentence(pgbouncer: PgBouncer) -> None:
    with pytest.raises(StoreError, match="unsupported startup parameter: options") as fault:
        Database(f"{pgbouncer.database()}?options=-c%20statement_timeout%3D5s")
    assert "\n" not in str(fault.value)


def test_one_statement_at_a_time_is_not_enough(pgbouncer_binary: Path, postgresql: PostgreSQL) -> None:
    """The tables are created, and jobs too, by several statements that count together."""
    with bouncers.running(pgbouncer_binary, postgresql, pool_mode="statement") as bouncer:
        with pytest.raises(StoreError, match="statement pooling") as fault:
            Database(bouncer.database())
        assert "\n" not in str(fault.value)


def test_a_server_that_goes_away_is_not_ready_and_found_again(
    postgresql_binaries: Path, pgbouncer_binary: Path
) -> None:
    with (
        postgres.running(postgresql_binaries) as server,
        bouncers.running(pgbouncer_binary, server, query_wait_timeout="2") as bouncer,
    ):
        store = JobStore(bouncer.database(), JOB_TTL_S)
        job, _ = store.create(NewJob("/test", "1"))
        server.stop()
        for _ in range(3):
            with pytest.raises(NotReady, match="the job store does not answer"):
                store.get(job.id)
        server.start()

        def is_back() -> bool:
            try:
                return store.get(job.id) == job
            except NotReady:
                return False

        eventually(is_back, START_S, "the job is found")
        store.close()


def test_a_pgbouncer_that_was_away_after_a_pause_is_not_missed(
    pgbouncer_binary: Path, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.database.TRUSTED_S", 0.0)
    with bouncers.running(pgbouncer_binary, postgresql) as bouncer:
        url = bouncer.database()
        store = JobStore(url, JOB_TTL_S)
        job, _ = store.create(NewJob("/test", "1"))
        _end_clients(bouncer, url.rpartition("/")[2])
        assert store.get(job.id) == job
        store.close()


def _end_clients(bouncer: PgBouncer, database: str) -> None:
    """As a restart of it does, or `client_idle_timeout`."""
    with psycopg.connect(bouncer.console, autocommit=True) as console:
        console.execute(f"KILL {database}".encode())
        console.execute(f"RESUME {database}".encode())
