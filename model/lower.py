"""Module -> what an engine loads: a library compiled by AOTInductor, or an ONNX graph."""

import functools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._inductor import cpu_vec_isa

from model.artifact import CpuSpec
from model.contract import Tensors
from model.kernels.operators import SHIMS
from model.kernels.rewrite import rewritten
from model.padding import fold_padding
from service.runtime.engine import aoti_abi


class _Contiguous(torch.nn.Module):
    """The module with contiguous outputs, whatever they are views of."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        return tuple(each.contiguous() for each in self.module(*inputs))


@dataclass(frozen=True)
class Target:
    """What a library is compiled for. With a `runtime` library, Inductor compiles every kernel that it can itself."""

    cpu: CpuSpec
    threads: int = 1
    runtime: Path | None = None


def lower_aoti(module: torch.nn.Module, inputs: Tensors, library: Path, target: Target) -> None:
    """Compile for exactly the shapes of `inputs` and runs of `target.threads` threads.

    Batch and threads are fixed because oneDNN packs the weights for them: a static batch with frozen weights takes
    half the time of a dynamic one, and a library packed for 2 threads but run on 1 packs a layer anew at each run.
    """
    torch.set_num_threads(target.threads)
    with (
        torch.no_grad(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), vectors_of(target.cpu),
        _linked_with(target.runtime) if target.runtime else nullcontext(),
    ):  # fmt: skip
        # Inductor looks for Python's headers each time it calls the compiler, but a compiled model includes none of them.
        warnings.filterwarnings("ignore", "Can't find Python.h", UserWarning)
        program = torch.export.export(_Contiguous(module).eval(), inputs)
        graph = rewritten(program) if target.runtime else program.module()
        if target.runtime or fold_padding(graph):
            graph = torch.export.export(graph, inputs).module()
        # The compiler leaves its source files beside the library.
        options = {"aot_inductor.output_path": str(Path(folder) / "model.so"), **_options(target)}
        compiled = torch._inductor.aot_compile(graph, inputs, options=options)  # noqa: SLF001 - packaged, it is zipped
        shutil.move(str(compiled), library)
    library.chmod(0o644)


def _options(target: Target) -> dict[str, Any]:
    """Inductor's."""
    is_native = target.cpu.name == "native"
    options = {
        "freezing": True,
        # The service opens libtorch_cpu itself. Linked, the library names libtorch.so too where torch is the CUDA build,
        # which in turn needs all of CUDA.
        "aot_inductor.link_libtorch": False,
        # `model.cpus` has checked the CPU. Inductor's own check compiles and loads a probe that needs libtorch, which by
        # the line above is not linked to the probe either: it fails, and all code is scalar.
        "cpp.vec_isa_ok": not {"avx2", "asimd"}.isdisjoint(target.cpu.flags),
        # Weights at the end of the file instead of among the code: the service gives these pages back once copied.
        "aot_inductor.force_mmap_weights": True,
        # For debuggers only, and 1.4 MB of each library.
        "aot_inductor.enable_line_tables": False,
        "cpp.threads": target.threads,
        "cpp.march": target.cpu.name,
        "cpp.simdlen": None if is_native else 128 if target.cpu.machine == "aarch64" else 256,
    }
    if target.runtime is None:
        return options
    name = target.runtime.stem.removeprefix("lib")
    return options | {
        "max_autotune": True,
        "max_autotune_gemm_backends": "CPP",
        "aot_inductor.custom_op_libs": [name],
        "aot_inductor.custom_ops_to_c_shims": SHIMS,
    }


@functools.cache
def _neon() -> list[cpu_vec_isa.VecISA]:
    return [cpu_vec_isa.VecNEON()]


@contextmanager
def vectors_of(cpu: CpuSpec) -> Iterator[None]:
    """Let Inductor use the vectors that every CPU of this name has, whatever an earlier compilation found out."""
    find = cpu_vec_isa.valid_vec_isa_list
    find.cache_clear()
    if cpu.machine == "aarch64":
        # On a CPU with SVE Inductor knows only SVE, and no option names another: NEON's length alone gives scalar code.
        cpu_vec_isa.valid_vec_isa_list = _neon
    try:
        yield
    finally:
        cpu_vec_isa.valid_vec_isa_list = find


@contextmanager
def _linked_with(runtime: Path) -> Iterator[None]:
    """Let the linker find the runtime library: Inductor has an option for its name only."""
    # Inductor loads what it compiles to try it, which is linked with the library too.
    aoti_abi.dlopen(runtime, aoti_abi.RTLD_NOW)
    # Whole: the linker runs in a folder of Inductor's.
    folder, before = runtime.parent.resolve(), os.environ.get("LIBRARY_PATH")
    os.environ["LIBRARY_PATH"] = str(folder) if before is None else f"{folder}:{before}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["LIBRARY_PATH"]
        else:
            os.environ["LIBRARY_PATH"] = before


def lower_onnx(module: torch.nn.Module, inputs: dict[str, torch.Tensor], outputs: Sequence[str], graph: Path) -> None:
    """Export for any batch, and save the graph with the optimisations that hold on every CPU.

    The engine knows inputs and outputs by their order. In the graph their names get a prefix, because names there must be
    unique: an output with the name of an input or of an inner node (`add`, `mul`) would make the graph invalid.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # otherwise it reports its use to Microsoft
    import onnxruntime

    batch = torch.export.Dim("batch", min=1, max=4096)
    two = tuple(torch.cat([each, each]) for each in inputs.values())
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            two,
            input_names=[f"inputs.{name}" for name in inputs],
            output_names=[f"outputs.{name}" for name in outputs],
            dynamo=True,
            # The module takes *inputs, which the exporter counts as one argument.
            dynamic_shapes=(tuple({0: batch} for _ in two),),
            verbose=False,
        )
        assert program is not None
        plain = Path(folder) / "plain.onnx"
        program.save(plain)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(graph)
        # The weights in a file of their own, which is mapped: a session takes 48 ms of CPU instead of 73, and 12 MB less.
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{graph.name}.data"
        )
        onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
