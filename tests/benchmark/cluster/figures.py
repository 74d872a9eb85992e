"""Samples -> medians, and ratios against the targets."""

from dataclasses import dataclass, field
from itertools import accumulate
from statistics import median

from tests.benchmark.cluster.images import Size
from tests.benchmark.cluster.later import Later
from tests.benchmark.cluster.places import Placed
from tests.benchmark.cluster.scale import Grown
from tests.benchmark.cluster.timeline import Wake
from tests.benchmark.cluster.warm import Warm
from tests.benchmark.figures import Ratio, pair, ratio
from tests.benchmark.lineup import EAGER, ENGINES, HELLO, ours

TARGETS = ((HELLO, 1.20), (EAGER, 0.5))


@dataclass
class Samples:
    """What was measured, by side, round after round; `missing` says what could not be."""

    cold: dict[str, list[Wake | None]] = field(default_factory=dict)
    scale: list[Grown] = field(default_factory=list)
    warm: dict[str, list[Warm | None]] = field(default_factory=dict)
    later: list[Later] = field(default_factory=list)
    places: dict[str, list[Placed]] = field(default_factory=dict)
    size: dict[str, Size] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def ratios(samples: Samples) -> list[Ratio]:
    """Every ratio that has a target and whose two sides were measured."""

    def value(wake: Wake) -> float:
        return wake.total_ms

    wanted = [(ours(engine), rival, target) for rival, target in TARGETS for engine in ENGINES]
    found = [
        ratio(f"cold request, {side}, by {rival}", rows, value, target, at_most=True)
        for side, rival, target in wanted
        if (rows := pair(samples.cold, side, rival))
    ]
    return [each for each in [*found, *_laters(samples.later)] if each is not None]


def _laters(rounds: list[Later]) -> list[Ratio | None]:
    def compared(what: str, one: str, other: str, target: float, *, at_most: bool) -> Ratio | None:
        rows = [(getattr(each, one), getattr(each, other)) for each in rounds]
        return ratio(what, rows, float, target, at_most=at_most) if rows else None

    return [
        compared("events/s on the worker, by requests/s", "events_per_s", "requests_per_s", 0.85, at_most=False),
        compared("events/s through the Broker, by requests/s", "brokered_per_s", "requests_per_s", 0.85, at_most=False),
        compared("202 to result, by a request", "result_ms", "at_once_ms", 2.0, at_most=True),
        compared(
            "p99 beside events on the worker, by that beside requests on the same service",
            "beside_events_p99_ms", "beside_requests_p99_ms", 1.0, at_most=True,
        ),
    ]  # fmt: skip


def ends_ms(rounds: list[Wake]) -> dict[str, float]:
    """When each part of the wake had ended, since the request was sent: the median over the rounds, in order."""
    ends: dict[str, list[float]] = {}
    for wake in rounds:
        for part, end in zip(wake.spans_ms, accumulate(wake.spans_ms.values()), strict=True):
            ends.setdefault(part, []).append(end)
    return dict(sorted(((part, median(each)) for part, each in ends.items()), key=lambda item: item[1]))


def spans_ms(rounds: list[Wake]) -> dict[str, float]:
    """How long each part took, so that they sum up to the median of the whole: from the end of the one before."""
    ends = ends_ms(rounds)
    return {part: end - before for before, (part, end) in zip([0.0, *ends.values()], ends.items(), strict=False)}
