"""The way of one export: module -> candidates -> parity -> measurement -> artifact."""

import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from model import catalog, cpus, parity
from model.artifact import Artifact, CpuSpec, Defaults, Program, TensorSpec
from model.catalog import ImageClassifier, Model
from model.lower import lower_aoti, lower_onnx
from model.measure import Report, measure
from model.progress import step
from service.cpu import quota
from service.engine import Plan

# A larger batch or more threads must be this much faster, or the simplest is kept: one item on one thread.
WORTH = 1.10
DATATYPES = {
    torch.bool: "BOOL", torch.uint8: "UINT8", torch.uint16: "UINT16", torch.uint32: "UINT32", torch.uint64: "UINT64",
    torch.int8: "INT8", torch.int16: "INT16", torch.int32: "INT32", torch.int64: "INT64",
    torch.float16: "FP16", torch.bfloat16: "BF16", torch.float32: "FP32", torch.float64: "FP64",
}  # fmt: skip


class ExportError(Exception):
    """The model cannot be exported; nothing was left behind."""


@dataclass(frozen=True)
class Request:
    """What `python -m model export` was asked for. `batch_sizes` and `threads` are the candidates to measure."""

    name: str
    output: Path
    engine: str = "aoti"
    precision: str = "fp32"
    cpu: str = "x86-64-v3"
    weights: str = ""
    batch_sizes: tuple[int, ...] = (1, 4)
    threads: tuple[int, ...] = ()
    tolerance: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One engine's artifact with one way to run it, and what was measured of that."""

    artifact: Artifact
    plan: Plan
    report: Report

    @property
    def row(self) -> dict[str, Any]:
        numbers = asdict(self.report)
        del numbers["answers"]
        plan = self.plan
        return {"batch": plan.max_batch_size, "threads": plan.threads, "runners": plan.runners, **numbers}


def export(request: Request) -> Artifact:
    """Write the artifact into `request.output`, replacing an artifact there only when all went well.

    Raises:
        ExportError: the model cannot be exported, or its answers differ from eager PyTorch's.
        CatalogError, CpuError: as the model and the CPU are looked up.
    """
    _check_output(request)
    cpu = cpus.resolve(request.cpu)
    os.environ["ONEDNN_MAX_CPU_ISA"] = cpu.onednn_isa
    if request.precision == "bf16" and not cpus.has_bfloat16(cpu):
        print(
            f"  note: {cpu.name} here has no bfloat16 instructions: expect bf16 to be slower than fp32", file=sys.stderr
        )
    with step(f"load {request.name}"):
        model = catalog.load(request.name, request.weights)
        model.module.eval()
    with step("answers of eager PyTorch"):
        reference = parity.reference(model)
    request.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{request.output.name}.", dir=request.output.parent) as scratch:
        draft = _draft(request, model, cpu, reference)
        engines = ("aoti", "onnx") if request.engine == "auto" else (request.engine,)
        bests = []
        for engine in engines:
            lowered = _lower(request, model, replace(draft, engine=engine, path=Path(scratch) / engine))
            bests.append(_best(lowered, reference, _threads(request)))
        artifact = _keep(bests, request)
        _replace(artifact.path, request.output)
    return Artifact.read(request.output)


def _check_output(request: Request) -> None:
    output = request.output
    is_free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not is_free and not (output / "artifact.json").is_file():
        raise ExportError(f"{output} exists and is not an artifact: it is left as it is")
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


def _lower(request: Request, model: Model, draft: Artifact) -> Artifact:
    """The draft with its programs compiled into its folder."""
    draft.path.mkdir()
    example = tuple(model.inputs.values())
    module = _in_precision(model, request.precision)
    programs = []
    try:
        if draft.engine == "onnx":
            with step("export to ONNX"):
                names = ([spec.name for spec in draft.inputs], [spec.name for spec in draft.outputs])
                lower_onnx(module, example, names, draft.path / "model.onnx")
            programs.append(Program("model.onnx", 0, 0))
            draft = replace(draft, cpu=CpuSpec("any"))
        else:
            for batch, threads in _aoti_candidates(request):
                name = f"model-b{batch}-t{threads}.so"
                with step(f"compile with AOTInductor: batch {batch}, {threads} thread{'s' * (threads > 1)}"):
                    inputs = tuple(torch.cat([each] * batch) for each in example)
                    lower_aoti(module, inputs, draft.path / name, threads, draft.cpu)
                programs.append(Program(name, batch, threads))
    except Exception as fault:
        reasons = [line for line in str(fault).splitlines() if line.strip()][:12]
        raise ExportError(
            f"{draft.name} cannot be exported for {draft.engine} ({type(fault).__name__}):\n" + "\n".join(reasons)
        ) from fault
    return replace(draft, programs=tuple(programs))


