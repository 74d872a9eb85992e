"""A module -> programs for the engine aoti: with libtorch or without it, by which was measured to be better."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from model import parity
from model.artifact import Artifact, Program
from model.contract import Tensors
from model.faults import summary
from model.lower import Target, lower_aoti
from model.measure import MeasureError
from model.progress import step
from model.selection import Candidate, best_plan
from model.standalone import library
from model.standalone.library import StandaloneError
from service.runtime.engine import aoti_abi

# Without libtorch, a model is kept unless it does less than this share of what it does with libtorch: it saves 200 ms of
# each wake, which is the time of ten pictures, and 434 MB of the image and of what a node reads from its disk.
# Compared is CPU time: on a busy machine, two measurements of items a second differed by a factor of two.
WORTH = 0.7
# What is slower by less than this is as fast: a request takes about a millisecond besides.
NEGLIGIBLE_MS = 0.5
FURTHER_ROUNDS = 2


@dataclass(frozen=True)
class Compilation:
    """What to compile: a module for each pair of batch and threads, the simplest first. `runtime` may be auto."""

    module: torch.nn.Module
    example: Tensors
    plans: list[tuple[int, int]]
    runtime: str


def compiled(what: Compilation, draft: Artifact, reference: parity.Reference) -> Artifact:
    """The draft with its programs, in a folder beside the draft's.

    Raises:
        StandaloneError: the module must not need libtorch, and does.
    """
    if what.runtime == "libtorch":
        return _with_others(what, _simplest(what, draft, "libtorch"), "asked for by --runtime libtorch")
    try:
        alone = _simplest(what, draft, "standalone")
        if what.runtime == "standalone":
            return _with_others(what, alone, "asked for by --runtime standalone")
        return _better(what, alone, draft, reference)
    except StandaloneError as fault:
        if what.runtime == "standalone":
            raise
        return _with_others(what, _simplest(what, draft, "libtorch"), f"it needs libtorch: {fault}")


def _simplest(what: Compilation, draft: Artifact, runtime: str) -> Artifact:
    """The draft with the program of the first plan only."""
    artifact = replace(draft, runtime=runtime, path=draft.path.with_name(f"{draft.path.name}-{runtime}"))
    artifact.path.mkdir()
    if runtime == "standalone":
        library.build(artifact)
    return _with(what, artifact, what.plans[0])


def _with_others(what: Compilation, artifact: Artifact, why: str, measured: dict[str, Any] | None = None) -> Artifact:
    """The artifact with the programs of all plans, and the evidence for its runtime."""
    for plan in what.plans[1:]:
        artifact = _with(what, artifact, plan)
    return replace(artifact, evidence={"runtime": why, "runtimes": measured or {}})


def _with(what: Compilation, artifact: Artifact, plan: tuple[int, int]) -> Artifact:
    """The artifact with one program more."""
    batch, threads = plan
    path = artifact.path / f"model-b{batch}-t{threads}.so"
    inputs = tuple(torch.cat([each] * batch) for each in what.example)
    told = {"libtorch": "", "standalone": " without libtorch"}[artifact.runtime]
    with step(f"compile with AOTInductor{told}: batch {batch}, {threads} thread{'s' * (threads > 1)}"):
        if artifact.runtime == "libtorch":
            lower_aoti(what.module, inputs, path, Target(artifact.cpu, threads))
        else:
            runtime = artifact.path / aoti_abi.STANDALONE
            try:
                lower_aoti(what.module, inputs, path, Target(artifact.cpu, threads, runtime))
            except Exception as fault:
                raise StandaloneError(f"without it, it does not compile ({_reason(fault)})") from fault
            library.check(path, runtime)
    return replace(artifact, programs=(*artifact.programs, Program(path.name, batch, threads)))


def _better(what: Compilation, alone: Artifact, draft: Artifact, reference: parity.Reference) -> Artifact:
    """Measures the simplest program of both runtimes, then compiles the others for the better one."""
    simplest = what.plans[:1]
    try:
        without = best_plan(alone, simplest, reference, passes=1)
    except (MeasureError, parity.ParityError) as fault:
        raise StandaloneError(f"without it, {fault}") from fault
    linked = _simplest(what, draft, "libtorch")
    with_it = best_plan(linked, simplest, reference, passes=1)
    # In turn, and each one's best: a neighbour on the machine that slows one down must not decide.
    for _ in range(FURTHER_ROUNDS):
        without = min(without, best_plan(alone, simplest, reference, passes=1), key=_cpu_ms)
        with_it = min(with_it, best_plan(linked, simplest, reference, passes=1), key=_cpu_ms)
    measured = {"standalone": without.row, "libtorch": with_it.row}
    if _cpu_ms(without) > max(_cpu_ms(with_it) / WORTH, _cpu_ms(with_it) + NEGLIGIBLE_MS):
        why = f"faster with libtorch: {_told(with_it)}; without it {_told(without)}"
        return _with_others(what, linked, why, measured)
    why = f"needs no libtorch: {_told(without)}; with it {_told(with_it)}"
    try:
        return _with_others(what, alone, why, measured)
    except StandaloneError as fault:
        return _with_others(what, linked, f"it needs libtorch for some of its programs: {fault}", measured)


def _reason(fault: Exception) -> str:
    """What the compiler or the linker said, if one of them failed; else what the exception says."""
    errors = (line.strip() for line in str(fault).splitlines() if " error: " in line or "/ld: " in line)
    return next(errors, summary(fault))


def _cpu_ms(candidate: Candidate) -> float:
    return candidate.report.cpu_ms


def _told(candidate: Candidate) -> str:
    report = candidate.report
    return f"{report.cpu_ms:.2f} ms of CPU an item, loaded in {report.load_ms:.0f} ms, {report.rss_mb:.0f} MB"
