"""Builds the runtime library, and tells what a compiled program lacks with it."""

import shutil
import subprocess
from pathlib import Path

import torch
from torch._inductor import cpp_builder

from model.artifact import Artifact
from service.runtime.engine import aoti_abi

_MODEL = Path(__file__).parents[1]
SOURCES = tuple(sorted([*_MODEL.glob("standalone/*.cpp"), *_MODEL.glob("kernels/*.cpp")]))
# Whose C shim the library implements. Another version may want other functions, or other things of the same ones.
TORCH = "2.13."


class StandaloneError(Exception):
    """The model does not run without libtorch; the message says why."""


def build(artifact: Artifact) -> Path:
    """The library for the artifact's CPU and its version of torch, in the artifact's folder, with what it needs.

    Raises:
        StandaloneError: it is not written for this version of torch, or does not compile.
    """
    version = artifact.versions["torch"]
    if not version.startswith(TORCH):
        raise StandaloneError(f"the runtime library is written for torch {TORCH}x, and this is {version}")
    library = artifact.path / aoti_abi.STANDALONE
    # -O3: with -O2, GCC 12 keeps no array of vectors in registers.
    # -Bsymbolic: its functions call each other, also where libtorch is in the same process and has the same names.
    arguments = [
        "-std=c++17", "-O3", "-fopenmp", "-fPIC", "-shared", "-fvisibility=hidden", f"-march={artifact.cpu.name}",
        f'-DBUILT_FOR="{aoti_abi.built_for(version)}"', "-isystem", str(Path(torch.__file__).parent / "include"),
        f"-Wl,--as-needed,-Bsymbolic,-soname,{library.name}", "-o", str(library), *map(str, SOURCES), "-lm",
    ]  # fmt: skip
    done = subprocess.run([cpp_builder.get_cpp_compiler(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["the compiler gave no reason"]
        raise StandaloneError(f"the runtime library does not compile: {errors[0]}")
    library.chmod(0o644)
    _provide_openmp(artifact.path)
    return library


def _provide_openmp(folder: Path) -> None:
    """Copy the compiler's OpenMP library, which this one needs: a slim image of Debian has none."""
    command = [cpp_builder.get_cpp_compiler(), f"-print-file-name={aoti_abi.OPENMP}"]
    found = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    if not found.is_absolute():
        raise StandaloneError(f"the compiler has no {found}")
    shutil.copyfile(found, folder / aoti_abi.OPENMP)


def missing(program: Path, library: Path) -> list[str]:
    """The functions that a program calls and that neither the runtime library nor the system's libraries have.

    What a system's library has got its version (`malloc@GLIBC_2.2.5`) when the program was linked.
    """
    wanted = {name for name, kind in _symbols(program) if kind == "U" and "@" not in name}
    return sorted(wanted - {name for name, kind in _symbols(library) if kind not in "Uwv"})


def check(program: Path, library: Path) -> None:
    """Raise StandaloneError, naming what is missing, unless the program runs with this library."""
    names = missing(program, library)
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise StandaloneError(f"it calls functions that only libtorch has: {', '.join(names[:3])}{more}")


def _symbols(library: Path) -> list[tuple[str, str]]:
    """(name, kind) of each dynamic symbol, as nm tells them."""
    command = ["nm", "--dynamic", "--format=posix", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [(name, kind) for name, kind, *_ in (line.split() for line in listing.splitlines())]