def _aoti_candidates(request: Request) -> list[tuple[int, int]]:
    """(batch, threads): every batch on the fewest threads, and the smallest batch on every number of threads.

    A service needs the smallest batch on any number of threads that it may be told to use.
    """
    batches, threads = sorted({1, *request.batch_sizes}), sorted(_threads(request))
    return [(batch, threads[0]) for batch in batches] + [(1, each) for each in threads[1:]]


def _in_precision(model: Model, precision: str) -> torch.nn.Module:
    if precision == "fp32":
        return model.module
    if isinstance(model.module, ImageClassifier):
        return model.module.bfloat16()
    return _Bfloat16(model.module)


class _Bfloat16(torch.nn.Module):
    """A module in bfloat16 behind the datatypes of the original."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module.bfloat16()

    def forward(self, *inputs: torch.Tensor) -> Any:
        halved = [each.bfloat16() if each.is_floating_point() else each for each in inputs]
        results = self.module(*halved)
        several = results if isinstance(results, (tuple, list)) else (results,)
        return tuple(each.float() if each.dtype == torch.bfloat16 else each for each in several)


def _best(lowered: Artifact, reference: parity.Reference, threads: tuple[int, ...]) -> Candidate:
    """Parity of every candidate, then the fastest of them; the artifact keeps only what that one needs."""
    lowered = replace(lowered, path=lowered.path)
    parity.write_self_test(lowered, reference)
    lowered.write()
    if lowered.engine == "onnx":
        plans = [(batch, threads[0]) for batch in (1, 4, 8)] + [(1, each) for each in threads[1:]]
    else:
        plans = [(each.batch, each.threads) for each in lowered.programs]
    candidates, differences = [], {}
    for batch, each in plans:
        plan = Plan(max(1, quota() // each), each, batch)
        with step(f"{lowered.engine}: measure batch {batch}, {plan.runners} x {each} thread{'s' * (each > 1)}"):
            report = _measured(lowered, plan, reference)
        differences[f"batch {batch}, threads {each}"] = parity.check(lowered, report.answers, reference)
        candidates.append(Candidate(lowered, plan, report))
    simplest = candidates[0]
    best = max(candidates, key=lambda each: each.report.items_per_s)
    if best.report.items_per_s < WORTH * simplest.report.items_per_s:
        best = simplest
    evidence = {
        "parity": {"largest_difference": differences, **reference.description},
        "measured": [each.row for each in candidates],
        "cpus": quota(),
        "worth": WORTH,
    }
    kept = tuple(each for each in lowered.programs if each.batch in (0, 1, best.plan.max_batch_size))
    for program in set(lowered.programs) - set(kept):
        (lowered.path / program.file).unlink()
    defaults = Defaults(best.plan.max_batch_size, best.plan.threads)
    artifact = replace(lowered, programs=kept, defaults=defaults, evidence=evidence)
    return Candidate(artifact, best.plan, best.report)


def _measured(artifact: Artifact, plan: Plan, reference: parity.Reference) -> Report:
    try:
        return measure(artifact.path, plan, reference.questions)
    except RuntimeError as fault:
        raise ExportError(f"{artifact.name} does not run on {artifact.engine}: {fault}") from None


def _keep(bests: list[Candidate], request: Request) -> Artifact:
    """The faster engine's artifact, written, with the reason in its evidence."""
    best = max(bests, key=lambda each: each.report.items_per_s)
    if len(bests) == 1:
        why = f"asked for by --engine {request.engine}"
    else:
        other = next(each for each in bests if each is not best)
        why = (
            f"{best.report.items_per_s:.0f} items/s against {other.report.items_per_s:.0f} of {other.artifact.engine}, "
            f"loaded in {best.report.load_ms:.0f} against {other.report.load_ms:.0f} ms"
        )
    measured = {each.artifact.engine: each.artifact.evidence["measured"] for each in bests}
    artifact = replace(best.artifact, evidence={**best.artifact.evidence, "engine": why, "measured": measured})
    artifact.write()
    return artifact


def _replace(new: Path, output: Path) -> None:
    """Put the folder in place; a reader sees the old artifact or the new one."""
    old = new.with_name("replaced")
    if output.exists():
        output.rename(old)
    shutil.copymode(output.parent, new)
    new.rename(output)
