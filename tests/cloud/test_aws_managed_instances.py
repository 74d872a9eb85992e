"""Lambda Managed Instances, by the real awslambdaric: one process for each request that is answered at the same time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.artifact import Artifact
from service.runtime import cpu
from service.runtime.preparation import plan
from service.settings import Settings
from tests.support import eager
from tests.support.aws import Function, http_answer, http_event
from tests.support.eventually import eventually
from tests.support.pictures import png
from tests.support.runtime_api import DEADLINE_S, function, runtime_api
from tests.support.serving import Answer, environment

PICTURE = png(40, 30)
LABEL = eager.labels(PICTURE, 1)[0][1]
AT_ONCE = 2
POLL = "invocation/next"


@pytest.fixture
def managed(tiny_onnx: Path, tmp_path: Path) -> Iterator[Function]:
    """The function, as soon as all its processes ask for an event; Lambda sets the first two variables."""
    settings = {
        "AWS_LAMBDA_MAX_CONCURRENCY": str(AT_ONCE), "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "4096",
        "DATABASE_URL": f"sqlite:///{tmp_path}/jobs.sqlite",
    }  # fmt: skip
    file = tmp_path / "log"
    environ = environment(tiny_onnx, 8080, settings)
    with runtime_api() as api, file.open("wb") as log, function(api, environ, log) as process:
        eventually(lambda: api.asked.count(POLL) == AT_ONCE, DEADLINE_S)
        yield Function(api, process.pid, file, 0.0)


def _at_once(found: Function, *events: dict[str, Any]) -> list[Answer]:
    """The answers to events that are all given out before the first of them is answered."""
    for number, each in enumerate(events):
        found.api.events.put((f"at-once-{number}", json.dumps(each).encode()))
    answers = dict(found.api.outcomes.get(timeout=DEADLINE_S) for _ in events)
    return [http_answer(answers[name].value) for name in sorted(answers)]


def _asked(path: str, **headers: str) -> dict[str, Any]:
    return http_event("2.0", "POST", path, PICTURE, headers)


def test_each_process_answers_one_of_the_requests(managed: Function) -> None:
    """Both processes wait for an event when the two come, and Lambda gives a process the next one after its answer."""
    children = Path(f"/proc/{managed.pid}/task/{managed.pid}/children").read_text().split()
    assert len(children) == AT_ONCE
    answers = _at_once(managed, _asked("/infer?top=1"), _asked("/infer?top=2"))
    assert [answer.status for answer in answers] == [200, 200]
    assert [len(answer.json["labels"]) for answer in answers] == [1, 2]
    assert {answer.json["labels"][0]["index"] for answer in answers} == {LABEL}
    eventually(lambda: managed.api.asked.count(POLL) == 2 * AT_ONCE, DEADLINE_S)


def test_each_process_loads_the_model_for_its_share_of_the_cpus(managed: Function) -> None:
    ready = [line for line in managed.log.splitlines() if "is ready" in line]
    assert len(ready) == AT_ONCE
    share = max(1, min(3, cpu.quota()) // AT_ONCE)
    assert all(f"{share} x 1 threads" in line for line in ready)


def test_the_processes_share_the_jobs_of_their_environment(managed: Function) -> None:
    """/tmp is that of the environment."""
    headers = {"Idempotency-Key": "key"}
    answers = [managed.http("2.0", "POST", "/infer", PICTURE, headers) for _ in range(2 * AT_ONCE)]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(managed.http("2.0", "GET", "/jobs").json["jobs"]) == 1


@pytest.mark.parametrize("at_once", [1, 2, 3, 32])
def test_runners_are_shared_out_among_the_processes(tiny_onnx: Path, at_once: int) -> None:
    wanted = plan(Artifact.read(tiny_onnx), Settings(run_threads=1, aws_lambda_max_concurrency=at_once))
    assert wanted.runners == max(1, cpu.quota() // at_once)


def test_a_number_of_runners_that_is_set_is_that_of_each_process(tiny_onnx: Path) -> None:
    wanted = plan(Artifact.read(tiny_onnx), Settings(runners=3, aws_lambda_max_concurrency=2))
    assert wanted.runners == 3
