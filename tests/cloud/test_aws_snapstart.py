"""SnapStart, by the real awslambdaric: what is open in the snapshot, and what a restored function answers."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from service.jobs.schema import jobs as table
from service.jobs.store import JobStore
from tests.conftest import OnLambda
from tests.jobs.test_late_imports import LIBRARIES
from tests.support import eager, own_function
from tests.support import postgresql as postgres
from tests.support.aws import Function, as_json, snapshotted
from tests.support.events import COMPLETED, event
from tests.support.postgresql import PostgreSQL
from tests.support.runtime_api import DEADLINE_S, function, runtime_api
from tests.support.s3 import Store, store
from tests.support.serving import environment

PICTURE, KEY, OWN = own_function.PICTURE, own_function.KEY, own_function.HANDLER
LABEL = eager.labels(PICTURE, 1)[0][1]
CLAIM = {"specversion": "1.0", "id": "2", "source": "/own", "type": "t", "dataref": own_function.OBJECT}
SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


@pytest.fixture
def server(postgresql_binaries: Path) -> Iterator[PostgreSQL]:
    """One of this test's own, which may restart it."""
    with postgres.running(postgresql_binaries) as found:
        yield found


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store(tmp_path_factory.mktemp("aws") / "log") as found:
        found.put("photos", "cat.png", PICTURE)
        yield found


def _restore(found: Function) -> None:
    """Let it go on, until it asks for its first event."""
    found.api.restored.set()
    assert found.api.polled.wait(DEADLINE_S)
    assert found.api.restore_error is None, found.api.restore_error


def _open(found: Function) -> tuple[list[str], list[str]]:
    """The files and the sockets that the process has open; its log is not among them."""
    links = [str(each.readlink()) for each in Path(f"/proc/{found.pid}/fd").iterdir()]
    files = [link for link in links if link.startswith("/") and link not in (os.devnull, str(found.log_file))]
    return files, [link for link in links if link.startswith("socket:")]


def _label(found: Function, key: str | None = None) -> int:
    answer = found.http("2.0", "POST", "/infer?top=1", PICTURE, {"Idempotency-Key": key} if key else {})
    assert answer.status == 200, answer.body
    return int(answer.json["labels"][0]["index"])


def _own(log: str, prefix: str = "own ") -> list[str]:
    return [line.split()[1] for line in log.splitlines() if line.startswith(prefix)]


def test_hooks_run_around_the_snapshot_and_the_model_stays_loaded(tiny: Path, tmp_path: Path) -> None:
    with snapshotted(environment(tiny, 8080, {}), tmp_path / "log", OWN) as found:
        assert _own(found.log) == ["init", "before"]
        assert found.api.asked == ["restore/next"]
        _restore(found)
        assert found.api.asked == ["restore/next", "invocation/next"]
        assert _label(found) == LABEL
        assert found.invoke(as_json(event(PICTURE, "image/png"))).value["type"] == COMPLETED
        before, ours, after = found.log.partition("restored from a snapshot")
        assert ours
        assert (_own(before), _own(after)[0]) == (["init", "before"], "after")
        assert found.log.count("is ready") == 1


def test_the_first_answer_tells_of_the_restore_not_of_the_init_phase(tiny_onnx: Path, tmp_path: Path) -> None:
    """Which its caller did not wait for; it was hours ago."""
    with snapshotted(environment(tiny_onnx, 8080, {}), tmp_path / "log") as found:
        _restore(found)
        first, second = (found.http("2.0", "POST", "/infer", PICTURE).headers["Server-Timing"] for _ in range(2))
        assert re.findall("cold-[a-z]+", first) == ["cold-restored", "cold-ready", "cold-request"]
        assert "cold" not in second
        metrics = found.http("2.0", "GET", "/metrics").body.decode()
        phases = re.findall(r'kindling_cold_start_seconds\{phase="(\w+)"\}', metrics)
        assert phases == ["restored", "ready", "request", "answer"]


def test_postgresql_may_restart_between_the_snapshot_and_the_restore(
    tiny_onnx: Path, tmp_path: Path, server: PostgreSQL
) -> None:
    """No connection of the init phase is left, and the process stands still until the server has restarted."""
    url = server.database()
    name = url.rpartition("/")[2]
    with snapshotted(environment(tiny_onnx, 8080, {"DATABASE_URL": url}), tmp_path / "log", OWN) as found:
        with psycopg.connect(server.url("postgres")) as watcher:
            count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            assert watcher.execute(count, (name,)).fetchone() == (0,)
        assert _job_keys(url) == [KEY]
        os.kill(found.pid, signal.SIGSTOP)
        server.stop()
        server.start()
        os.kill(found.pid, signal.SIGCONT)
        _restore(found)
        assert [_label(found, key) for key in (KEY, "new")] == [LABEL, LABEL]
        assert _job_keys(url) == [KEY, "new"]
        assert "the job store does not answer" not in found.log


