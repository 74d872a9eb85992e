"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable

INTERVAL_S = 0.02


def eventually(check: Callable[[], bool], deadline_s: float, what: str = "") -> None:
    """Return as soon as `check()` is true; an AssertionError when it is not by then."""
    end = time.monotonic() + deadline_s
    while not check():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what or check}"
        time.sleep(INTERVAL_S)
