"""The runtime library of an artifact without libtorch: the one that its programs were exported with, or none."""

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.artifact import Artifact, ArtifactError
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
from tests.support.exporting import Exports
from tests.support.serving import ROOT


@pytest.fixture
def alone(exports: Exports, tmp_path: Path) -> Artifact:
    """An artifact without libtorch, that a test may damage."""
    return Artifact.read(shutil.copytree(exports.artifact("tiny-standalone"), tmp_path / "alone"))


def _in_a_process(artifact: Artifact, expression: str, *, libtorch_dir: Path | None = None) -> str:
    """What the expression is in a process of its own, where the artifact is loaded as `model`, or why it is not loaded."""
    script = f"""
import re
from pathlib import Path
from model.artifact import Artifact, ArtifactError
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
try:
    model = loading.load(Artifact.read(Path({str(artifact.path)!r})), Plan(2, 1, 4, {libtorch_dir and str(libtorch_dir)!r}))
except ArtifactError as fault:
    print(fault)
else:
    print({expression})
    model.close()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n")


def test_without_libtorch_nothing_of_torch_is_opened(alone: Artifact, tmp_path: Path) -> None:
    """Though the artifact's folder is another than it was exported to, and LIBTORCH_DIR is empty."""
    opened = "*sorted(set(re.findall(r'/lib(?:torch|c10|kindling)[^/ ]*[.]so', Path('/proc/self/maps').read_text())))"
    assert _in_a_process(alone, opened, libtorch_dir=tmp_path) == "/libkindling.so"


def test_a_runtime_library_for_another_torch_is_refused(alone: Artifact) -> None:
    dataclasses.replace(alone, versions=alone.versions | {"torch": "2.14.0+cpu"}).write()
    assert _in_a_process(alone, "1") == (
        f"{alone.path}/libkindling.so is built for interface 1, torch {torch.__version__}, "
        "and the model needs interface 1, torch 2.14.0+cpu: export it again"
    )


def test_a_changed_runtime_library_is_not_opened(alone: Artifact) -> None:
    """Before the model is loaded, when gunicorn's master opens the libraries."""
    file = alone.path / "libkindling.so"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ArtifactError) as fault:
        loading.prepare(alone, Plan(runners=2, threads=1, max_batch_size=4))
    assert str(fault.value) == f"{file} is not the file that was exported (digest differs): not loaded"


def _with_library(artifact: Artifact, *functions: str) -> Artifact:
    """The artifact with a runtime library that has only these functions."""
    source = artifact.path.with_name("library.cpp")
    source.write_text("".join(functions))
    file = artifact.path / "libkindling.so"
    command = ["g++", "-fPIC", "-shared", "-Wl,-soname,libkindling.so", "-o", str(file), str(source)]
    subprocess.run(command, check=True)
    artifact.write()
    return Artifact.read(artifact.path)


def test_a_runtime_library_that_lacks_a_function_is_refused_with_its_name(alone: Artifact) -> None:
    built_for = f'extern "C" const char* kindling_built_for() {{ return "interface 1, torch {torch.__version__}"; }}\n'
    functions = (
        "create_tensor_from_blob",
        "get_data_ptr",
        "get_numel",
        "get_dtype",
        "is_contiguous",
        "delete_tensor_object",
    )
    ours = "".join(f'extern "C" int aoti_torch_{name}() {{ return 0; }}\n' for name in functions)
    dtypes = "".join(f'extern "C" int aoti_torch_dtype_{name}() {{ return 0; }}\n' for name in ("uint8", "float32"))
    told = _in_a_process(_with_library(alone, built_for, ours, dtypes), "1")
    assert re.fullmatch(
        rf"{alone.path}/model-b1-t1.so cannot be loaded \(.*undefined symbol: \w+\): "
        "it needs the libkindling.so that it was exported with",
        told,
    ), told


def test_another_library_in_its_place_is_refused(alone: Artifact) -> None:
    told = _in_a_process(_with_library(alone, "int nothing;"), "1")
    assert told.startswith(f"{alone.path}/libkindling.so cannot be loaded: ")
    assert "kindling_built_for" in told
    assert len(told.splitlines()) == 1


def test_a_runtime_library_that_is_none_is_refused(alone: Artifact) -> None:
    (alone.path / "libkindling.so").write_bytes(b"no library")
    alone.write()
    told = _in_a_process(alone, "1")
    assert re.fullmatch(rf"{alone.path}/libkindling.so cannot be loaded: .*(too short|invalid ELF header)", told), told
