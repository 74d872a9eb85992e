"""The images kindling:aoti-lambda and kindling:onnx-functions, as `make image TARGET=...` builds them."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model import pictures
from tests.docker.test_container import docker, missing
from tests.support import required
from tests.support.aws import as_json, http_answer, http_event
from tests.support.events import COMPLETED, event
from tests.support.eventually import eventually
from tests.support.runtime_api import DEADLINE_S, RuntimeApi, runtime_api
from tests.support.serving import HOST, Server, free_port

LAMBDA, FUNCTIONS = "kindling:aoti-lambda", "kindling:onnx-functions"
COFFEE = (pictures.folder() / "coffee.png").read_bytes()
ESPRESSO = 967
MB = 2**20


def _image(name: str) -> str:
    if why := missing(name):
        required.skip(why, "REQUIRE_DOCKER")
    return name


@pytest.fixture
def lambda_image() -> str:
    return _image(LAMBDA)


@pytest.fixture
def functions_image() -> str:
    return _image(FUNCTIONS)


@contextmanager
def _on_lambda(image: str, *options: str) -> Iterator[tuple[str, RuntimeApi]]:
    """The container as Lambda runs it: any user, nothing to write to but /tmp, no shared memory, our Runtime API."""
    with runtime_api() as api:
        container = docker(
            "run", "--detach", "--network", "host", "--env", f"AWS_LAMBDA_RUNTIME_API={api.address}",
            "--read-only", "--tmpfs", "/tmp", "--ipc", "none", "--user", "993:990", "--cap-drop", "ALL", *options, image,
        )  # fmt: skip
        try:
            assert api.polled.wait(DEADLINE_S), docker("logs", container)
            assert api.init_error is None, api.init_error
            yield container, api
        finally:
            docker("rm", "--force", container)


def test_lambda_image_answers_where_only_tmp_can_be_written(lambda_image: str) -> None:
    with _on_lambda(lambda_image, "--memory", "3538m") as (_, api):
        for version in ("1.0", "2.0"):
            asked = http_event(version, "POST", "/infer?top=1", COFFEE, {"Content-Type": "image/png"})
            answer = http_answer(api.invoke(asked).value)
            assert (answer.status, answer.json["labels"][0]["index"]) == (200, ESPRESSO)
        reply = api.invoke(as_json(event(COFFEE, "image/png"))).value
        assert (reply["type"], reply["data"]["labels"][0]["index"]) == (COMPLETED, ESPRESSO)


def test_lambda_image_keeps_jobs_in_tmp(lambda_image: str) -> None:
    with _on_lambda(lambda_image, "--env", "DATABASE_URL=sqlite:////tmp/jobs.sqlite") as (_, api):
        asked = http_event("2.0", "POST", "/infer", COFFEE, {"Idempotency-Key": "key"})
        assert http_answer(api.invoke(asked).value).status == 200
        jobs = http_answer(api.invoke(http_event("2.0", "GET", "/jobs", b"", {})).value).json["jobs"]
        assert [job["status"] for job in jobs] == ["succeeded"]


def test_lambda_image_is_far_below_what_lambda_takes(lambda_image: str) -> None:
    """10 GB, uncompressed: docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
    assert int(docker("image", "inspect", "--format", "{{.Size}}", lambda_image)) < 1000 * MB


def test_lambda_image_holds_neither_torch_nor_compiler(lambda_image: str) -> None:
    probe = (
        "import importlib.util as u, shutil;"
        "print(*(name for name in ('torch', 'onnxruntime', 'numpy', 'boto3') if u.find_spec(name)),"
        "*(name for name in ('gcc', 'g++', 'cc') if shutil.which(name)))"
    )
    assert docker("run", "--rm", "--entrypoint", "python", lambda_image, "-c", probe) == ""


@contextmanager
def _function(image: str, target: str) -> Iterator[Server]:
    """The container as Cloud Run starts it: with a PORT, and files that it may write."""
    port = free_port()
    process = subprocess.Popen(
        ["docker", "run", "--rm", "--network", "host", "--env", f"PORT={port}", "--env", f"FUNCTION_TARGET={target}",
         "--env", f"HOST={HOST}", "--name", f"function-{port}", image],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    server = Server(process, port, Path(os.devnull))
    try:
        if target == "http":
            eventually(server.is_ready, DEADLINE_S)
        yield server
    finally:
        docker("stop", f"function-{port}")
        process.wait()


def test_functions_image_answers_http(functions_image: str) -> None:
    with _function(functions_image, "http") as server:
        answer = server.call("POST", "/infer?top=1", COFFEE, {"Content-Type": "image/png"})
        assert (answer.status, answer.json["labels"][0]["index"]) == (200, ESPRESSO)


def test_functions_image_takes_events(functions_image: str) -> None:
    body = json.dumps(as_json(event(COFFEE, "image/png"))).encode()
    with _function(functions_image, "event") as server:

        def is_taken() -> bool:
            try:
                return server.call("POST", "/", body, {"Content-Type": "application/cloudevents+json"}).status == 200
            except OSError:
                return False

        eventually(is_taken, DEADLINE_S)
        assert server.call("POST", "/", b"nonsense").status in (400, 415)
