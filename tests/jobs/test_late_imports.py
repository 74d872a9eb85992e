"""What jobs, events and gRPC need is imported when the first of them comes, never on the way to readiness."""

from pathlib import Path

import pytest

from tests.project.test_imports import _modules
from tests.support.serving import HOST, free_port

LIBRARIES = {"sqlalchemy", "psycopg", "sqlite3", "cloudevents", "botocore", "h2", "hpack", "google.protobuf"}
WATCH = """
import io, sys
from PIL import Image

app, early = None, set()

def watch(event, args):
    if event == "import" and (app is None or not app.extensions["runtime"].is_ready):
        early.update((args[0], args[0].partition(".")[0]))

sys.addaudithook(watch)
from service import __main__
from service.serving import server
from service.web.app import create_app
from service.settings import Settings

port, model, database, sink = sys.argv[1:]
app = create_app(Settings.from_env({"MODEL_DIR": model, "DATABASE_URL": database, "K_SINK": sink, "PORT": port}))
runtime, jobs = app.extensions["runtime"], app.extensions["jobs"]
runtime.wait_until_ready(60)
file = io.BytesIO()
Image.new("RGB", (30, 20)).save(file, "PNG")
answer = app.test_client().post("/infer", data=file.getvalue())
assert answer.status_code == 200, answer.data
"""
EARLY = "print(*early)"
LATE = "print(*sys.modules)"
OPEN = "assert jobs.store; jobs.stop(); print(*sys.modules)"


def _watched(end: str, artifact: Path, folder: Path, sink: str = "") -> set[str]:
    return _modules(WATCH + end, str(free_port()), str(artifact), f"sqlite:///{folder}/jobs.sqlite", sink)


@pytest.mark.parametrize("sink", ["", f"http://{HOST}:1"])
def test_nothing_of_jobs_is_imported_before_readiness(tiny_onnx: Path, tmp_path: Path, sink: str) -> None:
    early = _watched(EARLY, tiny_onnx, tmp_path, sink)
    assert "flask" in early
    assert not early & LIBRARIES


def test_with_a_broker_nothing_of_jobs_is_imported_for_an_answer_at_once(tiny_onnx: Path, tmp_path: Path) -> None:
    assert not _watched(LATE, tiny_onnx, tmp_path, f"http://{HOST}:1") & LIBRARIES


def test_sqlite_needs_nothing_of_postgresql_nor_torch_nor_numpy(tiny_aoti: Path, tmp_path: Path) -> None:
    found = _watched(OPEN, tiny_aoti, tmp_path)
    assert found >= {"sqlalchemy", "sqlite3", "cloudevents"}
    assert not found & {"psycopg", "torch", "numpy"}
