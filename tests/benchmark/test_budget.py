"""A start that cannot get slower unnoticed: by a hello-world Flask service in the same rounds, best by best."""

from pathlib import Path

import pytest

from tests.benchmark import photo, start
from tests.benchmark.budget import Budget
from tests.benchmark.lineup import HELLO, Places, ours, services
from tests.benchmark.start import Started

BUDGET = Budget("a start", {"python": 0.5, "imports": 1.25, "ready": 0.35, "answer": 0.25}, most=2.0)
ROUNDS, MOST_ROUNDS = 4, 24

Starts = dict[str, list[Started]]


def _spent(starts: Starts) -> dict[str, float]:
    """The phases of our best start, each by hello world's best; in the order of time."""
    floor = min(each.first_answer_ms for each in starts[HELLO])
    best = min(starts[ours("aoti")], key=lambda each: each.first_answer_ms)
    ends = best.phases_ms | {"answer": best.first_answer_ms}
    spent, before = {}, 0.0
    for phase in BUDGET.phases:
        spent[phase], before = (ends[phase] - before) / floor, ends[phase]
    return spent


def test_a_start_by_hello_world(default_artifact: Path, tmp_path: Path) -> None:
    places = Places({"aoti": default_artifact}, *photo.make(tmp_path), {})
    sides = [each for each in services(places) if each.name in (HELLO, ours("aoti"))]
    starts: Starts = {}

    def spent() -> dict[str, float]:
        for name, found in start.measure(sides, tmp_path, ROUNDS).items():
            starts.setdefault(name, []).extend(found)
        return _spent(starts)

    assert not BUDGET.verdict_after(MOST_ROUNDS // ROUNDS, spent)


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.3, 0.9, 0.3, 0.2), ""),
        ((0.3, 1.8, 0.3, 0.2), "a start takes 2.60 of hello world's, and may take 2.0: imports 1.80 of 1.25"),
        (
            (0.9, 0.9, 0.6, 0.2),
            "a start takes 2.60 of hello world's, and may take 2.0: python 0.90 of 0.5, ready 0.60 of 0.35",
        ),
        ((0.5, 1.25, 0.35, 0.01), "a start takes 2.11 of hello world's, and may take 2.0: every phase has grown"),
    ],
)
def test_the_phase_that_grew_is_named(shares: tuple[float, ...], verdict: str) -> None:
    assert BUDGET.verdict(dict(zip(BUDGET.phases, shares, strict=True))) == verdict


def test_more_is_measured_until_it_is_within_the_budget() -> None:
    slow, quick = (dict.fromkeys(BUDGET.phases, share) for share in (1.0, 0.1))
    told = iter([slow, quick, slow])
    assert BUDGET.verdict_after(3, lambda: next(told)) == ""
    assert next(told) is slow
    assert BUDGET.verdict_after(2, lambda: slow) == BUDGET.verdict(slow) != ""
