"""Batcher: bounded queue, batches, runners; knows no HTTP and no engine.

submit -> queue -> the next free runner takes what waits, up to the largest batch -> run -> each item's result

    a place:  waiting ──► taken by a runner ──► its result is noted; after the last result of its call, submit returns
                 │                    └──────► run again alone, if its batch failed; if that fails too, its call fails
                 └──► dropped, never run: the deadline has passed, or nobody waits for its call any more

One lock, `_changed`, guards the queue and the state of the calls. It is never held during a run.
"""

import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.errors import DeadlineExceeded, NotReady, QueueFull
from service.telemetry import Duration, Timing

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")
Run = Callable[[Sequence[I]], list[R]]

# Weight of the newest run in the moving average of a run's time, for Retry-After.
SMOOTHING = 0.1


@dataclass(eq=False)
class _Call(Generic[R]):
    """One submit: its results, filled in as its items are run."""

    results: list[R | None]
    deadline: float
    missing: int
    begun: float | None = None
    fault: Exception | None = None
    abandoned: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    def is_over(self, now: float) -> bool:
        """Whether nobody needs the rest of its items any more."""
        return self.abandoned or self.fault is not None or self.deadline <= now


@dataclass(frozen=True, slots=True)
class _Place(Generic[I, R]):
    """One item in the queue: item `index` of its call, queued at `since`."""

    item: I
    call: _Call[R]
    index: int
    since: float


class Batcher(Generic[I, R]):
    """Work-conserving: the items that wait when a runner becomes free are its next batch.

    Args:
        runners: how many runs go on at the same time, each in a thread of its own.
        max_queue_size: most items waiting; a call that would exceed it is refused, unless nothing waits.
        max_queue_delay_s: how long an incomplete batch waits for more items.
    """

    def __init__(self, runners: int, max_queue_size: int, max_queue_delay_s: float = 0.0) -> None:
        self._batch_sizes: Sequence[int] = (1,)
        self._max_queue_size = max_queue_size
        self._max_queue_delay_s = max_queue_delay_s
        self._queue: deque[_Place[I, R]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._run_s = 0.0
        self._runners = runners
        self._threads: list[threading.Thread] = []
        self.runs: Counter[int] = Counter()
        """How many runs there were of each batch size."""
        self.durations: defaultdict[int, Duration] = defaultdict(Duration)
        """How many of them succeeded, and how long these took."""

    def start(self, run: "Run[I, R]", batch_sizes: Sequence[int], warm_up: Callable[[], None] = lambda: None) -> None:
        """Begin to run what was submitted; returns when every runner is warm.

        Args:
            run: gets a batch, returns one result for each of its items.
            batch_sizes: how many items it can take, ascending, the first one 1.
            warm_up: called by every runner before its first run, in its own thread.

        Raises:
            Exception: what `warm_up` raised; that runner runs nothing.
        """
        self._batch_sizes = batch_sizes
        warm: list[Future[None]] = [Future() for _ in range(self._runners)]
        for index, each in enumerate(warm):
            thread = threading.Thread(
                target=self._serve, args=(run, warm_up, each), name=f"runner-{index}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        for each in warm:
            each.result()

    def submit(self, items: Sequence[I], deadline: float, timing: Timing | None = None) -> list[R]:
        """The result of each item, in order. Blocks until they are there; called by any number of threads.

        Args:
            deadline: on the clock of `time.monotonic`; items that have not begun by then are never run.
            timing: receives how long the call waited for its first run ("queue"), how long it took from there ("run"), and
                how many items were answered.

        Raises:
            QueueFull: too many items wait.
            NotReady: the batcher is closed.
            DeadlineExceeded: the results were not there in time.
            Exception: what `run` raised for one of the items.
        """
        call: _Call[R] = _Call([None] * len(items), deadline, len(items))
        with self._changed:
            if self._closed:
                raise NotReady("stopping")
            # A call larger than the whole queue is accepted when nothing waits; otherwise it could never run.
            if self._queue and len(self._queue) + len(items) > self._max_queue_size:
                raise QueueFull(f"{len(self._queue)} items are waiting", self._retry_after_s())
            now = time.monotonic()
            self._queue.extend(_Place(item, call, index, now) for index, item in enumerate(items))
            self._changed.notify(len(items))
        if not call.done.wait(max(0.0, deadline - time.monotonic())):
            call.abandoned = True
            raise DeadlineExceeded("not answered in time")
        if timing is not None and call.begun is not None:
            timing.add("queue", call.begun - now)
            timing.add("run", time.monotonic() - call.begun)
        if call.fault is not None:
            raise call.fault
        if timing is not None:
            timing.items += len(items)
        return call.results  # type: ignore[return-value]

    @property
    def batch_sizes(self) -> Sequence[int]:
        """How many items a run can take, ascending; 1 until the batcher has started."""
        return self._batch_sizes

    @property
    def queue_depth(self) -> int:
        """Items waiting for a run."""
        return len(self._queue)

    def close(self) -> None:
        """Refuse new calls, run what waits, stop the runners; may be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, run: "Run[I, R]", warm_up: Callable[[], None], warm: "Future[None]") -> None:
        try:
            warm_up()
        except Exception as fault:
            warm.set_exception(fault)
            return
        warm.set_result(None)
        while batch := self._next_batch():
            started = time.monotonic()
            for place in batch:
                place.call.begun = place.call.begun or started
            self._run_batch(run, batch)
            elapsed = time.monotonic() - started
            self._run_s = elapsed if not self._run_s else self._run_s + SMOOTHING * (elapsed - self._run_s)

    def _next_batch(self) -> list[_Place[I, R]]:
        """The next items to run; blocks until there are some. Empty when closed and nothing waits."""
        with self._changed:
            while True:
                self._drop_expired()
                wait_s = None
                if self._queue:
                    # A compiled model takes fixed batch sizes: use the largest that is full. The rest is the next batch.
                    size = max(each for each in self._batch_sizes if each <= len(self._queue))
                    wait_s = self._queue[0].since + self._max_queue_delay_s - time.monotonic()
                    if size == self._batch_sizes[-1] or wait_s <= 0 or self._closed:
                        return [self._queue.popleft() for _ in range(size)]
                elif self._closed:
                    return []
                self._changed.wait(wait_s)

    def _drop_expired(self) -> None:
        """Forget the items that nobody waits for any more."""
        now = time.monotonic()
        live = [each for each in self._queue if not each.call.is_over(now)]
        if len(live) < len(self._queue):
            self._queue = deque(live)

    def _run_batch(self, run: "Run[I, R]", batch: list[_Place[I, R]]) -> None:
        """Run the batch; if that fails, run its items one by one, so that a bad item fails alone."""
        with self._changed:
            self.runs[len(batch)] += 1
        began = time.monotonic()
        try:
            results = list(zip(batch, run([each.item for each in batch]), strict=True))
        except Exception as fault:
            if len(batch) > 1:
                for each in batch:
                    self._run_batch(run, [each])
            else:
                call = batch[0].call
                call.fault = fault
                call.done.set()
            return
        took_s = time.monotonic() - began
        with self._changed:
            self.durations[len(batch)].add(took_s)
            for place, result in results:
                place.call.results[place.index] = result
                place.call.missing -= 1
                if not place.call.missing:
                    place.call.done.set()

    def _retry_after_s(self) -> int:
        """When the queue will have drained at the pace of the last runs, in whole seconds."""
        runs = len(self._queue) / self._batch_sizes[-1] / self._runners
        return max(1, math.ceil(runs * self._run_s))
