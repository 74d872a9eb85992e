"""Artifacts exported once a session, and services on free ports that many tests share."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import perf_analyzer as analyzers
from tests.support import pgbouncer as bouncers
from tests.support import postgresql as postgres
from tests.support import required
from tests.support.aws import Function, running
from tests.support.exporting import OF_FILES, SHARED, Exports
from tests.support.perf_analyzer import MissingError, PerfAnalyzer
from tests.support.pgbouncer import PgBouncer
from tests.support.postgresql import PostgreSQL
from tests.support.serving import ROOT, Server, environment, serving

if TYPE_CHECKING:
    from service.jobs.store import JobStore

Serve = Callable[..., Server]
OnLambda = Callable[..., Function]

JOB_TTL_S = 100.0

DEFAULT_ARTIFACT = Path(os.environ.get("MODEL_DIR", "build/efficientnet_lite0-aoti-fp32"))


@pytest.fixture(scope="session")
def exports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exports]:
    """What `tests.support.exporting` lists: exported two at a time, beside the tests that do without."""
    with ThreadPoolExecutor(2) as pool:
        begun = Exports(pool, tmp_path_factory.mktemp("artifacts"))
        begun.begin(SHARED)
        files = {item.path.name for item in request.session.items}
        for file, jobs in OF_FILES.items():
            if file in files:
                begun.begin(jobs)
        yield begun
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session", autouse=True)
def _begin_to_export(request: pytest.FixtureRequest) -> None:
    if any("exports" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("exports")


@pytest.fixture(params=["aoti", "onnx"])
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tiny(exports: Exports, engine_name: str) -> Path:
    """The artifact of `tests.support.models.tiny`, for both engines in turn."""
    return exports.artifact(f"tiny-{engine_name}")


@pytest.fixture
def types(exports: Exports, engine_name: str) -> Path:
    """The artifact of `tests.support.models.types_*`, for both engines in turn."""
    return exports.artifact(f"types-{engine_name}")


@pytest.fixture
def tiny_aoti(exports: Exports) -> Path:
    return exports.artifact("tiny-aoti")


@pytest.fixture
def tiny_onnx(exports: Exports) -> Path:
    return exports.artifact("tiny-onnx")


@pytest.fixture(scope="session")
def default_artifact() -> Path:
    """The default model with its real weights, as `make export` writes it."""
    folder = ROOT / DEFAULT_ARTIFACT
    assert (folder / "artifact.json").is_file(), f"there is no artifact in {DEFAULT_ARTIFACT}: run `make test`"
    return folder


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """serve(artifact, **settings): the service, ready; the same one for the same arguments until the session ends."""
    folder = tmp_path_factory.mktemp("logs")
    running: dict[tuple[object, ...], Server] = {}
    with ExitStack() as stack:

        def get(artifact: Path, **settings: str) -> Server:
            key = (artifact, *sorted(settings.items()))
            if key not in running:
                log_file = folder / f"{len(running)}.log"
                running[key] = stack.enter_context(serving(artifact, log_file, **settings))
            return running[key]

        yield get
        for server in running.values():
            server.process.terminate()


@pytest.fixture(scope="session")
def on_lambda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnLambda]:
    """on_lambda(artifact, **settings): the function, past its init; the same one for the same arguments."""
    folder = tmp_path_factory.mktemp("functions")
    found: dict[tuple[object, ...], Function] = {}
    with ExitStack() as stack:

        def get(artifact: Path, **settings: str) -> Function:
            key = (artifact, *sorted(settings.items()))
            if key not in found:
                environ = environment(artifact, 8080, settings)
                found[key] = stack.enter_context(running(environ, folder / f"{len(found)}.log"))
            return found[key]

        yield get


@pytest.fixture
def tiny_server(serve: Serve, tiny: Path) -> Server:
    return serve(tiny)


@pytest.fixture
def types_server(serve: Serve, types: Path) -> Server:
    return serve(types)


@pytest.fixture(scope="session")
def postgresql_binaries() -> Path:
    folder = postgres.folder()
    if folder is None:
        missing = "there is no initdb: apt-get install postgresql"
        required.skip(missing, "REQUIRE_POSTGRES")
    return folder


@pytest.fixture(scope="session")
def postgresql(postgresql_binaries: Path) -> Iterator[PostgreSQL]:
    """A real server, for the whole session."""
    with postgres.running(postgresql_binaries) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer_binary() -> Path:
    program = bouncers.program()
    if program is None:
        missing = "there is no pgbouncer: apt-get install pgbouncer"
        required.skip(missing, "REQUIRE_PGBOUNCER")
    return program


@pytest.fixture(scope="session")
def pgbouncer(pgbouncer_binary: Path, postgresql: PostgreSQL) -> Iterator[PgBouncer]:
    """A real one in front of `postgresql`, for the whole session."""
    with bouncers.running(pgbouncer_binary, postgresql) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        missing = "there is no Chromium: apt-get install chromium"
        required.skip(missing, "REQUIRE_BROWSER")
    return found


@pytest.fixture(scope="session")
def perf_analyzer() -> PerfAnalyzer:
    """The real one, downloaded once."""
    try:
        return analyzers.install(ROOT / "build" / "perf_analyzer")
    except MissingError as missing:
        required.skip(str(missing), "REQUIRE_PERF_ANALYZER")


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new and empty database, of both kinds in turn, and of one behind PgBouncer."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite"
    server: PostgreSQL | PgBouncer = request.getfixturevalue(request.param)
    return server.database()


@pytest.fixture
def store(database_url: str) -> Iterator["JobStore"]:
    from service.jobs.store import JobStore

    opened = JobStore(database_url, JOB_TTL_S)
    yield opened
    opened.close()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def jobs_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The database of `jobs_server`, of both kinds in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.sqlite"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.database()


@pytest.fixture(scope="session")
def jobs_server(serve: Serve, exports: Exports, jobs_url: str) -> Server:
    """Keeps jobs, and delivers them itself."""
    return serve(exports.artifact("tiny-onnx"), DATABASE_URL=jobs_url)
