import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.runtime import cpu
from tests.support.serving import ROOT


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture(autouse=True)
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quota is told apart from the affinity of the machine that runs the tests."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))


def _quota(tmp_path: Path, cgroup: str) -> int:
    _write(tmp_path / "proc", cgroup=cgroup)
    return cpu.quota(tmp_path / "proc", tmp_path / "sys")


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("200000 100000", 2), ("150000 100000", 2), ("100000 100000", 1), ("10000 100000", 1), ("max 100000", 64),
     ("6400000 100000", 64), ("12800000 100000", 64), ("50000 20000", 3), ("nonsense", 64), ("", 64)],
)  # fmt: skip
def test_cgroup_v2(tmp_path: Path, text: str, cpus: int) -> None:
    _write(tmp_path / "sys" / "pod" / "container", cpu__max=text)
    assert _quota(tmp_path, "0::/pod/container\n") == cpus


@pytest.mark.parametrize(("memory_mb", "cpus"), [(128, 1), (1769, 1), (1770, 2), (3538, 2), (10240, 6)])
def test_lambda_gives_a_cpu_for_each_1769_mb(memory_mb: int, cpus: int) -> None:
    assert cpu.of_lambda(memory_mb) == cpus


def test_the_smallest_limit_of_all_parents_holds(tmp_path: Path) -> None:
    _write(tmp_path / "sys" / "pod" / "container", cpu__max="800000 100000")
    _write(tmp_path / "sys" / "pod", cpu__max="300000 100000")
    _write(tmp_path / "sys", cpu__max="max 100000")
    assert _quota(tmp_path, "0::/pod/container\n") == 3


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path) -> None:
    """The path in /proc names the host's tree, of which nothing is mounted."""
    _write(tmp_path / "sys", cpu__max="200000 100000")
    assert _quota(tmp_path, "0::/kubepods/pod1/container\n") == 2
    assert _quota(tmp_path, "0::/\n") == 2
    assert _quota(tmp_path, "0::/../../other\n") == 2


@pytest.mark.parametrize(("quota", "cpus"), [("250000", 3), ("100000", 1), ("-1", 64), ("0", 64), ("x", 64)])
@pytest.mark.parametrize("controllers", ["cpu,cpuacct", "cpu"])
def test_cgroup_v1(tmp_path: Path, controllers: str, quota: str, cpus: int) -> None:
    folder = tmp_path / "sys" / controllers / "docker" / "one"
    _write(folder, cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    cgroup = f"5:memory:/docker/one\n4:{controllers}:/docker/one\n3:cpuset:/docker/one\n"
    assert _quota(tmp_path, cgroup) == cpus


def test_cgroup_v1_under_a_link_of_its_name(tmp_path: Path) -> None:
    _write(tmp_path / "sys" / "cpu", cpu__cfs_quota_us="400000", cpu__cfs_period_us="100000")
    assert _quota(tmp_path, "4:cpu,cpuacct:/docker/one\n") == 4


def test_both_versions_at_once(tmp_path: Path) -> None:
    _write(tmp_path / "sys" / "cpu", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    _write(tmp_path / "sys" / "unified", cpu__max="100000 100000")
    assert _quota(tmp_path, "4:cpu:/\n0::/\n") == 3


def test_the_affinity_holds_where_it_is_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5})
    _write(tmp_path / "sys", cpu__max="800000 100000")
    assert _quota(tmp_path, "0::/\n") == 2


@pytest.mark.parametrize("cgroup", ["", "nonsense\n", "1:2\n", "::\n"])
def test_without_a_group_the_affinity_holds(tmp_path: Path, cgroup: str) -> None:
    assert _quota(tmp_path, cgroup) == 64
    assert cpu.quota(tmp_path / "no", tmp_path / "sys") == 64


def test_a_process_that_was_given_one_cpu_has_a_quota_of_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from service.runtime import cpu; print(cpu.quota())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_flags_of_the_cpu(tmp_path: Path) -> None:
    _write(tmp_path, cpuinfo="processor : 0\nflags\t\t: fpu avx2 fma\nbugs : x\n\nprocessor : 1\nflags : fpu\n")
    assert cpu.flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "fma"}
    _write(tmp_path, cpuinfo="processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd atomics\nCPU part\t: 0xd0c\n")
    assert cpu.flags(tmp_path / "cpuinfo") == {"fp", "asimd", "atomics"}
    _write(tmp_path, cpuinfo="processor : 0\nfeatures : vx\n")
    assert cpu.flags(tmp_path / "cpuinfo") == frozenset()
    assert cpu.flags() >= (cpu.ARMV8_2_A if os.uname().machine == "aarch64" else cpu.X86_64_V3)