def test_sqlite_may_be_another_file_when_the_process_is_restored(tiny_onnx: Path, tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite"
    url = f"sqlite:///{file}"
    with snapshotted(environment(tiny_onnx, 8080, {"DATABASE_URL": url}), tmp_path / "log", OWN) as found:
        before = next(line for line in found.log.splitlines() if line.startswith("own before"))
        assert str(file) in before
        assert [each for each in _open(found)[0] if str(file) in each] == []
        assert _job_keys(url) == [KEY]
        for each in tmp_path.glob("jobs.sqlite*"):
            each.unlink()
        _restore(found)
        assert _label(found, "new") == LABEL
        assert _job_keys(url) == ["new"]


def _job_keys(url: str) -> list[str]:
    """The keys of all jobs, the oldest first."""
    with closing(JobStore(url, 100)) as jobs, jobs.database.statement() as connection:
        return [
            str(key) for (key,) in connection.execute(sa.select(table.c.idempotency_key).order_by(table.c.created_s))
        ]


def test_only_the_runtime_api_is_connected_in_the_snapshot(
    tiny_onnx: Path, tmp_path: Path, server: PostgreSQL, moto: Store
) -> None:
    """With a database and a bucket, both used in the init phase; the socket is that of the request for the restore."""
    # ONNX Runtime keeps a database of its own in the user's folder, and sends it to Microsoft now and then.
    silent = {"ORT_DISABLE_TELEMETRY": "1"}
    settings = {"DATABASE_URL": server.database(), "DATAREF_ALLOW": "s3://photos/", **moto.environ, **silent}
    with snapshotted(environment(tiny_onnx, 8080, settings), tmp_path / "log", OWN) as found:
        before = next(line for line in found.log.splitlines() if line.startswith("own before"))
        assert "socket:" in before
        files, sockets = _open(found)
        assert (files, len(sockets)) == ([], 1)
        _restore(found)
        reply = found.invoke(CLAIM).value
        assert (reply["type"], reply["data"]["labels"][0]["index"]) == (COMPLETED, LABEL)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_the_first_job_imports_is_in_the_snapshot(
    tiny_onnx: Path, tmp_path: Path, moto: Store, kind: str, request: pytest.FixtureRequest
) -> None:
    """Imports took 0.3 s of the first job's time."""
    url = f"sqlite:///{tmp_path}/jobs" if kind == "sqlite" else request.getfixturevalue("postgresql").database()
    settings = {"DATABASE_URL": url, "DATAREF_ALLOW": "s3://photos/", "IDLE": "1", **moto.environ}
    with snapshotted(environment(tiny_onnx, 8080, settings), tmp_path / "log", OWN) as found:
        _restore(found)
        assert _label(found, "new") == LABEL
        assert found.invoke(CLAIM).value["type"] == COMPLETED
        imported = {line.split()[2].partition(".")[0] for line in found.log.splitlines() if "own import" in line}
        assert not imported & LIBRARIES, imported
        assert "service" not in imported


def test_nothing_is_imported_for_jobs_that_are_not_kept(tiny_onnx: Path, tmp_path: Path) -> None:
    with snapshotted(environment(tiny_onnx, 8080, {}), tmp_path / "log") as found:
        maps = Path(f"/proc/{found.pid}/maps").read_text()
        assert "_sqlite3" not in maps
        assert "psycopg" not in maps


@pytest.mark.parametrize(
    ("hook", "reported"),
    [("before", ("init_error", "Runtime.BeforeSnapshotError", 64)), ("after", ("restore_error", "Runtime.AfterRestoreError", 65))],
)  # fmt: skip
def test_a_hook_that_fails_is_reported_and_ends_the_process(
    tiny_onnx: Path, tmp_path: Path, hook: str, reported: tuple[str, str, int]
) -> None:
    posted, error_type, status = reported
    environ = {**environment(tiny_onnx, 8080, {"FAIL": hook}), **SNAP_START}
    with runtime_api() as api, (tmp_path / "log").open("wb") as log, function(api, environ, log, OWN) as process:
        api.restored.set()
        assert process.wait(DEADLINE_S) == status
        assert api.asked[-1] == posted
        assert api.error_type == error_type
        assert getattr(api, posted)["errorMessage"].startswith("own hook")


def test_a_database_that_can_never_be_used_fails_when_the_version_is_published(tiny_onnx: Path, tmp_path: Path) -> None:
    environ = {**environment(tiny_onnx, 8080, {"DATABASE_URL": "mysql://host/jobs"}), **SNAP_START}
    with runtime_api() as api, (tmp_path / "log").open("wb") as log, function(api, environ, log) as process:
        assert process.wait(DEADLINE_S) == 64
        assert api.init_error is not None
        assert "wanted sqlite:///FILE or postgresql://" in api.init_error["errorMessage"]


def test_a_database_that_is_out_of_reach_does_not_keep_a_version_from_being_published(
    tiny_onnx: Path, tmp_path: Path, server: PostgreSQL
) -> None:
    url = server.database()
    server.stop()
    with snapshotted(environment(tiny_onnx, 8080, {"DATABASE_URL": url}), tmp_path / "log") as found:
        server.start()
        _restore(found)
        assert _label(found, "new") == LABEL


def test_without_snapstart_no_hook_is_called(on_lambda: OnLambda, tiny_onnx: Path) -> None:
    found = on_lambda(tiny_onnx, LOG_LEVEL="debug")
    assert _label(found) == LABEL
    assert "restore/next" not in found.api.asked
    assert "restored" not in found.log
