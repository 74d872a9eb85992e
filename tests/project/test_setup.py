"""`.ci/setup` on machines that lack something: one sentence with the remedy, before anything is made."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.serving import ROOT

# What the script itself calls before it has found a fault.
TOOLS = ("bash", "cat", "cut", "dirname", "env", "sha256sum")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A clone without its virtual environment, and a PATH with next to nothing in it."""
    (tmp_path / "clone").mkdir()
    for name in (".ci", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def _has(machine: Path, command: str, script: str) -> None:
    file = machine / "bin" / command
    file.unlink(missing_ok=True)  # it may be a link to a program of this machine
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def _fails(machine: Path, **environ: str) -> str:
    done = subprocess.run(
        [machine / "clone/.ci/setup", "test"],
        env={"PATH": str(machine / "bin"), **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert not (machine / "clone/.venv").exists()
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_no_python(machine: Path) -> None:
    assert _fails(machine) == "setup: python3 is missing: apt-get install python3 python3-venv\n"


def test_an_old_python(machine: Path) -> None:
    _has(machine, "python3", 'case "$1" in --version) echo Python 3.9.2 ;; -c) exit 1 ;; esac')
    assert _fails(machine) == (
        "setup: Python 3.9.2 is too old: install Python 3.11 or newer, and name it with PYTHON=python3.11\n"
    )


def test_a_python_of_ones_own_choice_is_asked(machine: Path) -> None:
    _has(machine, "python3", "exit 0")
    _has(machine, "python3.10", 'case "$1" in --version) echo Python 3.10.0 ;; -c) exit 1 ;; esac')
    assert "Python 3.10.0 is too old" in _fails(machine, PYTHON="python3.10")


def test_no_compiler(machine: Path) -> None:
    _has(machine, "python3", "exit 0")
    assert _fails(machine) == "setup: g++ is missing, which compiles the model: apt-get install g++\n"


def test_no_venv_module(machine: Path) -> None:
    _has(machine, "python3", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    _has(machine, "g++", "exit 0")
    assert _fails(machine) == "setup: Python's venv module is missing: apt-get install python3-venv\n"


def test_nothing_is_done_where_all_is_there(machine: Path) -> None:
    clone = machine / "clone"
    stamp = subprocess.run(
        "cat requirements/test.txt .ci/setup | sha256sum | cut -c1-16",
        shell=True, cwd=clone, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (clone / ".venv").mkdir()
    (clone / ".venv/test.stamp").write_text(stamp)
    done = subprocess.run(
        [clone / ".ci/setup", "test"], env={"PATH": str(machine / "bin")}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
