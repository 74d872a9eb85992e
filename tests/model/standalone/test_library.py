"""The runtime library of models without libtorch: who owns what, vector mathematics, and what it refuses."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import cpus
from model.artifact import Artifact, Defaults
from model.standalone import library
from model.standalone.library import SOURCES, StandaloneError
from service.runtime.engine import aoti_abi
from tests.support.serving import ROOT

HERE = Path(__file__).parent
TORCH = Path(torch.__file__).parent
# glibc states 4 for libmvec, and its own lgamma has a little more.
LARGEST_ERROR = 5.0


def _compiled(program: Path, *arguments: str | Path) -> Path:
    command = [
        "g++",
        "-std=c++17",
        f"-march={cpus.resolve().name}",
        "-fopenmp",
        "-isystem",
        TORCH / "include",
        "-o",
        program,
        *arguments,
    ]
    subprocess.run(command, check=True)
    return program


def _run(*command: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """With a runtime library, and no program."""
    return Artifact(
        name="m", engine="aoti", precision="fp32", inputs=(), outputs=(), programs=(), defaults=Defaults(1, 1),
        cpu=cpus.resolve(), runtime="standalone", versions={"torch": torch.__version__},
        path=tmp_path_factory.mktemp("artifact"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(artifact: Artifact) -> Path:
    return library.build(artifact)


@pytest.fixture(scope="module")
def ownership(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [each for each in SOURCES if each.name != "vectors.cpp"]
    flags = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", '-DBUILT_FOR="x"')
    return _compiled(tmp_path_factory.mktemp("sanitized") / "ownership", *flags, *sources, HERE / "ownership.cpp")


def test_every_byte_has_one_owner_and_is_freed_once(ownership: Path) -> None:
    done = _run(ownership, environment={"ASAN_OPTIONS": "detect_leaks=1"})
    assert (done.returncode, done.stdout) == (0, "all hold\n"), done.stdout + done.stderr


def test_the_sanitizer_tells_what_is_never_freed(ownership: Path) -> None:
    done = _run(ownership, "leak", environment={"ASAN_OPTIONS": "detect_leaks=1"})
    assert done.returncode != 0
    assert "detected memory leaks" in done.stderr


def test_vector_functions_are_as_exact_as_is_stated(tmp_path: Path) -> None:
    """Over the whole range, with infinities, NaN and denormal numbers."""
    program = _compiled(tmp_path / "vectors", "-O1", "-w", *SOURCES, HERE / "vectors.cpp", '-DBUILT_FOR="x"')
    done = _run(program)
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 58
    too_far = [row for row in rows if not float(row[1]) <= LARGEST_ERROR or row[2] != "0"]
    assert too_far == []


def test_tensors_are_as_libtorch_says(built: Path) -> None:
    """The same calls of both: numbers of dtypes, sizes, strides, offsets, values, of views and of copies."""
    told = []
    for each in (TORCH / "lib" / "libtorch_cpu.so", built):
        done = _run(sys.executable, "-m", "tests.model.standalone.asking", each)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout))
    theirs, ours = told
    assert len(theirs) > 70
    assert {name: value for name, value in ours.items() if value != theirs[name]} == {}
    assert ours.keys() == theirs.keys()


def test_it_needs_nothing_but_the_systems_libraries(built: Path) -> None:
    needed = _run("ldd", built).stdout
    assert "not found" not in needed
    assert "torch" not in needed
    assert library.missing(built, built) == []


def test_it_says_what_it_is_built_for(built: Path) -> None:
    opened = aoti_abi.dlopen(built, aoti_abi.RTLD_NOW)
    assert aoti_abi.bind_built_for(opened)().decode() == f"interface 1, torch {torch.__version__}"


def test_another_torch_is_refused(artifact: Artifact) -> None:
    other = dataclasses.replace(artifact, versions={"torch": "2.14.0+cpu"})
    with pytest.raises(StandaloneError) as fault:
        library.build(other)
    assert str(fault.value) == "the runtime library is written for torch 2.13.x, and this is 2.14.0+cpu"


def _program(folder: Path, *called: str) -> Path:
    """A library that calls these functions."""
    source = folder / "program.cpp"
    declared = "".join(f'extern "C" void {name}(); ' for name in called)
    calls = "".join(f"{name}(); " for name in called)
    source.write_text(f"#include <cstdlib>\n{declared} void run() {{ {calls} std::abort(); }}")
    return _compiled(folder / "model.so", "-fPIC", "-shared", source)


def test_what_a_program_lacks_is_told_by_name(built: Path, tmp_path: Path) -> None:
    exponential = {"x86_64": "Sleef_expf8_u10", "aarch64": "Sleef_expf4_u10"}[os.uname().machine]
    library.check(_program(tmp_path, "aoti_torch_clone", exponential), built)
    kernels = [f"aoti_torch_cpu_{name}" for name in ("bmm_out", "convolution", "mm_out", "topk")]
    program = _program(tmp_path, "aoti_torch_clone", *kernels)
    assert library.missing(program, built) == kernels
    with pytest.raises(StandaloneError) as fault:
        library.check(program, built)
    assert str(fault.value) == (
        "it calls functions that only libtorch has: aoti_torch_cpu_bmm_out, aoti_torch_cpu_convolution, "
        "aoti_torch_cpu_mm_out and 1 more"
    )


def test_openmp_is_beside_the_library(built: Path) -> None:
    assert "GOMP_parallel" in _run("nm", "--dynamic", built.with_name("libgomp.so.1")).stdout
