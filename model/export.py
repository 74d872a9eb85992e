"""The steps of one export: module -> candidates -> parity -> measurement -> artifact."""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from model import catalog, cpus, parity
from model.artifact import Artifact, CpuSpec, Defaults, Program, TensorSpec
from model.catalog import Model
from model.compiling import Compilation, compiled
from model.contract import DATATYPES, ready
from model.lower import lower_onnx
from model.precision import in_precision
from model.progress import step
from model.selection import best_plan, candidates, keep
from model.standalone.library import StandaloneError
from service.runtime.cpu import quota


class ExportError(Exception):
    """The model cannot be exported; nothing was left behind."""


@dataclass(frozen=True)
class Request:
    """What `python -m model export` was asked for. `batch_sizes` and `threads` are the candidates to measure."""

    name: str
    output: Path
    engine: str = "aoti"
    precision: str = "fp32"
    runtime: str = "auto"
    cpu: str = ""
    weights: str = ""
    batch_sizes: tuple[int, ...] = (1, 4)
    threads: tuple[int, ...] = ()
    tolerance: float | None = None


def export(request: Request) -> Artifact:
    """Write the artifact into `request.output`; an artifact that is there already is replaced only after success.

    Raises:
        ExportError: the model cannot be exported, or its answers differ from eager PyTorch's.
        CatalogError, ContractError, CpuError: from looking up the model and the CPU.
    """
    _check_output(request)
    cpu = CpuSpec("any") if request.engine == "onnx" else cpus.resolve(request.cpu)
    os.environ["ONEDNN_MAX_CPU_ISA"] = cpu.onednn_isa or "DEFAULT"
    if request.precision == "bf16" and not cpus.has_bfloat16(cpu):
        print(
            f"  note: {cpu.name} here has no bfloat16 instructions: expect bf16 to be slower than fp32", file=sys.stderr
        )
    with step(f"load {request.name}"):
        model = ready(catalog.load(request.name, request.weights))
    with step("answers of eager PyTorch"):
        reference = parity.reference(model)
    request.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{request.output.name}.", dir=request.output.parent) as scratch:
        draft = _draft(request, model, cpu, reference)
        engines = ("aoti", "onnx") if request.engine == "auto" else (request.engine,)
        bests = []
        for engine in engines:
            lowered = _lower(request, model, replace(draft, engine=engine, path=Path(scratch) / engine), reference)
            bests.append(best_plan(lowered, candidates(request.batch_sizes, _threads(request)), reference))
        artifact = keep(bests)
        _replace(artifact.path, request.output)
    return Artifact.read(request.output)


def _check_output(request: Request) -> None:
    output = request.output
    is_free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not is_free and not (output / "artifact.json").is_file():
        raise ExportError(f"{output} exists and is not an artifact: it is left as it is")
    if request.runtime != "auto" and request.engine == "onnx":
        raise ExportError(f"--runtime {request.runtime} needs --engine aoti: ONNX Runtime never needs libtorch")
    if request.precision == "bf16" and request.engine != "aoti":
        raise ExportError("--precision bf16 needs --engine aoti: ONNX Runtime has no bfloat16 kernels for CPUs")


def _threads(request: Request) -> tuple[int, ...]:
    return request.threads or tuple(sorted({1, min(quota(), 8)}))


def _draft(request: Request, model: Model, cpu: CpuSpec, reference: parity.Reference) -> Artifact:
    versions = {name: metadata.version(name) for name in ("torch", "onnxruntime")}
    return Artifact(
        name=model.name,
        engine="",
        precision=request.precision,
        inputs=tuple(
            TensorSpec(name, DATATYPES[example.dtype], tuple(example.shape[1:]))
            for name, example in model.inputs.items()
        ),
        outputs=tuple(
            TensorSpec(name, DATATYPES[answer.dtype], tuple(answer.shape[1:]))
            for name, answer in zip(model.outputs, reference.outputs, strict=True)
        ),
        programs=(),
        defaults=Defaults(1, 1),
        cpu=cpu,
        labels=tuple(model.labels),
        image=model.image,
        tolerance=request.tolerance or parity.TOLERANCES[request.precision],
        versions=versions,
    )


def _lower(request: Request, model: Model, draft: Artifact, reference: parity.Reference) -> Artifact:
    """The draft with its programs, compiled into its folder or one beside it."""
    module = in_precision(model, request.precision)
    try:
        if draft.engine == "onnx":
            draft.path.mkdir()
            with step("export to ONNX"):
                lower_onnx(module, model.inputs, model.outputs, draft.path / "model.onnx")
            return replace(draft, programs=(Program("model.onnx", 0, 0),), cpu=CpuSpec("any"), runtime="")
        plans = candidates(request.batch_sizes, _threads(request))
        return compiled(Compilation(module, tuple(model.inputs.values()), plans, request.runtime), draft, reference)
    except StandaloneError as fault:
        raise ExportError(f"{draft.name} cannot run without libtorch: {fault}") from fault
    except Exception as fault:
        reasons = [line for line in str(fault).splitlines() if line.strip()][:12]
        raise ExportError(
            f"{draft.name} cannot be exported for {draft.engine} ({type(fault).__name__}):\n" + "\n".join(reasons)
        ) from fault


def _replace(new: Path, output: Path) -> None:
    """Put the folder in place; a reader sees the old artifact or the new one."""
    old = new.with_name("replaced")
    if output.exists():
        output.rename(old)
    shutil.copymode(output.parent, new)
    new.rename(output)
