"""The CPU that aoti compiles for: this machine's baseline or more, and one sentence where there is none."""

import os

import pytest

from model import cpus
from model.cpus import CpuError
from service.runtime import cpu
from tests.support.exporting import model_command

BASELINES = {"x86_64": ("x86-64-v3", cpu.X86_64_V3, "AVX2"), "aarch64": ("armv8.2-a", cpu.ARMV8_2_A, "ADVANCED_SIMD")}


def _machine(monkeypatch: pytest.MonkeyPatch, machine: str, flags: frozenset[str] = frozenset()) -> None:
    """Let this machine be of another kind, as the kernel tells it."""
    told = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*told[:4], machine)))
    monkeypatch.setattr(cpu, "flags", lambda: flags)


@pytest.mark.parametrize("machine", BASELINES)
def test_the_baseline_is_that_of_the_kind_of_machine(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    name, flags, isa = BASELINES[machine]
    _machine(monkeypatch, machine, flags | {"more"})
    spec = cpus.resolve()
    assert spec == cpus.resolve(name)
    assert (spec.name, spec.flags, spec.onednn_isa, spec.machine) == (name, tuple(sorted(flags)), isa, machine)
    assert not cpus.has_bfloat16(spec)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only for x86_64 can models be compiled for more")
def test_native_has_all_of_the_baseline() -> None:
    spec = cpus.resolve("native")
    assert set(spec.flags) >= cpu.X86_64_V3
    assert spec.machine == "x86_64"


@pytest.mark.parametrize(
    ("machine", "lacks", "name", "sentence"),
    [
        ("x86_64", "avx2", "", "this CPU lacks avx2, which x86-64-v3 has: export with --engine onnx"),
        # A Raspberry Pi 4
        ("aarch64", "atomics", "", "this CPU lacks atomics, which armv8.2-a has: export with --engine onnx"),
        ("x86_64", "", "armv8.2-a", "on x86_64, the engine aoti compiles for x86-64-v3, not for armv8.2-a"),
        ("aarch64", "", "x86-64-v3", "on aarch64, the engine aoti compiles for armv8.2-a, not for x86-64-v3"),
        ("aarch64", "", "native", "on aarch64, the engine aoti compiles for armv8.2-a, not for native"),
        (
            "riscv64",
            "",
            "",
            "the engine aoti compiles for x86_64 and aarch64, not for riscv64: export with --engine onnx",
        ),
    ],
)
def test_a_cpu_that_cannot_be_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, machine: str, lacks: str, name: str, sentence: str
) -> None:
    flags = BASELINES.get(machine, ("", frozenset[str](), ""))[1]
    _machine(monkeypatch, machine, flags - {lacks})
    with pytest.raises(CpuError) as fault:
        cpus.resolve(name)
    assert str(fault.value) == sentence


def test_export_tells_it() -> None:
    machine = os.uname().machine
    ours, (other, *_) = BASELINES[machine][0], BASELINES["x86_64" if machine == "aarch64" else "aarch64"]
    done = model_command("export", "efficientnet_lite0", "--cpu", other, "--output", "/nowhere")
    told = f"export failed: on {machine}, the engine aoti compiles for {ours}, not for {other}"
    # Before it may stand what torch's libraries say of an emulated CPU.
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (1, "", told)
