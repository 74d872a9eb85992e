"""Deadlines, a full queue, and the end."""

import threading
import time

import pytest

from service.errors import DeadlineExceeded, NotReady, QueueFull
from service.runtime.batcher import Batcher
from tests.support.batching import NEVER_S, SOON_S, Model, batching, busy, wait_for_depth
from tests.support.eventually import eventually


def test_an_expired_call_is_told_and_never_run() -> None:
    model = Model(held=True)
    with batching(model) as (batcher, callers), busy(model, callers) as first:
        late = callers.submit(1, within_s=0.05)
        with pytest.raises(DeadlineExceeded, match=r"^not answered in time$"):
            late.result(SOON_S)
        model.let_go()
        assert first.result(SOON_S) == [200]
        assert batcher.submit([2], time.monotonic() + SOON_S) == [4]
        assert model.batches == [[100], [2]]


def test_an_expired_call_between_others_is_never_run() -> None:
    model = Model(held=True)
    with batching(model) as (batcher, callers), busy(model, callers):
        before = callers.submit(1)
        wait_for_depth(batcher, 1)
        late = callers.submit(2, within_s=0.05)
        wait_for_depth(batcher, 2)
        after = callers.submit(3)
        wait_for_depth(batcher, 3)
        with pytest.raises(DeadlineExceeded):
            late.result(SOON_S)
        model.let_go()
        assert (before.result(SOON_S), after.result(SOON_S)) == ([2], [6])
        assert model.batches == [[100], [1, 3]]


def test_a_deadline_ends_the_wait_for_a_run_that_goes_on() -> None:
    model = Model(held=True)
    with batching(model) as (batcher, _), pytest.raises(DeadlineExceeded):
        batcher.submit([1], time.monotonic() + 0.05)


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    model = Model(held=True)
    with batching(model, queue=3) as (batcher, callers), busy(model, callers):
        waiting = callers.submit(1, 2)
        wait_for_depth(batcher, 2)
        with pytest.raises(QueueFull, match=r"^2 items are waiting$") as fault:
            batcher.submit([3, 4], time.monotonic() + SOON_S)
        assert (fault.value.status, fault.value.retry_after_s) == (429, 1)
        last = callers.submit(5)
        model.let_go()
        assert (waiting.result(SOON_S), last.result(SOON_S)) == ([2, 4], [10])


def test_a_call_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    with batching(Model(), queue=3) as (batcher, _):
        assert len(batcher.submit(range(10), time.monotonic() + SOON_S)) == 10


def test_retry_after_is_how_long_the_queue_needs_at_the_pace_of_the_last_runs() -> None:
    model = Model(held=True)
    with batching(model, sizes=(1,), queue=3) as (batcher, callers), busy(model, callers):
        batcher._run_s = 1.5  # as if the runs had taken that long
        callers.submit(1, 2, 3)
        wait_for_depth(batcher, 3)
        with pytest.raises(QueueFull) as fault:
            batcher.submit([4], time.monotonic() + SOON_S)
        assert fault.value.retry_after_s == 5


def test_close_answers_what_waits_and_refuses_what_comes() -> None:
    model = Model(held=True)
    with batching(model, delay_s=NEVER_S) as (batcher, callers):
        whole = callers.submit(1, 2, 3, 4)
        model.wait_for_a_run()
        rest = callers.submit(5, 6)
        wait_for_depth(batcher, 2)
        closing = threading.Thread(target=batcher.close)
        closing.start()
        eventually(lambda: _refuses(batcher), SOON_S)
        model.let_go()
        closing.join(SOON_S)
        assert not closing.is_alive()
        assert (whole.result(SOON_S), rest.result(SOON_S)) == ([2, 4, 6, 8], [10, 12])
        batcher.close()


def _refuses(batcher: Batcher[int, int]) -> bool:
    try:
        batcher.submit([9], time.monotonic())
    except NotReady as fault:
        return str(fault) == "stopping"
    except DeadlineExceeded:
        pass
    return False
