"""What the figures were measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.runtime import cpu

PACKAGES = ("torch", "onnxruntime", "flask", "gunicorn", "pillow")


def describe() -> dict[str, Any]:
    """CPU, memory, versions and date, for the JSON."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "cpu": model.partition(":")[2].strip() or platform.machine(),
        "cpus": cpu.quota(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cpu_ticks() -> tuple[int, int]:
    """All ticks of all CPUs, and those that the hypervisor gave to others (proc_stat(5), `steal`)."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks), ticks[7]
