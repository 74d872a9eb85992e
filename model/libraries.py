"""What a compiled model needs of torch: libc10, libtorch_cpu and the libraries that these need from installed packages.

`python -m model.libraries FOLDER` copies them into one folder for an image without torch. The CPU build also needs
libgomp; the CUDA build's libtorch_cpu also needs NVIDIA's libraries, though a CPU model calls none of them.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

ROOTS = ("libc10.so", "libtorch_cpu.so")


def collect(folder: Path) -> list[Path]:
    """Copy the libraries into `folder`; $ORIGIN is in their run path, so they find each other there."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    torch = Path(found.origin).parent / "lib"
    packages = torch.parent.parent
    needed = {torch / name for name in ROOTS}
    listing = subprocess.run(["ldd", *map(str, needed)], capture_output=True, text=True, check=True).stdout  # noqa: S607
    for line in listing.splitlines():
        name, arrow, target = line.partition(" => ")
        path = Path(target.split(" (")[0].strip())
        if arrow and path.is_relative_to(packages):
            needed.add(path.with_name(name.strip()))
    folder.mkdir(parents=True, exist_ok=True)
    copies = [Path(shutil.copy(path, folder)) for path in sorted(needed)]
    # Strips the symbol table, which nothing reads at run time: a fifth of libtorch_cpu.
    subprocess.run(["strip", "--strip-unneeded", *map(str, copies)], check=True)  # noqa: S607
    return copies


if __name__ == "__main__":
    for copied in collect(Path(sys.argv[1])):
        print(f"{copied.stat().st_size / 2**20:8.1f} MiB  {copied}")
