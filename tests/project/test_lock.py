"""`make lock`: all files anew, or none."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.serving import ROOT

# Writes what it was asked for into the file that it was given, but for the file `fails`.
UV = """#!/bin/sh
all=$*
while [ "$1" != --output-file ]; do shift; done
case $2 in */"$FAILS".txt) echo "no index answers" >&2; exit 2 ;; esac
echo "$all" >"$2"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in (".ci", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "uv").write_text(UV)
    (tmp_path / "uv").chmod(0o755)
    (tmp_path / "tmp").mkdir()
    return tmp_path


def _lock(clone: Path, fails: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "UV": str(clone / "uv"), "FAILS": fails, "TMPDIR": str(clone / "tmp")}
    return subprocess.run([clone / ".ci/lock"], env=environ, capture_output=True, text=True, check=False)


def _files(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_every_file_is_written_anew(clone: Path) -> None:
    done = _lock(clone, fails="")
    assert done.returncode == 0, done.stderr
    found = _files(clone / "requirements")
    assert set(found) == set(_files(ROOT / "requirements"))
    assert all(text.startswith("pip compile ") for text in found.values())
    assert not list((clone / "tmp").iterdir())


@pytest.mark.parametrize("fails", ["test", "audit"])
def test_none_is_lost_where_one_cannot_be_written(clone: Path, fails: str) -> None:
    done = _lock(clone, fails)
    assert done.returncode == 2
    assert "no index answers" in done.stderr
    assert _files(clone / "requirements") == _files(ROOT / "requirements")
    assert not list((clone / "tmp").iterdir())
