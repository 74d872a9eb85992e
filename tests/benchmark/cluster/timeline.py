"""One wake, split: the cluster's part, the process's own account, the probe, the answer. Pure."""

import re
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tests.benchmark.process import MARK

AUTOSCALER, CONTAINER, KUBELET, PROBE, ANSWER = PLATFORM = "autoscaler", "container", "kubelet", "probe", "answer"
"""Request sent, to pod created, to process began; process ready, to pod's address told, to request came, to answered.

A process begins when runc clones it: up to 90 ms of its first phase are still runc's, until Python is executed.
The kubelet looks at its containers once a second, and tells the address of a new pod when it sees them run. Before that
Knative cannot reach the pod, however soon its process is ready.
"""

_BEGAN = re.compile(r"process began at ([\d.]+); since process start: (.*)")
_METRIC = re.compile(r'^kindling_(start_time_seconds|cold_start_seconds\{phase="(\w+)"\}) (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Account:
    """What a process says of its start: when it began, Unix time, and when each phase ended, in ms since then.

    The last two are `request` and `answer`: the first request came, and was answered.
    """

    began_unix_s: float
    marks_ms: dict[str, float]

    @property
    def answered_unix_s(self) -> float:
        return self.began_unix_s + self.marks_ms["answer"] / 1e3


def of_metrics(text: str) -> Account | None:
    """The account in Kindling's `/metrics`; None while nothing is answered."""
    began_s, spans_ms = 0.0, {}
    for _, phase, value in _METRIC.findall(text):
        if phase:
            spans_ms[phase] = float(value) * 1e3
        else:
            began_s = float(value)
    marks_ms = dict(zip(spans_ms, accumulate(spans_ms.values()), strict=True))
    return Account(began_s, marks_ms) if began_s and "answer" in marks_ms else None


def of_log(text: str) -> Account | None:
    """The account in the log of a Flask side; None while nothing is answered."""
    for began_s, marks in _BEGAN.findall(text):
        return Account(float(began_s), {phase: float(ms) for phase, ms in MARK.findall(marks)})
    return None


@dataclass(frozen=True)
class Wake:
    """One cold request. `spans_ms` is how long each part took, in order; `busy` the CPUs' share in use just before."""

    total_ms: float
    spans_ms: dict[str, float]
    busy: float

    @property
    def process_ms(self) -> float:
        """All of the process's own phases, until it could answer."""
        return sum(ms for phase, ms in self.spans_ms.items() if phase not in PLATFORM)


def split(sent_s: float, created_s: float, addressed_s: float, answered_s: float, account: Account) -> dict[str, float]:
    """Milliseconds of each part from `sent_s` to `answered_s`, all Unix times of one clock.

    A phase that ended after the request had come is part of the answer; an address that was told before the process was
    ready has cost nothing.
    """
    came_ms = account.marks_ms["request"]
    began_ms = (account.began_unix_s - sent_s) * 1e3
    ends = {AUTOSCALER: (created_s - sent_s) * 1e3, CONTAINER: began_ms}
    for phase, ms in sorted(account.marks_ms.items(), key=lambda mark: mark[1]):
        if ms <= came_ms and phase not in ("request", "answer"):
            ends[phase] = began_ms + ms
    ready_ms = list(ends.values())[-1]
    ends[KUBELET] = min(max(ready_ms, (addressed_s - sent_s) * 1e3), began_ms + came_ms)
    ends |= {PROBE: began_ms + came_ms, ANSWER: (answered_s - sent_s) * 1e3}
    return {phase: round(end - before, 1) for (_, before), (phase, end) in pairwise([("", 0.0), *ends.items()])}
