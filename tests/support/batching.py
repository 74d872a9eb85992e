"""A plain callable behind a Batcher, held and let go as a test wants it."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from service.runtime.batcher import Batcher
from tests.support.eventually import eventually

SOON_S = 10.0  # longer than anything here takes; a test that needs it all has failed
NEVER_S = 3600.0


class Model:
    """Doubles numbers; remembers its batches, and holds each run until it is let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self._go = threading.Semaphore(0)
        self._held = held

    def run(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.begun.release()
        if self._held:
            assert self._go.acquire(timeout=SOON_S)
        if any(item < 0 for item in items):
            raise ValueError(f"bad item in {list(items)}")
        return [2 * item for item in items]

    def wait_for_a_run(self) -> None:
        assert self.begun.acquire(timeout=SOON_S)

    def let_go(self, runs: int = 100) -> None:
        for _ in range(runs):
            self._go.release()


class Callers:
    """Each submit in a thread of its own."""

    def __init__(self, batcher: Batcher[int, int], pool: ThreadPoolExecutor) -> None:
        self._batcher = batcher
        self._pool = pool

    def submit(self, *items: int, within_s: float = SOON_S) -> "Future[list[int]]":
        return self._pool.submit(self._batcher.submit, items, time.monotonic() + within_s)


@contextmanager
def batching(
    model: Model, sizes: Sequence[int] = (1, 2, 3, 4), *, runners: int = 1, queue: int = 100, delay_s: float = 0.0
) -> Iterator[tuple[Batcher[int, int], Callers]]:
    batcher: Batcher[int, int] = Batcher(runners, queue, delay_s)
    batcher.start(model.run, sizes)
    with ThreadPoolExecutor(200) as pool:
        try:
            yield batcher, Callers(batcher, pool)
        finally:
            model.let_go()
            batcher.close()


@contextmanager
def busy(model: Model, callers: Callers) -> Iterator["Future[list[int]]"]:
    """While the only runner is at work on the item 100."""
    first = callers.submit(100)
    model.wait_for_a_run()
    yield first


def wait_for_depth(batcher: Batcher[int, int], depth: int) -> None:
    eventually(lambda: batcher.queue_depth == depth, SOON_S, f"{depth} items waiting")
