"""A service whose database cannot be used: it says so in a sentence, and everything else goes on."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.jobs import schema
from service.jobs.database import Database
from tests.support import postgresql as postgres
from tests.support.eventually import eventually
from tests.support.jobs import WAIT_S, finished, later, post
from tests.support.serving import HOST, START_S, Server, free_port, serving

CLIENTS = 12
REFUSAL = (503, "jobs cannot be kept now")


@contextmanager
def _without_jobs(artifact: Path, log_file: Path, url: str, sentence: str, **settings: str) -> Iterator[Server]:
    """A service with such a database: ready, answering at once, refusing jobs, saying why."""
    with serving(artifact, log_file, DATABASE_URL=url, **settings) as server:
        assert post(server).status == 200
        for headers in ({"Prefer": "respond-async"}, {"Prefer": "wait=1"}, {"Idempotency_Key": "key"}):
            answer = post(server, **headers)
            assert (answer.status, answer.error) == REFUSAL
        for method, path in (("GET", "/jobs"), ("GET", "/jobs/" + "0" * 32), ("DELETE", "/jobs/" + "0" * 32)):
            answer = server.call(method, path)
            assert (answer.status, answer.error) == REFUSAL
        event = {
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/test",
            "ce-type": "test",
            "Content-Type": "image/png",
        }
        assert server.call("POST", "/", b"", event).status == 503
        assert post(server).status == 200
        assert f"jobs cannot be kept: {sentence}\n" in server.log
        assert "Traceback" not in server.log
        yield server
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_a_missing_folder(tiny_onnx: Path, tmp_path: Path) -> None:
    sentence = f"DATABASE_URL: there is no folder {tmp_path}/no"
    with _without_jobs(tiny_onnx, tmp_path / "log", f"sqlite:///{tmp_path}/no/jobs.sqlite", sentence):
        pass


def test_a_folder_that_cannot_be_written(tiny_onnx: Path, tmp_path: Path) -> None:
    url = "sqlite:////proc/jobs.sqlite"
    sentence = f"the database {url} cannot be used: unable to open database file"
    with _without_jobs(tiny_onnx, tmp_path / "log", url, sentence):
        pass


def test_a_database_of_a_newer_program(tiny_onnx: Path, tmp_path: Path, database_url: str) -> None:
    with pytest.MonkeyPatch.context() as newer:
        newer.setattr(schema, "UPGRADES", (*schema.UPGRADES, "SELECT 1"))
        Database(database_url).close()
    known = 1 + len(schema.UPGRADES)
    sentence = f"the database has schema {known + 1}, this program knows only {known}: update it"
    with _without_jobs(tiny_onnx, tmp_path / "log", database_url, sentence):
        pass


@pytest.mark.parametrize("settings", [{}, {"K_SINK": f"http://{HOST}:1"}])
def test_a_server_that_is_not_there(tiny_onnx: Path, tmp_path: Path, settings: dict[str, str]) -> None:
    url = f"postgresql://me:secret@{HOST}:{free_port()}/jobs"
    told = url.replace("postgresql", "postgresql+psycopg").replace("secret", "***")
    sentence = f"the database {told}"
    with serving(tiny_onnx, tmp_path / "log", DATABASE_URL=url, **settings) as server:
        answer = post(server, Prefer="respond-async")
        assert (answer.status, answer.error) == REFUSAL
        assert post(server).status == 200
        assert sentence in server.log
        assert "Connection refused" in server.log
        assert "secret" not in server.log
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_a_server_that_comes_later_and_goes_and_comes_again(
    tiny_onnx: Path, tmp_path: Path, postgresql_binaries: Path
) -> None:
    with postgres.running(postgresql_binaries) as database:
        url = database.database()
        database.stop()
        with serving(tiny_onnx, tmp_path / "log", DATABASE_URL=url) as server:
            assert post(server, Prefer="respond-async").status == 503
            database.start()
            eventually(lambda: post(server, Prefer=f"wait={WAIT_S}").status == 200, START_S, "jobs are kept")
            database.stop()
            refused = post(server, Prefer="respond-async")
            assert (refused.status, refused.error) == (503, "the job store does not answer")
            assert post(server).status == 200
            database.start()
            assert finished(server, later(server))["status"] == "succeeded"
            assert server.stop() == 0
            assert "Traceback" not in server.log


def test_a_server_that_says_nothing_is_waited_for_once_and_not_by_each(tiny_onnx: Path, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0), backlog=100) as silent:
        url = f"postgresql://{HOST}:{silent.getsockname()[1]}/jobs?connect_timeout=2"
        with serving(tiny_onnx, tmp_path / "log", DATABASE_URL=url) as server, ThreadPoolExecutor(CLIENTS) as pool:
            begun = time.monotonic()
            answers = list(pool.map(lambda _: post(server, Prefer="respond-async"), range(CLIENTS)))
            assert time.monotonic() - begun < CLIENTS
            assert {(answer.status, answer.error) for answer in answers} == {REFUSAL}
            assert server.stop() == 0
            assert "connection timeout expired" in server.log
