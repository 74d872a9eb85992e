"""The files of an installed engine that serving needs: `python -m model.libraries ENGINE FOLDER` copies them for an image.

aoti: libc10, libtorch_cpu and the libraries that these need from installed packages. The CPU build also needs libgomp;
the CUDA build's libtorch_cpu also needs NVIDIA's libraries, though a CPU model calls none of them.
onnx: libonnxruntime, which needs nothing but the system, and its license.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from service.runtime.engine import installed

ROOTS = ("libc10.so", "libtorch_cpu.so")


def collect_libtorch(folder: Path) -> list[Path]:
    """Copy the libraries into `folder`; $ORIGIN is in their run path, so they find each other there."""
    torch = _package("torch") / "lib"
    packages = torch.parent.parent
    needed = {torch / name for name in ROOTS}
    listing = subprocess.run(["ldd", *map(str, needed)], capture_output=True, text=True, check=True).stdout  # noqa: S607
    for line in listing.splitlines():
        name, arrow, target = line.partition(" => ")
        path = Path(target.split(" (")[0].strip())
        if arrow and path.is_relative_to(packages):
            needed.add(path.with_name(name.strip()))
    copies = [Path(shutil.copy(path, folder)) for path in sorted(needed)]
    # Strips the symbol table, which nothing reads at run time: a fifth of libtorch_cpu.
    subprocess.run(["strip", "--strip-unneeded", *map(str, copies)], check=True)  # noqa: S607
    return copies


def collect_onnxruntime(folder: Path) -> list[Path]:
    """Copy the library into `folder`, with the license that has to go with it. It has no symbol table to strip."""
    package = _package("onnxruntime")
    libraries = sorted((package / "capi").glob("libonnxruntime.so*"))
    texts = [package / "LICENSE", package / "ThirdPartyNotices.txt"]
    return [Path(shutil.copy(path, folder)) for path in (*libraries, *texts)]


def _package(name: str) -> Path:
    found = installed.folder(name)
    assert found is not None
    return found


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for copied in {"aoti": collect_libtorch, "onnx": collect_onnxruntime}[sys.argv[1]](target):
        print(f"{copied.stat().st_size / 2**20:8.1f} MiB  {copied}")
