import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.runtime.batcher import Batcher
from tests.support.batching import NEVER_S, SOON_S, Model, batching, busy, wait_for_depth
from tests.support.eventually import eventually


def test_results_come_back_in_order() -> None:
    with batching(Model()) as (batcher, _):
        assert batcher.submit(range(10), time.monotonic() + SOON_S) == [2 * item for item in range(10)]


def test_full_batch_runs_without_waiting() -> None:
    model = Model()
    with batching(model, delay_s=NEVER_S) as (batcher, _):
        assert batcher.submit([1, 2, 3, 4], time.monotonic() + SOON_S) == [2, 4, 6, 8]
        assert model.batches == [[1, 2, 3, 4]]


def test_a_single_item_runs_at_once_without_a_delay() -> None:
    model = Model()
    with batching(model) as (batcher, _):
        assert batcher.submit([1], time.monotonic() + SOON_S) == [2]
        assert model.batches == [[1]]


def test_what_waits_while_a_run_goes_on_is_the_next_batch() -> None:
    model = Model(held=True)
    with batching(model) as (batcher, callers), busy(model, callers):
        waiting = []
        for item in range(1, 6):
            waiting.append(callers.submit(item))
            wait_for_depth(batcher, item)
        model.let_go()
        assert [each.result(SOON_S) for each in waiting] == [[2], [4], [6], [8], [10]]
        assert model.batches == [[100], [1, 2, 3, 4], [5]]


def test_only_compiled_batch_sizes_are_run() -> None:
    model = Model(held=True)
    with batching(model, sizes=(1, 4)) as (batcher, callers), busy(model, callers):
        waiting = callers.submit(1, 2, 3, 4, 5, 6)
        wait_for_depth(batcher, 6)
        model.let_go()
        assert waiting.result(SOON_S) == [2, 4, 6, 8, 10, 12]
        assert model.batches == [[100], [1, 2, 3, 4], [5], [6]]


def test_a_delayed_batch_runs_when_the_delay_of_its_first_item_is_over() -> None:
    model, delay_s = Model(), 0.3
    with batching(model, delay_s=delay_s) as (batcher, callers):
        started = time.monotonic()
        first = callers.submit(1)
        wait_for_depth(batcher, 1)
        second = callers.submit(2)
        assert (first.result(SOON_S), second.result(SOON_S)) == ([2], [4])
        assert time.monotonic() - started >= delay_s
        assert model.batches == [[1, 2]]


def test_the_delay_begins_with_the_first_item_however_many_follow() -> None:
    with batching(Model(), sizes=range(1, 1000), queue=1000, delay_s=0.2) as (_, callers):
        first = callers.submit(1)

        def is_done_though_another_comes() -> bool:
            callers.submit(2)
            return first.done()

        eventually(is_done_though_another_comes, 3.0)
        assert first.result() == [2]


def test_a_delayed_batch_runs_at_once_when_it_is_full() -> None:
    model = Model()
    with batching(model, delay_s=NEVER_S) as (batcher, callers):
        waiting = callers.submit(1, 2)
        wait_for_depth(batcher, 2)
        assert batcher.submit([3, 4], time.monotonic() + SOON_S) == [6, 8]
        assert waiting.result(SOON_S) == [2, 4]
        assert model.batches == [[1, 2, 3, 4]]


def test_runners_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=SOON_S)

    def run(items: Sequence[int]) -> list[int]:
        together.wait()
        return list(items)

    batcher: Batcher[int, int] = Batcher(3, 100)
    batcher.start(run, (1,))
    assert batcher.submit([1, 2, 3], time.monotonic() + SOON_S) == [1, 2, 3]
    batcher.close()


def test_a_bad_item_fails_alone() -> None:
    model = Model(held=True)
    with batching(model) as (batcher, callers), busy(model, callers):
        good, bad, other = callers.submit(1), callers.submit(-1), callers.submit(2)
        wait_for_depth(batcher, 3)
        model.let_go()
        assert good.result(SOON_S) == [2]
        assert other.result(SOON_S) == [4]
        with pytest.raises(ValueError, match=r"^bad item in \[-1\]$"):
            bad.result(SOON_S)
        assert batcher.submit([3], time.monotonic() + SOON_S) == [6]


def test_a_call_fails_when_one_of_its_items_does() -> None:
    with batching(Model()) as (batcher, _), pytest.raises(ValueError, match=r"^bad item in \[-1\]$"):
        batcher.submit([1, 2, -1, 4], time.monotonic() + SOON_S)


def test_calls_before_the_start_wait_for_it() -> None:
    batcher: Batcher[int, int] = Batcher(1, 100)
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(batcher.submit, [1, 2], time.monotonic() + SOON_S)
        wait_for_depth(batcher, 2)
        batcher.start(Model().run, (1, 2))
        assert early.result(SOON_S) == [2, 4]
    batcher.close()


def test_every_runner_is_warm_before_the_start_is_over() -> None:
    warmed: list[str] = []
    batcher: Batcher[int, int] = Batcher(3, 100)
    batcher.start(Model().run, (1,), warm_up=lambda: warmed.append(threading.current_thread().name))
    assert sorted(warmed) == ["runner-0", "runner-1", "runner-2"]
    batcher.close()


def test_a_failed_warm_up_fails_the_start() -> None:
    def warm_up() -> None:
        raise ValueError("wrong answer")

    batcher: Batcher[int, int] = Batcher(2, 100)
    with pytest.raises(ValueError, match=r"^wrong answer$"):
        batcher.start(Model().run, (1,), warm_up=warm_up)
    batcher.close()


def test_many_callers_get_each_their_own_results() -> None:
    model = Model()
    with batching(model, sizes=(1, 4, 8), runners=2, queue=10_000) as (batcher, _), ThreadPoolExecutor(16) as pool:

        def call(number: int) -> bool:
            items = range(number, number + number % 7 + 1)
            return batcher.submit(items, time.monotonic() + SOON_S) == [2 * item for item in items]

        assert all(pool.map(call, range(500)))
    assert {len(batch) for batch in model.batches} <= {1, 4, 8}
