"""Finds the best way to run a model: parity and measurement of every candidate, and the evidence for the choice."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from model import parity
from model.artifact import Artifact, Defaults, Program
from model.measure import Report, measure
from model.progress import step
from service.runtime.cpu import quota
from service.runtime.engine.interface import Plan

# A larger batch or more threads must be this much faster, or the simplest way is kept: one item on one thread. Each
# program has its own packed weights (110 MB more for a batch of 4 of the default model), and gains of 1.03 to 1.13 were
# measured.
WORTH = 1.2
PASSES = 2


@dataclass(frozen=True)
class Candidate:
    """One engine's artifact with one way to run it, and its measurements."""

    artifact: Artifact
    plan: Plan
    report: Report

    @property
    def row(self) -> dict[str, Any]:
        numbers = asdict(self.report)
        del numbers["answers"]
        plan = self.plan
        return {"batch": plan.max_batch_size, "threads": plan.threads, "runners": plan.runners, **numbers}


def candidates(batch_sizes: tuple[int, ...], thread_counts: tuple[int, ...]) -> list[tuple[int, int]]:
    """(batch, threads): every batch on the fewest threads, and the smallest batch on every number of threads.

    A service needs the smallest batch on any number of threads that it may be told to use.
    """
    batches, threads = sorted({1, *batch_sizes}), sorted(thread_counts)
    return [(batch, threads[0]) for batch in batches] + [(1, each) for each in threads[1:]]


def best_plan(
    lowered: Artifact, plans: list[tuple[int, int]], reference: parity.Reference, passes: int = PASSES
) -> Candidate:
    """Parity of every candidate, then the fastest of them; the artifact keeps only what the fastest needs."""
    parity.write_self_test(lowered, reference)
    lowered.write()
    by_plan: dict[tuple[int, int], Candidate] = {}
    differences: dict[str, float] = {}
    # Measure in turn, and take each one's best: a neighbour on the machine disturbs some rounds, hardly all of one plan.
    told = lowered.engine if lowered.runtime != "standalone" else f"{lowered.engine} without libtorch"
    for number in range(passes):
        for batch, threads in plans:
            plan = Plan(max(1, quota() // threads), threads, batch)
            what = f"batch {batch}, {plan.runners} x {threads} thread{'s' * (threads > 1)}"
            with step(f"{told}: measure {what}, pass {number + 1} of {passes}"):
                report = measure(lowered.path, plan, reference.questions)
            differences[f"batch {batch}, threads {threads}"] = parity.check(lowered, report.answers, reference)
            candidate = Candidate(lowered, plan, report)
            by_plan[batch, threads] = max(candidate, by_plan.get((batch, threads), candidate), key=_rate)
    measured = list(by_plan.values())
    simplest, best = measured[0], max(measured, key=_rate)
    if _rate(best) < WORTH * _rate(simplest):
        best = simplest
    evidence = {
        **lowered.evidence,
        "parity": {"largest_difference": differences, **reference.description},
        "measured": [each.row for each in measured],
        "cpus": quota(),
        "worth": WORTH,
    }
    kept = tuple(each for each in lowered.programs if _is_needed(each, simplest.plan, best.plan))
    for program in set(lowered.programs) - set(kept):
        (lowered.path / program.file).unlink()
    defaults = Defaults(best.plan.max_batch_size, best.plan.threads)
    artifact = replace(lowered, programs=kept, defaults=defaults, evidence=evidence)
    return Candidate(artifact, best.plan, best.report)


def _is_needed(program: Program, simplest: Plan, best: Plan) -> bool:
    """Whether to keep a program: the best one, single items for the rest of a batch, the simplest for a small quota."""
    return (program.batch, program.threads) in {
        (0, 0),
        (1, simplest.threads),
        (1, best.threads),
        (best.max_batch_size, best.threads),
    }


def _rate(candidate: Candidate) -> float:
    return candidate.report.items_per_s


def keep(bests: list[Candidate]) -> Artifact:
    """The faster engine's artifact, written, with the reason in its evidence."""
    best = max(bests, key=_rate)
    if len(bests) == 1:
        why = f"asked for by --engine {best.artifact.engine}"
    else:
        other = next(each for each in bests if each is not best)
        why = (
            f"{_rate(best):.0f} items/s against {_rate(other):.0f} of {other.artifact.engine}, "
            f"loaded in {best.report.load_ms:.0f} against {other.report.load_ms:.0f} ms"
        )
    measured = {each.artifact.engine: each.artifact.evidence["measured"] for each in bests}
    artifact = replace(best.artifact, evidence={**best.artifact.evidence, "engine": why, "measured": measured})
    artifact.write()
    return artifact
