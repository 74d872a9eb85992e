"""Part 4: AWS Lambda's init phase and the first answer, by the real awslambdaric; the sides alternate in each round."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark.lineup import ENGINES, LAMBDA_EAGER, Places, on_lambda
from tests.benchmark.photo import is_espresso
from tests.benchmark.process import SideError
from tests.support.aws import http_answer, http_event
from tests.support.runtime_api import DEADLINE_S, HANDLER, function, runtime_api
from tests.support.serving import environment

EAGER_HANDLER = "tests.benchmark.sides.eager_lambda.handler"


@dataclass(frozen=True)
class Woken:
    """From process start to the first `next` of the Runtime API, and to the first correct answer."""

    init_ms: float
    first_answer_ms: float


def measure(places: Places, logs: Path, rounds: int) -> dict[str, list[Woken]]:
    """The starts of each side. An extra round before them, not counted, fills the page cache.

    Raises:
        SideError: a side did not answer.
    """
    sides = [(on_lambda(engine), HANDLER, places.artifacts[engine]) for engine in ENGINES]
    sides.append((LAMBDA_EAGER, EAGER_HANDLER, places.artifacts["aoti"]))
    event = http_event("2.0", "POST", "/infer", places.jpeg.read(), {"Content-Type": places.jpeg.content_type})
    found: dict[str, list[Woken]] = {name: [] for name, _, _ in sides}
    for number in range(rounds + 1):
        for name, handler, artifact in sides:
            woken = _wake(handler, artifact, logs / f"{name.replace(' ', '-')}.log", event)
            if number:
                found[name].append(woken)
        told = ", ".join(f"{name} {each[-1].init_ms:.0f} ms" for name, each in found.items() if each)
        print(f"  lambda {number}/{rounds}: {told or 'page cache filled'}", file=sys.stderr, flush=True)
    return found


def _wake(handler: str, artifact: Path, log_file: Path, event: dict[str, object]) -> Woken:
    with runtime_api() as api, log_file.open("wb") as log:
        spawned_s = time.perf_counter()
        with function(api, environment(artifact, 8080, {}), log, handler):
            if not api.polled.wait(DEADLINE_S) or api.init_error:
                raise SideError(f"{handler} did not start: {api.init_error} ({log_file})")
            outcome = api.invoke(event)
            answered_s = time.perf_counter()
    if outcome.kind != "response" or not is_espresso(http_answer({"isBase64Encoded": False, **outcome.value}).body):
        raise SideError(f"{handler} gave no correct answer: {outcome.body[:200]!r} ({log_file})")
    return Woken(round((api.polled_s - spawned_s) * 1e3, 1), round((answered_s - spawned_s) * 1e3, 1))
