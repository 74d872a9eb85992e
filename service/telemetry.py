"""The cold-start ledger: when each phase of this process's start ended, in milliseconds since it began."""

import os
import time
from pathlib import Path


class Ledger:
    """Marks survive the fork from gunicorn's arbiter to its worker. `str()` gives them as one line for the log."""

    def __init__(self) -> None:
        self._started_s = _process_started_s()
        self.marks_ms: dict[str, float] = {}

    def mark(self, phase: str) -> None:
        """`phase` has just ended."""
        self.marks_ms[phase] = round((time.clock_gettime(time.CLOCK_BOOTTIME) - self._started_s) * 1e3, 1)

    def __str__(self) -> str:
        return "since process start: " + ", ".join(f"{phase} {ms:.0f} ms" for phase, ms in self.marks_ms.items())


def _process_started_s() -> float:
    """On CLOCK_BOOTTIME, in steps of 10 ms (proc_pid_stat(5), field 22)."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(after_name[19]) / os.sysconf("SC_CLK_TCK")


ledger = Ledger()
