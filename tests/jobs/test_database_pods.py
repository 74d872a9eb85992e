"""Two processes, many clients, and a server with fewer connections than those could use."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import postgresql as postgres
from tests.support.jobs import PICTURE, finished
from tests.support.postgresql import PostgreSQL
from tests.support.serving import Server, serving

# Two processes with a server of 20 connections, asked by 64 clients.
CLIENTS, REQUESTS = 64, 640


@pytest.fixture(scope="module")
def twenty(postgresql_binaries: Path) -> Iterator[PostgreSQL]:
    with postgres.running(postgresql_binaries) as server:
        server.stop()
        server.start(max_connections="20")
        yield server


def _status(server: Server, number: int) -> tuple[int, str]:
    """What a request is answered, and the job that it has become."""
    if number % 2:
        answer = server.call("POST", "/infer", PICTURE, {"Prefer": "respond-async"})
        return answer.status, answer.json["id"] if answer.status == 202 else ""
    named = {"Ce-Specversion": "1.0", "Ce-Source": "/test", "Ce-Type": "test", "Ce-Id": f"{number}"}
    return server.call("POST", "/events", PICTURE, {**named, "Content-Type": "image/png"}).status, ""


def _answers(pair: tuple[Server, Server]) -> tuple[Counter[int], set[str]]:
    """How often each status, and what becomes of the jobs."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda number: _status(pair[number % 4 // 2], number), range(REQUESTS)))
    ends = {finished(pair[0], job)["status"] for _, job in answers if job}
    assert not any("Traceback" in server.log for server in pair)
    return Counter(status for status, _ in answers), ends


@contextmanager
def _pair(artifact: Path, folder: Path, **settings: str) -> Iterator[tuple[Server, Server]]:
    """Two processes with one database."""
    with (
        serving(artifact, folder / "first.log", **settings) as first,
        serving(artifact, folder / "second.log", **settings) as second,
    ):
        yield first, second


# The default; as many as SQLAlchemy has unless told, of which the second process gets only what the first one leaves.
@pytest.mark.parametrize("settings", [{}, {"DATABASE_POOL_SIZE": "15"}])
def test_two_processes_and_many_clients_are_all_answered(
    twenty: PostgreSQL, tiny_onnx: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    with _pair(tiny_onnx, tmp_path, DATABASE_URL=twenty.database(), **settings) as pair:
        counted, ends = _answers(pair)
    assert counted == {200: REQUESTS // 2, 202: REQUESTS // 2}
    assert ends == {"succeeded"}


def test_a_process_that_gets_no_connection_at_all_is_not_ready(
    twenty: PostgreSQL, tiny_onnx: Path, tmp_path: Path
) -> None:
    """The first may take all that the server has."""
    with _pair(tiny_onnx, tmp_path, DATABASE_URL=twenty.database(), DATABASE_POOL_SIZE="30") as pair:
        counted, ends = _answers(pair)
    assert counted.keys() <= {200, 202, 503}
    assert counted[200] + counted[202] >= REQUESTS // 4
    assert ends == {"succeeded"}
