"""Runs an artifact in the service's own engine: answers and times, from a process without torch.

`python -m model.measure FOLDER PLAN QUESTIONS` (PLAN and the printed report are JSON) is called by `model.export`.
"""

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from model.artifact import Artifact
from service.protocol.tensor import Item
from service.runtime.engine import loading
from service.runtime.engine.interface import Engine, Plan

WARM_UP_RUNS = 3
ROUNDS = 7
ROUND_S = 0.4


class MeasureError(Exception):
    """The artifact does not run."""


@dataclass(frozen=True)
class Report:
    """One measurement. `answers` are the outputs of the questions, item by item; times are medians over the rounds.

    `cpu_ms` is the CPU time that one item takes, of the best round: what a busy neighbour changes least.
    """

    load_ms: float
    first_run_ms: float
    run_ms: float
    items_per_s: float
    cpu_ms: float
    rss_mb: float
    answers: list[Item]


def measure(folder: Path, plan: Plan, questions: list[Item]) -> Report:
    """Load the artifact in `folder` in a fresh process, answer `questions` in runs of `max_batch_size` and time it.

    Raises:
        MeasureError: with the output of the process.
    """
    artifact = Artifact.read(folder)
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "asked", Path(scratch) / "answered"
        asked.write_bytes(b"".join(part for item in questions for part in item))
        command = [sys.executable, "-m", "model.measure", str(folder), json.dumps(asdict(plan)), str(asked)]
        done = subprocess.run([*command, str(answered)], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [_ended(done.returncode)])[-1]
            raise MeasureError(f"{artifact.name} does not run on {artifact.engine}: {reason}")
        answers = _split(answered.read_bytes(), [spec.item_bytes for spec in artifact.outputs])
        return Report(**json.loads(done.stdout.splitlines()[-1]), answers=answers)


def _ended(code: int) -> str:
    return f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"


def _split(blob: bytes, sizes: list[int]) -> list[Item]:
    items: list[Item] = []
    start = 0
    while start < len(blob):
        item = []
        for size in sizes:
            item.append(blob[start : start + size])
            start += size
        items.append(tuple(item))
    return items


def _main(folder: str, plan: str, asked: str, answered: str) -> None:
    artifact, how = Artifact.read(Path(folder)), Plan(**json.loads(plan))
    questions = _split(Path(asked).read_bytes(), [spec.item_bytes for spec in artifact.inputs])
    batch = how.max_batch_size

    started = time.perf_counter()
    model = loading.load(artifact, how)
    loaded = time.perf_counter()
    answers = model.run(questions[:batch])
    first = time.perf_counter()
    for start in range(batch, len(questions) - batch + 1, batch):
        answers += model.run(questions[start : start + batch])
    Path(answered).write_bytes(b"".join(part for item in answers for part in item))

    run_ms, items_per_s, cpu_ms = _time(model, questions[:batch], how.runners)
    report = {
        "load_ms": round((loaded - started) * 1e3, 1),
        "first_run_ms": round((first - loaded) * 1e3, 1),
        "run_ms": round(run_ms, 2),
        "items_per_s": round(items_per_s, 1),
        "cpu_ms": round(cpu_ms, 3),
        "rss_mb": _rss_mb(),
    }
    print(json.dumps(report))
    model.close()


def _time(model: Engine, items: list[Item], runners: int) -> tuple[float, float, float]:
    """Milliseconds of one run, items a second with all runners busy, and milliseconds of CPU for an item."""
    for _ in range(WARM_UP_RUNS):
        model.run(items)
    runs_ms, rates, cpu_ms = [], [], []
    for _ in range(ROUNDS):
        counts: list[list[float]] = [[] for _ in range(runners)]
        end = time.perf_counter() + ROUND_S

        def runner(times: list[float], end: float = end) -> None:
            # At least once: on a busy machine, a thread may begin after the end of its round.
            while not times or time.perf_counter() < end:
                start = time.perf_counter()
                model.run(items)
                times.append(time.perf_counter() - start)

        threads = [threading.Thread(target=runner, args=(times,)) for times in counts]
        began, used = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        every = [each for times in counts for each in times]
        rates.append(len(every) * len(items) / (time.perf_counter() - began))
        cpu_ms.append((time.process_time() - used) * 1e3 / (len(every) * len(items)))
        runs_ms.append(statistics.median(every) * 1e3)
    return statistics.median(runs_ms), statistics.median(rates), min(cpu_ms)


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


if __name__ == "__main__":
    _main(*sys.argv[1:])
