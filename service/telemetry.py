"""What the service measures of itself: the cold-start ledger, the phases of a request, counters. No HTTP, no text form."""

import os
import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Upper bounds in seconds: from a run of a small model to the longest that a request may wait.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Ledger:
    """When each phase of this process's start ended, in milliseconds since it began.

    Marks survive the fork from gunicorn's arbiter to its worker. `str()` gives them as one line for the log.
    """

    def __init__(self) -> None:
        self._started_s = _process_started_s()
        self._lock = threading.Lock()
        self.marks_ms: dict[str, float] = {}

    @property
    def started_unix_s(self) -> float:
        """When the process began, on the clock of `time.time`."""
        return time.time() - self.now_ms() / 1e3

    def now_ms(self) -> float:
        """Milliseconds since the process began."""
        return (time.clock_gettime(time.CLOCK_BOOTTIME) - self._started_s) * 1e3

    def begin_again(self) -> None:
        """Start the ledger anew, for a worker that replaces a dead one: its start is not the arbiter's."""
        self._started_s += self.now_ms() / 1e3
        self.marks_ms.clear()

    @property
    def has_answered(self) -> bool:
        """Whether this process has answered an inference request."""
        return "answer" in self.marks_ms

    def mark(self, phase: str) -> None:
        """`phase` has just ended."""
        self.marks_ms[phase] = round(self.now_ms(), 1)

    def mark_answer(self, took_ms: float) -> bool:
        """Note an inference request that was answered after this time; whether it is the first of this process."""
        with self._lock:
            if self.has_answered:
                return False
            self.mark("answer")
            self.marks_ms["request"] = round(self.marks_ms["answer"] - took_ms, 1)
            return True

    def spans_ms(self) -> dict[str, float]:
        """How long each phase took by itself: from the mark before it to its own, in the order of time."""
        spans, before = {}, 0.0
        for phase, ms in self._in_order():
            spans[phase], before = round(ms - before, 1), ms
        return spans

    def __str__(self) -> str:
        return "since process start: " + ", ".join(f"{phase} {ms:.0f} ms" for phase, ms in self._in_order())

    def _in_order(self) -> list[tuple[str, float]]:
        return sorted(self.marks_ms.items(), key=lambda mark: mark[1])


class Inference:
    """One call of the model, as it ended: the time that it took, that of each phase, and the items that it answered."""

    # Not a dataclass: making one takes 0.5 ms at every start (python -X importtime).
    __slots__ = ("is_answered", "items", "phases_ms", "seconds")

    def __init__(self, *, is_answered: bool, seconds: float, phases_ms: dict[str, float], items: int) -> None:
        self.is_answered = is_answered
        self.seconds = seconds
        self.phases_ms = phases_ms
        self.items = items


class Timing:
    """How long the phases of one request took, in milliseconds, in their order. Belongs to the request's thread."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.phases_ms: dict[str, float] = {}
        self.items = 0  # that the model has answered
        self.inferences: list[Inference] = []  # one, or one for each event of a batch
        self.inflated_bytes = 0
        self.limit_ms = float("inf")
        """How long the client waits, if it says so."""
        # Requests that waited for the process to start also report its phases.
        self.is_cold = not ledger.has_answered

    @property
    def total_ms(self) -> float:
        """Since the request began."""
        return (time.perf_counter() - self._began) * 1e3

    def add(self, phase: str, seconds: float) -> None:
        """Add this time to `phase`."""
        self.phases_ms[phase] = self.phases_ms.get(phase, 0.0) + seconds * 1e3

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The time spent inside counts as `phase`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """What happens inside is one call of the model, for the statistics."""
        began, phases_ms, items, is_answered = time.perf_counter(), dict(self.phases_ms), self.items, False
        try:
            yield
            is_answered = True
        finally:
            spent_ms = {phase: ms - phases_ms.get(phase, 0.0) for phase, ms in self.phases_ms.items()}
            seconds = time.perf_counter() - began
            ended = Inference(is_answered=is_answered, seconds=seconds, phases_ms=spent_ms, items=self.items - items)
            self.inferences.append(ended)


class Duration:
    """How often something happened, and how long all of it took. Callers hold the lock."""

    __slots__ = ("count", "ns")

    def __init__(self) -> None:
        self.count = self.ns = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(seconds * 1e9)


class Inferences:
    """All calls of the model in this process: the failed ones, the answered ones, and these phase by phase. Callers hold the lock."""

    def __init__(self) -> None:
        self.answered, self.failed = Duration(), Duration()
        self.phases: defaultdict[str, Duration] = defaultdict(Duration)
        self.items = 0  # of the answered ones
        self.last_unix_s = 0.0

    def add(self, ended: Inference) -> None:
        self.last_unix_s = time.time()
        if not ended.is_answered:
            self.failed.add(ended.seconds)
            return
        self.answered.add(ended.seconds)
        self.items += ended.items
        for phase, ms in ended.phases_ms.items():
            self.phases[phase].add(ms / 1e3)


class Histogram:
    """Counts by upper bound; a value is counted in the first bucket that holds it. Callers hold the lock."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class Requests:
    """Counters over all requests of this process. Called by any number of threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.in_flight = 0
        self.receiving = 0  # requests that have not fully arrived; set by the server
        self.held_bytes = 0  # of requests, those being handled included; set by the server
        self.inflated_bytes = 0  # what compressed bodies of the requests being answered inflated to
        self.answered: Counter[tuple[str, int]] = Counter()  # by (route, status)
        self.by_key: Counter[tuple[str, int]] = Counter()  # by (name of the key, status)
        self.durations: defaultdict[str, Histogram] = defaultdict(Histogram)  # by route
        self.phases: defaultdict[str, Histogram] = defaultdict(Histogram)  # by phase
        self.inferences = Inferences()

    def begin(self) -> Timing:
        """A request has come."""
        with self.lock:
            self.in_flight += 1
        return Timing()

    def inflate(self, timing: Timing, more: int, most: int) -> bool:
        """Note that a body has grown by so many bytes, until its request is answered; False if all of them would exceed `most`."""
        with self.lock:
            if self.inflated_bytes + more > most:
                return False
            self.inflated_bytes += more
            timing.inflated_bytes += more
            return True

    def refuse(self, status: int) -> None:
        """Note that a request was refused before it was complete."""
        with self.lock:
            self.answered["none", status] += 1

    def count_key(self, name: str, status: int) -> None:
        """A request with a key of that name is answered."""
        with self.lock:
            self.by_key[name, status] += 1

    def finish(self, timing: Timing, route: str, status: int) -> None:
        """It is answered."""
        with self.lock:
            self.in_flight -= 1
            self.inflated_bytes -= timing.inflated_bytes
            self.answered[route, status] += 1
            self.durations[route].observe(timing.total_ms / 1e3)
            for phase, ms in timing.phases_ms.items():
                self.phases[phase].observe(ms / 1e3)
            for each in timing.inferences:
                self.inferences.add(each)


def _process_started_s() -> float:
    """On CLOCK_BOOTTIME, in steps of 10 ms (proc_pid_stat(5), field 22)."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(after_name[19]) / os.sysconf("SC_CLK_TCK")


ledger = Ledger()
