"""A model that starts no thread is loaded and proven before gunicorn forks, and its worker takes it as it is."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model.artifact import Artifact, ArtifactError
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
from tests.support import graphs
from tests.support.graphs import Counted, floats
from tests.support.serving import ROOT

PLAN = Plan(runners=2, threads=1, max_batch_size=4)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture
def doubling(tmp_path: Path) -> Artifact:
    return graphs.doubling(tmp_path)


def _sessions(counted: Counted) -> int:
    return sum(kind == "session" for kind, _ in counted.alive)


@pytest.mark.parametrize("engine_name", ["standalone", "onnx"], indirect=True)
def test_it_starts_no_thread_before_a_fork_and_the_child_serves(tiny: Path, tmp_path: Path) -> None:
    """Neither for ONNX Runtime's telemetry, of which nothing is left in the home folder either."""
    code = """
import os, sys
from pathlib import Path
from model.artifact import Artifact
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
artifact, plan = Artifact.read(Path(sys.argv[1])), Plan(2, 1, 4)
loading.prepare(artifact, plan)
assert len(os.listdir("/proc/self/task")) == 1
child = os.fork()
model = loading.load(artifact, plan)
assert model.is_proven
given, (wanted,) = artifact.read_self_test()
wanted = memoryview(wanted).cast("f")
for (got,) in model.run([given] * 4):
    assert all(abs(a - b) < 1e-5 for a, b in zip(memoryview(got).cast("f"), wanted, strict=True))
model.close()
assert len(os.listdir("/proc/self/task")) == 1
if child:
    assert os.waitpid(child, 0)[1] == 0
assert not {"numpy", "onnxruntime"} & sys.modules.keys()
"""
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tiny],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("engine_name", ["aoti"], indirect=True)
def test_a_model_that_needs_libtorch_is_proven_in_the_worker(tiny: Path) -> None:
    artifact = Artifact.read(tiny)
    loading.prepare(artifact, PLAN)
    model = loading.load(artifact, PLAN)
    assert not model.is_proven
    model.close()


def test_it_is_loaded_by_prepare_and_taken_once(doubling: Artifact, counted: Counted) -> None:
    for _ in range(2):
        loading.prepare(doubling, PLAN)
    assert _sessions(counted) == 1
    models = [loading.load(doubling, PLAN) for _ in range(2)]
    assert _sessions(counted) == 2
    for model in models:
        assert model.is_proven
        assert model.run([(floats(1, 2),)]) == [(floats(2, 4),)]
        model.close()
    assert {kind for kind, _ in counted.alive} == {"env", "memory"}


def test_a_model_for_more_threads_is_not_loaded_before_a_fork(doubling: Artifact, counted: Counted) -> None:
    how = replace(PLAN, threads=2)
    loading.prepare(doubling, how)
    assert _sessions(counted) == 0
    model = loading.load(doubling, how)
    assert not model.is_proven
    assert model.run([(floats(1, 2),)]) == [(floats(2, 4),)]
    model.close()


def test_a_changed_model_is_not_loaded_early_and_told_by_load(doubling: Artifact, counted: Counted) -> None:
    (doubling.path / "model.onnx").write_bytes(b"changed")
    loading.prepare(doubling, PLAN)
    assert _sessions(counted) == 0
    with pytest.raises(ArtifactError, match=r"model\.onnx is not the file that was exported"):
        loading.load(doubling, PLAN)


def test_a_model_that_gives_another_answer_is_not_kept(doubling: Artifact, counted: Counted) -> None:
    """Each runner of the worker then finds it out again, and says what differs."""
    (doubling.path / "self-test.output").write_bytes(floats(2, 5))
    doubling.write()
    artifact = Artifact.read(doubling.path)
    loading.prepare(artifact, PLAN)
    assert _sessions(counted) == 0
    model = loading.load(artifact, PLAN)
    assert not model.is_proven
    model.close()
