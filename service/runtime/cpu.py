"""How many threads the CPU quota allows, and what the CPU can do."""

import os
from collections.abc import Callable
from pathlib import Path

# What GCC's -march=x86-64-v3 may use (x86-64 psABI, section 3.1.1), in /proc/cpuinfo's names.
X86_64_V3 = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"))
# What GCC's -march=armv8.2-a may use (GCC's manual, AArch64 Options: +fp, +simd, +crc, +lse, +rdma).
ARMV8_2_A = frozenset(("fp", "asimd", "crc32", "atomics", "asimdrdm"))

# "At 1,769 MB, a function has the equivalent of one vCPU": docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_MB_PER_CPU = 1769


def flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The CPU's feature flags by their /proc/cpuinfo names; empty where there are none to read."""
    for line in cpuinfo.read_text().splitlines():
        # x86-64's name for them, and arm64's
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def quota(proc: Path = Path("/proc/self"), sysfs: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs this process may use, at least 1: min(affinity, cgroup v2 `cpu.max`, cgroup v1 CFS quota).

    A quota of 1.5 CPUs gives 2: rounding down would leave paid time idle.
    """
    limits = [float(len(os.sched_getaffinity(0)))]
    for hierarchy, controllers, path in _cgroups(proc):
        if hierarchy == "0":
            limits += _along(sysfs, path, _v2_limit)
        elif "cpu" in controllers.split(","):
            root = next((sysfs / name for name in (controllers, "cpu") if (sysfs / name).is_dir()), sysfs)
            limits += _along(root, path, _v1_limit)
    return max(1, -int(-min(limits) // 1))


def of_lambda(memory_mb: int) -> int:
    """CPUs whose time AWS Lambda gives to a function with this much memory, at least 1; two are always visible."""
    return max(1, -(-memory_mb // LAMBDA_MB_PER_CPU))


def _cgroups(proc: Path) -> list[list[str]]:
    """The lines `hierarchy:controllers:path` of /proc/self/cgroup (cgroups(7))."""
    try:
        text = (proc / "cgroup").read_text()
    except OSError:
        return []
    return [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]


def _along(root: Path, path: str, limit: Callable[[Path], float | None]) -> list[float]:
    """The limits of the group and of all its parents; the smallest one applies.

    In a container `path` may name the host's tree while the group itself is mounted at `root`,
    so folders that are not there are passed over.
    """
    folder = root / path.strip("/")
    folders = [folder, *folder.parents]
    folders = folders[: folders.index(root) + 1] if root in folders else [root]
    return [value for each in folders if (value := limit(each)) is not None]


def _v2_limit(folder: Path) -> float | None:
    try:
        quota_us, period_us = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota_us == "max" else int(quota_us) / int(period_us)


def _v1_limit(folder: Path) -> float | None:
    try:
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        period_us = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 else None
