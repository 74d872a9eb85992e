"""What has to be there: the cluster, its tools, a moment of quiet."""

import time
from pathlib import Path

from kubernetes import client

from tests.cluster import conftest

QUIET = 0.25
"""Share of all CPUs in use; Knative itself takes a tenth of two."""


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says why and what to do."""


def connect() -> client.ApiClient:
    """The cluster's API.

    Raises:
        BenchmarkError: there is none that it may use, or a tool is missing.
    """
    if missing := conftest.missing_cluster():
        raise BenchmarkError(missing)
    return client.ApiClient()


def wait_until_quiet(deadline_s: float = 20.0) -> float:
    """The share of the CPUs in use over the last second, once it is low, or did not become so in time."""
    end = time.monotonic() + deadline_s
    while (busy := _busy(1.0)) > QUIET and time.monotonic() < end:
        pass
    return round(busy, 2)


def _busy(seconds: float) -> float:
    before = _ticks()
    time.sleep(seconds)
    every, idle = (now - then for now, then in zip(_ticks(), before, strict=True))
    return 1 - idle / max(1, every)


def _ticks() -> tuple[int, int]:
    """All ticks of all CPUs, and those in which they had nothing to do (proc_stat(5), `idle` and `iowait`)."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]
