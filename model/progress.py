"""One line for each long step of an export: what, and how long it took; with signs of life meanwhile."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_S = 15.0


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print `what` at once, the elapsed time every 15 seconds, and the whole time at the end."""
    start, done = time.monotonic(), threading.Event()
    print(f"  {what} ...", file=sys.stderr, flush=True)

    def report() -> None:
        while not done.wait(EVERY_S):
            print(f"    {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
    print(f"    done in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
