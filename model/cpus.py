"""CPU baselines that a model can be compiled for."""

import os

from model.artifact import CpuSpec
from service.runtime import cpu

# oneDNN's ISA levels, best first, with the flags that each needs (oneDNN: "CPU Dispatcher Control").
_ONEDNN_LEVELS = (
    ("AVX512_CORE_AMX", ("amx_tile", "amx_int8", "amx_bf16", "avx512_fp16")),
    ("AVX512_CORE_FP16", ("avx512_fp16", "avx512_bf16")),
    ("AVX512_CORE_BF16", ("avx512_bf16", "avx512_vnni")),
    ("AVX512_CORE_VNNI", ("avx512_vnni", "avx512bw")),
    ("AVX512_CORE", ("avx512f", "avx512bw", "avx512dq", "avx512vl")),
    ("AVX2_VNNI", ("avx_vnni", "avx2")),
    ("AVX2", ("avx2",)),
)
# What GCC's -march=native may use of vector instructions beyond x86-64-v3, in /proc/cpuinfo's names.
_VECTOR_FLAGS = (
    "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512ifma", "avx512vbmi", "avx512_vbmi2", "avx512_bitalg",
    "avx512_vpopcntdq", "avx512_bf16", "avx512_vnni", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "amx_fp16",
    "avx_vnni", "avx_vnni_int8", "avx_ifma", "avx_ne_convert", "gfni", "vaes", "vpclmulqdq",
)  # fmt: skip

_BASELINES = {
    "x86_64": CpuSpec("x86-64-v3", tuple(sorted(cpu.X86_64_V3)), "AVX2", "x86_64"),
    "aarch64": CpuSpec("armv8.2-a", tuple(sorted(cpu.ARMV8_2_A)), "ADVANCED_SIMD", "aarch64"),
}
NAMES = (*(each.name for each in _BASELINES.values()), "native")

_OTHERWISE = "export with --engine onnx"


class CpuError(Exception):
    """This machine cannot compile for that CPU."""


def resolve(name: str = "") -> CpuSpec:
    """What code for `name` (by default the baseline of this kind of machine) needs of a CPU.

    Export also runs the model here, so this CPU must have it.

    Raises:
        CpuError: this CPU lacks something that the baseline needs, or is of another kind.
    """
    machine, here = os.uname().machine, cpu.flags()
    baseline = _BASELINES.get(machine)
    if baseline is None:
        raise CpuError(f"the engine aoti compiles for {' and '.join(_BASELINES)}, not for {machine}: {_OTHERWISE}")
    if missing := set(baseline.flags) - here:
        raise CpuError(f"this CPU lacks {', '.join(sorted(missing))}, which {baseline.name} has: {_OTHERWISE}")
    if name in ("", baseline.name):
        return baseline
    if name != "native" or machine != "x86_64":
        raise CpuError(f"on {machine}, the engine aoti compiles for {baseline.name}, not for {name}")
    level = next(level for level, needed in _ONEDNN_LEVELS if here.issuperset(needed))
    return CpuSpec(name, tuple(sorted(cpu.X86_64_V3 | (here & set(_VECTOR_FLAGS)))), level, machine)


def has_bfloat16(spec: CpuSpec) -> bool:
    """Whether oneDNN has bfloat16 kernels at this level; without them torch converts back and forth."""
    return spec.onednn_isa in ("AVX512_CORE_AMX", "AVX512_CORE_FP16", "AVX512_CORE_BF16")
