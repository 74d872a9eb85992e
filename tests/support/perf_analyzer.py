"""perf_analyzer, Triton's load generator, unchanged: a binary in a wheel of PyPI, and the libraries that it needs."""

import csv
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The newest wheel of tritonclient that has the binary; the newer ones have none. CUDA's library is loaded and not used.
WHEELS = """\
tritonclient==2.50.0 --hash=sha256:421fbb69ae6ab8cdb2c35b82134fcef2fe11e7af7718b1fcbc53335ab9bfe889
nvidia-cuda-runtime-cu12==12.9.79 --hash=sha256:25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3
"""
WANTED = ("tritonclient-2.50.0.data/data/bin/perf_analyzer", "nvidia/cuda_runtime/lib/libcudart.so.12")
RUN_S = 300.0
REPORT = re.compile(r"Request concurrency: (\d+)\n(.*?)(?:\n\n|\Z)", re.DOTALL)
# Any spread counts as stable: a test waits for a report, not for a quiet machine.
SOON = ("--measurement-mode", "count_windows", "--measurement-request-count", "10", "--stability-percentage", "999")


class MissingError(RuntimeError):
    """It cannot be had here; the message says why."""


@dataclass(frozen=True)
class Report:
    """What it printed, and its table: for each concurrency a value for each column."""

    text: str
    rows: list[Mapping[str, str]]

    def told(self, concurrency: int) -> str:
        """What it printed of one concurrency."""
        told: dict[str, str] = dict(REPORT.findall(self.text))
        return told[str(concurrency)]

    def row(self, concurrency: int) -> dict[str, float]:
        (found,) = (each for each in self.rows if each["Concurrency"] == str(concurrency))
        return {name: float(value) for name, value in found.items() if value}


@dataclass(frozen=True)
class PerfAnalyzer:
    """Installed in `folder`."""

    folder: Path

    def run(self, model: str, address: str, scratch: Path, *options: str) -> Report:
        """Its report on the model of the server at `address`, `host:port`.

        Raises:
            RuntimeError: it did not end well; with what it said.
        """
        table = scratch / "perf_analyzer.csv"
        command = ["-m", model, "-u", address, "-f", str(table), "--verbose-csv", *options]
        done = self.call(command, RUN_S)
        if done.returncode:
            raise RuntimeError(f"perf_analyzer failed: {done.stdout}{done.stderr}")
        with table.open(newline="") as file:
            return Report(done.stdout, list(csv.DictReader(file)))

    def call(self, arguments: Sequence[str], timeout_s: float) -> "subprocess.CompletedProcess[str]":
        libraries = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("LD_LIBRARY_PATH"))))
        return subprocess.run(
            [str(self.folder / "perf_analyzer"), *arguments], env={"LD_LIBRARY_PATH": libraries},
            capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip


def install(folder: Path) -> PerfAnalyzer:
    """The program, downloaded once into `folder`, its files checked against their hashes.

    Raises:
        MissingError: it cannot be downloaded, or does not start.
    """
    found = PerfAnalyzer(folder)
    if not all((folder / Path(name).name).is_file() for name in WANTED):
        _download(folder)
    done = found.call(["--version"], 60)
    if done.returncode:
        hint = ": apt-get install libb64-0d" if "libb64" in done.stderr else ""
        raise MissingError(f"perf_analyzer does not start: {done.stderr.strip()}{hint}")
    return found


def _download(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "wheels.txt"
    pins.write_text(WHEELS)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--only-binary", ":all:", "--require-hashes", "--requirement", str(pins), "--dest", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr or done.stdout or "it said nothing").strip().splitlines()[-1]
        raise MissingError(f"perf_analyzer cannot be downloaded: {said}")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            for name in set(WANTED) & set(packed.namelist()):
                # Complete, or not there at all, even if two processes do this at the same time.
                part = folder / f"{Path(name).name}.{os.getpid()}"
                part.write_bytes(packed.read(name))
                part.chmod(0o755)
                part.replace(folder / Path(name).name)
        wheel.unlink()
