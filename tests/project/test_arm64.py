"""tests/arm64/run says in one sentence what it cannot do without; what it proves takes minutes, and is no test of CI."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.serving import ROOT

SCRIPT = ROOT / "tests" / "arm64" / "run"
SHELL = ("bash", "env", "dirname", "realpath", "uname")
TOOLS = ("mmdebstrap", "arch-test", "qemu-aarch64-static", "aarch64-linux-gnu-g++")

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="on arm64 nothing is emulated")


def _run(folder: Path, *tools: str, **environment: str) -> tuple[int, str]:
    """On a machine that has only these programs."""
    for name in SHELL:
        (folder / name).symlink_to(shutil.which(name) or "/nowhere")
    for name in tools:
        (folder / name).symlink_to("/bin/true")
    environment = {"PATH": str(folder), **environment}
    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="this is root")
def test_only_root_may(tmp_path: Path) -> None:
    assert _run(tmp_path) == (1, "arm64: only root may mount folders and chroot\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="this is not root")
@pytest.mark.parametrize("number", range(len(TOOLS)))
def test_a_missing_tool_is_named(tmp_path: Path, number: int) -> None:
    install = "apt-get install mmdebstrap arch-test qemu-user-static g++-aarch64-linux-gnu"
    assert _run(tmp_path, *TOOLS[:number]) == (1, f"arm64: {TOOLS[number]} is missing: {install}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="this is not root")
def test_a_missing_artifact_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "artifact"
    told = f"arm64: there is no {missing}: make export ENGINE=onnx\n"
    assert _run(tmp_path, *TOOLS, ARTIFACT=str(missing)) == (1, told)
