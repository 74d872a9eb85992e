"""The ceiling: decoding in a pool and the service's own engine on all cores, in one process, without HTTP.

`python -m tests.benchmark.sides.in_process ARTIFACT JPEG SECONDS` prints one line of JSON.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model.artifact import Artifact
from service.protocol import image
from service.protocol.tensor import values
from service.runtime import cpu
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
from tests.benchmark.photo import ESPRESSO
from tests.benchmark.process import memory

Runner = Callable[[float, list[int]], None]
WARM_UP_S = 1.0


def main(folder: str, jpeg: str, seconds: str) -> None:
    artifact, picture = Artifact.read(Path(folder)), Path(jpeg).read_bytes()
    spec = artifact.image
    assert spec is not None
    threads = min(artifact.defaults.threads, cpu.quota())
    how = Plan(cpu.quota() // threads, threads, artifact.defaults.max_batch_size)
    loaded = loading.load(artifact, how)
    size = loaded.batch_sizes[-1]
    (answer,) = loaded.run([(image.decode(picture, spec, 2**30),)])
    scores = list(values(artifact.outputs[0].datatype, answer[0]))
    if scores.index(max(scores)) != ESPRESSO:
        sys.exit("the in-process loop gave a wrong answer")
    with ThreadPoolExecutor(cpu.quota()) as decoders:

        def runner(end: float, counts: list[int]) -> None:
            """Decode the next batch while this one runs."""
            ahead = [decoders.submit(image.decode, picture, spec, 2**30) for _ in range(size)]
            while time.perf_counter() < end:
                items = [(each.result(),) for each in ahead]
                ahead = [decoders.submit(image.decode, picture, spec, 2**30) for _ in range(size)]
                loaded.run(items)
                counts.append(size)

        _rate(runner, how.runners, WARM_UP_S)
        used_s = time.process_time()
        rate = _rate(runner, how.runners, float(seconds))
        cpu_ms = (time.process_time() - used_s) * 1e3 / (rate * float(seconds))
    print(json.dumps({"per_s": round(rate, 2), "cpu_ms": round(cpu_ms, 1), "memory": vars(memory())}))
    loaded.close()


def _rate(runner: Runner, runners: int, seconds: float) -> float:
    """Images a second over all runners."""
    counts: list[int] = []
    began = time.perf_counter()
    threads = [threading.Thread(target=runner, args=(began + seconds, counts)) for _ in range(runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
