"""The pure parts of `make bench-cluster`: how a cold request is split, and what is made of the samples."""

import pytest

from tests.benchmark.cluster import timeline
from tests.benchmark.cluster.figures import Samples, ratios, spans_ms
from tests.benchmark.cluster.later import Later
from tests.benchmark.cluster.timeline import Account, Wake
from tests.benchmark.lineup import EAGER, HELLO, ours

METRICS = """\
# HELP kindling_start_time_seconds Start of the process, Unix time.
kindling_start_time_seconds 1.7955e+09
kindling_cold_start_seconds{phase="python"} 0.1
kindling_cold_start_seconds{phase="ready"} 0.2
kindling_cold_start_seconds{phase="request"} 0.05
"""
ANSWERED = 'kindling_cold_start_seconds{phase="answer"} 0.025\n'
LOG = """\
since process start: python 100 ms, app 300 ms
process began at 1795500000.000; since process start: python 100 ms, app 300 ms, request 350 ms, answer 375 ms
"""


def test_a_process_that_has_answered_tells_when_each_phase_ended() -> None:
    told = timeline.of_metrics(METRICS + ANSWERED)
    assert told is not None
    assert told.began_unix_s == 1795500000.0
    assert told.marks_ms == pytest.approx({"python": 100.0, "ready": 300.0, "request": 350.0, "answer": 375.0})
    assert told.answered_unix_s == pytest.approx(1795500000.375)


def test_the_log_of_a_flask_side_tells_the_same() -> None:
    told = timeline.of_log(LOG)
    assert told == Account(1795500000.0, {"python": 100.0, "app": 300.0, "request": 350.0, "answer": 375.0})


def test_a_process_that_has_not_answered_tells_nothing_yet() -> None:
    assert timeline.of_metrics(METRICS) is None
    assert timeline.of_log(LOG.splitlines()[0]) is None


def test_the_parts_of_a_wake_are_in_order_and_sum_up_to_the_whole() -> None:
    # `libraries` is marked by another thread; `late` ends when the request is there already.
    account = Account(
        1000.6, {"imports": 150.0, "libraries": 120.0, "ready": 300.0, "request": 350.0, "late": 360.0, "answer": 375.0}
    )
    spans = timeline.split(1000.0, 1000.05, 1000.93, 1001.0, account)
    wanted = {
        "autoscaler": 50,
        "container": 550,
        "libraries": 120,
        "imports": 30,
        "ready": 150,
        "kubelet": 30,
        "probe": 20,
        "answer": 50,
    }
    assert list(spans) == list(wanted)
    assert spans == pytest.approx(wanted)
    assert sum(spans.values()) == pytest.approx(1000.0)
    assert Wake(1000.0, spans, 0.1).process_ms == pytest.approx(300.0)


def test_an_address_that_is_told_before_the_process_is_ready_has_cost_nothing() -> None:
    account = Account(1000.6, {"ready": 300.0, "request": 350.0, "answer": 375.0})
    spans = timeline.split(1000.0, 1000.05, 1000.8, 1001.0, account)
    assert spans == pytest.approx(
        {"autoscaler": 50, "container": 550, "ready": 300, "kubelet": 0, "probe": 50, "answer": 50}
    )


def _wake(total_ms: float) -> Wake:
    return Wake(total_ms, {"autoscaler": 0.25 * total_ms, "ready": 0.75 * total_ms}, 0.1)


def test_a_ratio_is_the_median_of_those_rounds_in_which_both_sides_answered() -> None:
    samples = Samples(
        cold={
            ours("aoti"): [_wake(1000), None, _wake(1300), _wake(1200)],
            HELLO: [_wake(1000), _wake(1), _wake(1000), _wake(800)],
            EAGER: [_wake(2500), _wake(1), None, None],
        }
    )
    by_hello, by_eager = ratios(samples)
    assert (by_hello.paired, by_hello.of_bests, by_hello.is_met) == (1.3, 1.25, False)
    assert (by_eager.paired, by_eager.target, by_eager.is_met) == (0.4, 0.5, True)


def test_the_median_parts_sum_up_to_the_median_of_the_whole() -> None:
    rounds = [_wake(1000), _wake(5000), _wake(1200)]
    assert spans_ms(rounds) == {"autoscaler": 300.0, "ready": 900.0}


def test_what_is_answered_later_is_compared_with_what_is_answered_at_once() -> None:
    found = ratios(Samples(later=[Later(100, 90, 50, 30, 60, 120, 20, 30), Later(100, 70, 40, 30, 60, 60, 20, 30)]))
    assert [(each.paired, each.is_met) for each in found] == [(0.8, False), (0.45, False), (1.5, True), (0.75, True)]
