"""What `make` makes for a benchmark, made where it is missing: images and artifacts of the default model."""

import subprocess
import sys
from pathlib import Path

from tests.support.serving import ROOT


class MakeError(Exception):
    """make failed, and has said why."""


def image(name: str) -> None:
    """Return once there is an image kindling:ENGINE or kindling:ENGINE-TARGET.

    Raises:
        MakeError: it cannot be built.
    """
    if not subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode:
        return
    engine, _, target = name.removeprefix("kindling:").partition("-")
    _make("image", f"ENGINE={engine}", *([f"TARGET={target}"] if target else []))


def artifact(engine: str) -> Path:
    """The folder of the exported default model.

    Raises:
        MakeError: it cannot be exported.
    """
    folder = Path(f"build/efficientnet_lite0-{engine}-fp32")
    if not (ROOT / folder / "artifact.json").exists():
        _make("export", f"ENGINE={engine}")
    return folder


def _make(*arguments: str) -> None:
    command = ["make", "--no-print-directory", *arguments]
    print(f"  {' '.join(command)}: some minutes, once", file=sys.stderr, flush=True)
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode:
        raise MakeError(f"{' '.join(command)} failed")
