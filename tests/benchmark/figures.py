"""Samples -> medians, minima, and ratios against the targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TypeVar

from tests.benchmark.forward import Forward
from tests.benchmark.limits import Limited, limited
from tests.benchmark.lineup import EAGER, ENGINES, HELLO, LAMBDA_EAGER, LITSERVE, MOSEC, loop, on_lambda, ours
from tests.benchmark.on_lambda import Woken
from tests.benchmark.perf_analyzer import CONCURRENCIES, Analyzed
from tests.benchmark.slow import CONCURRENCY, CONNECTIONS, Slowed
from tests.benchmark.start import Started
from tests.benchmark.throughput import Served

T = TypeVar("T")
AT = 8
"""The concurrency at which throughput has its targets."""


@dataclass
class Samples:
    """What was measured, by side, round after round; `missing` says what could not be."""

    start: dict[str, list[Started]] = field(default_factory=dict)
    served: dict[str, list[Served | None]] = field(default_factory=dict)
    forward: dict[str, list[Forward]] = field(default_factory=dict)
    woken: dict[str, list[Woken]] = field(default_factory=dict)
    limited: dict[str, list[Limited]] = field(default_factory=dict)
    slowed: list[Slowed] = field(default_factory=list)
    analyzed: list[Analyzed] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ratio:
    """`paired` is the median over the rounds of one side's value by the other's; `of_bests` that of their best rounds."""

    what: str
    paired: float
    of_bests: float
    target: float
    at_most: bool

    @property
    def is_met(self) -> bool:
        return self.paired <= self.target if self.at_most else self.paired >= self.target


def ratios(samples: Samples) -> list[Ratio]:
    """Every ratio that has a target and whose two sides were measured."""
    found = [*_starts(samples), *_throughputs(samples), *_forwards(samples), *_memories(samples), *_wakes(samples)]
    found += [*_limits(samples), *_slows(samples), *_analyses(samples)]
    return [each for each in found if each is not None]


def _starts(samples: Samples) -> list[Ratio | None]:
    def value(started: Started) -> float:
        return started.first_answer_ms

    return [
        ratio(f"start to first correct prediction, {engine}, by {rival}", rows, value, target, at_most=True)
        for rival, target in ((EAGER, 0.30), (HELLO, 2.5))
        for engine in ENGINES
        if (rows := pair(samples.start, ours(engine), rival))
    ]


def _throughputs(samples: Samples) -> list[Ratio | None]:
    targets = [(engine, loop(engine), 0.85) for engine in ENGINES]
    targets += [("aoti", MOSEC, 2.0), ("aoti", LITSERVE, 2.0), ("onnx", MOSEC, 2.5), ("onnx", LITSERVE, 2.5)]

    def value(served: Served) -> float:
        return served.at(AT).per_s

    return [
        ratio(f"throughput at concurrency {AT}, {engine}, by {rival}", rows, value, target, at_most=False)
        for engine, rival, target in targets
        if (rows := pair(samples.served, ours(engine), rival))
    ]


def _forwards(samples: Samples) -> list[Ratio | None]:
    rows = pair(samples.forward, "aoti", "onnx")
    return [ratio("forward, aoti by ONNX Runtime, same runners", rows, lambda each: each.run_ms, 1.2, at_most=True)]


def _memories(samples: Samples) -> list[Ratio | None]:
    def value(started: Started) -> float:
        return started.memory.pss_mb

    return [
        ratio(f"memory (PSS) after the first prediction, {engine}, by {EAGER}", rows, value, target, at_most=True)
        for engine, target in (("aoti", 0.65), ("onnx", 0.5))
        if (rows := pair(samples.start, ours(engine), EAGER))
    ]


def _wakes(samples: Samples) -> list[Ratio | None]:
    def init(woken: Woken) -> float:
        return woken.init_ms

    def answer(woken: Woken) -> float:
        return woken.first_answer_ms

    return [
        ratio(f"Lambda, {what}, {engine}, by {EAGER}", rows, value, 0.30, at_most=True)
        for what, value in (("init phase", init), ("process start to first correct prediction", answer))
        for engine in ENGINES
        if (rows := pair(samples.woken, on_lambda(engine), LAMBDA_EAGER))
    ]


def _limits(samples: Samples) -> list[Ratio | None]:
    """By the quota more CPU is more requests, and more runners than CPUs are only a longer wait."""

    def per_s(found: Limited) -> float:
        return found.loads[0].per_s

    def p99(found: Limited) -> float:
        return found.loads[-1].p99_ms

    rows: list[Ratio | None] = []
    for engine in ENGINES:
        half, one, two = (limited(engine, cpus) for cpus in ("0.5", "1", "2"))
        unaware = limited(engine, "1", is_aware=False)
        for side, target in ((half, 0.4), (two, 1.6)):
            rows.append(
                ratio(f"throughput, {side} by 1", pair(samples.limited, side, one), per_s, target, at_most=False)
            )
        rows.append(ratio(f"p99, {one} by 2 runners", pair(samples.limited, one, unaware), p99, 1.0, at_most=True))
    return rows


def _slows(samples: Samples) -> list[Ratio | None]:
    rows = [(each.beside.per_s, each.alone.per_s) for each in samples.slowed]
    waits = [(each.live_ms, 1000.0) for each in samples.slowed]
    what = f"throughput at concurrency {CONCURRENCY}, beside {CONNECTIONS} slow connections by alone"
    return [
        ratio(what, rows, lambda per_s: per_s, 0.9, at_most=False),
        ratio("longest wait of the liveness probe beside them, by 1 s", waits, lambda ms: ms, 1.0, at_most=True),
    ]


def _analyses(samples: Samples) -> list[Ratio | None]:
    """Two load generators should find the same, so it does not matter which of them is ahead."""
    rows: list[Ratio | None] = []
    for concurrency in CONCURRENCIES:
        pairs = [
            (each.theirs.per_s, each.ours.per_s) for each in samples.analyzed if each.ours.concurrency == concurrency
        ]
        what = f"requests a second at {concurrency}, perf_analyzer and wrk: the smaller by the larger"
        found = ratio(what, pairs, lambda per_s: per_s, 0.9, at_most=False)
        if found is not None:
            paired, of_bests = (min(each, 1 / each) for each in (found.paired, found.of_bests))
            found = replace(found, paired=paired, of_bests=of_bests)
        rows.append(found)
    by_grpc = [
        (each.grpc.per_s, each.theirs.per_s) for each in samples.analyzed if each.grpc.concurrency == CONCURRENCY
    ]
    return [*rows, ratio(f"requests a second at {CONCURRENCY}, by gRPC by REST", by_grpc, float, 0.9, at_most=False)]


def pair(found: Mapping[str, Sequence[T | None]], one: str, other: str) -> list[tuple[T, T]]:
    """The rounds in which both were measured."""
    pairs = zip(found.get(one, []), found.get(other, []), strict=False)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def ratio(
    what: str, rows: Sequence[tuple[T, T]], value: Callable[[T], float], target: float, *, at_most: bool
) -> Ratio | None:
    pairs = [(value(a), value(b)) for a, b in rows]
    if not pairs or not all(b for _, b in pairs):
        return None
    best = min if at_most else max
    of_bests = best(a for a, _ in pairs) / best(b for _, b in pairs)
    return Ratio(what, median(a / b for a, b in pairs), of_bests, target, at_most)
