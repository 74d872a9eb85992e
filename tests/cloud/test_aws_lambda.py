"""The function on AWS Lambda, by the real awslambdaric: its init phase, HTTP in both payload formats, Lambda's limits."""

import base64
import json
import os
import random
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OnLambda
from tests.support import eager
from tests.support.aws import VERSIONS, Function, http_answer, running
from tests.support.exporting import SINGLE, model_command
from tests.support.models import SIDE
from tests.support.pictures import encoded, photo, png
from tests.support.runtime_api import DEADLINE_S, MAX_RESPONSE_BYTES, function, runtime_api
from tests.support.serving import environment

PICTURE = png(40, 30)
PIXELS = random.Random(5).randbytes(SIDE * SIDE * 3)
SERVER_TIMING = "Server-Timing"


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tiny_function(on_lambda: OnLambda, tiny: Path) -> Function:
    return on_lambda(tiny)


@pytest.fixture
def onnx_function(on_lambda: OnLambda, tiny_onnx: Path) -> Function:
    return on_lambda(tiny_onnx)


@pytest.fixture(scope="module")
def wide_function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    folder = tmp_path_factory.mktemp("wide")
    done = model_command(
        "export", "tests/support/models.py:wide", "--engine", "onnx", *SINGLE, "--output", str(folder / "artifact")
    )
    assert done.returncode == 0, done.stderr
    with running(environment(folder / "artifact", 8080, {}), folder / "log") as found:
        yield found


def _numbers(count: int) -> list[dict[str, Any]]:
    return [{"name": "numbers", "shape": [count, 1], "datatype": "FP32", "data": [1.0] * count}]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_in_base64_is_answered(tiny_function: Function, version: str, kind: str) -> None:
    picture = encoded(photo(50, 40), kind)
    answer = tiny_function.http(version, "POST", "/infer?top=2", picture, {"Content-Type": f"image/{kind.lower()}"})
    assert answer.status == 200
    assert [(each["label"], each["index"]) for each in answer.json["labels"]] == [
        (label, index) for label, index, _ in eager.labels(picture, 2)
    ]
    assert "run;dur=" in answer.headers[SERVER_TIMING]


def test_a_load_balancer_is_answered(onnx_function: Function) -> None:
    """docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html"""
    event = {
        "requestContext": {"elb": {"targetGroupArn": "arn"}}, "httpMethod": "POST", "path": "/infer",
        "queryStringParameters": {"top": "1"}, "headers": {"host": "lb.example", "content-type": "image/png"},
        "body": base64.b64encode(PICTURE).decode(), "isBase64Encoded": True,
    }  # fmt: skip
    answer = http_answer(onnx_function.invoke(event).value)
    assert (answer.status, answer.json["labels"][0]["index"]) == (200, eager.labels(PICTURE, 1)[0][1])


def test_tensors_are_answered_in_json_and_binary(tiny_function: Function, version: str) -> None:
    tensor = {"name": "image", "shape": [1, SIDE, SIDE, 3], "datatype": "UINT8"}
    wanted = pytest.approx(eager.probabilities([PIXELS])[0], abs=1e-5)
    path = "/v2/models/tiny/infer"
    answer = tiny_function.http(version, "POST", path, {"inputs": [tensor | {"data": list(PIXELS)}]})
    assert answer.json["outputs"][0]["data"] == wanted

    header = json.dumps({
        "inputs": [tensor | {"parameters": {"binary_data_size": len(PIXELS)}}],
        "parameters": {"binary_data_output": True},
    }).encode()  # fmt: skip
    headers = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
    answer = tiny_function.http(version, "POST", path, header + PIXELS, headers)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    raw = answer.body[int(answer.headers["Inference-Header-Content-Length"]) :]
    assert struct.unpack("<6f", raw) == wanted


@pytest.mark.parametrize(
    ("asked", "body", "refused"),
    [("POST /infer", b"", "400 the body is empty"), ("POST /infer", b"nonsense", "422 "),
     ("GET /v2/models/other", b"", "404 no model"), ("GET /infer", b"", "405 "),
     ("POST /infer?top=0", PICTURE, "400 top='0'")],
)  # fmt: skip
def test_errors_are_those_of_the_service(
    onnx_function: Function, version: str, asked: str, body: bytes, refused: str
) -> None:
    method, path = asked.split()
    answer = onnx_function.http(version, method, path, body)
    assert f"{answer.status} {answer.error}".startswith(refused)


def test_what_is_no_json_is_in_base64(onnx_function: Function, version: str) -> None:
    """As API Gateway wants what is not text; metrics are."""
    metrics = onnx_function.http(version, "GET", "/metrics")
    assert metrics.status == 200
    assert b"kindling_ready 1.0" in metrics.body
    schema = onnx_function.http(version, "GET", "/events/schema")
    assert json.loads(schema.body)["$defs"]


def test_the_model_is_ready_before_the_first_event_is_asked_for(on_lambda: OnLambda, tiny: Path) -> None:
    """What is not loaded in the init phase is loaded while somebody waits, and paid for."""
    found = on_lambda(tiny, LOG_LEVEL="info", REQUEST_THREADS="3")
    assert "is ready" in found.log
    assert "first answer" not in found.log
    assert found.http("2.0", "GET", "/v2/health/ready").status == 200
    assert found.http("2.0", "POST", "/infer", PICTURE).headers[SERVER_TIMING].startswith("cold-")
    assert found.http("2.0", "POST", "/infer", PICTURE).headers[SERVER_TIMING].startswith("decode")
    assert 0 < found.init_s < DEADLINE_S


@pytest.mark.parametrize(("memory", "runners"), [("1769", 1), ("512", 1), ("10240", None)])
def test_runners_follow_the_memory_that_cpu_time_comes_with(
    on_lambda: OnLambda, tiny_onnx: Path, memory: str, runners: int | None
) -> None:
    from service.runtime import cpu

    found = on_lambda(tiny_onnx, AWS_LAMBDA_FUNCTION_MEMORY_SIZE=memory)
    assert f"is ready: {runners or min(6, cpu.quota())} x 1 threads" in found.log


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MODEL_DIR": "nowhere"}, "nowhere"),
        ({"PORT": "x", "RUNNERS": "-1"}, "PORT='x'"),
        ({"RUNNERS": "x"}, "RUNNERS"),
    ],
)
def test_a_start_that_fails_is_an_init_error_that_says_why(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    with runtime_api() as api, (tmp_path / "log").open("wb") as log:
        environ = {**environment(tmp_path, 8080, {}), **settings}
        with function(api, environ, log) as process:
            assert api.polled.wait(DEADLINE_S)
            assert process.wait(DEADLINE_S) == 1
    assert api.init_error is not None
    assert said in api.init_error["errorMessage"]


def test_a_process_that_stood_still_goes_on(onnx_function: Function) -> None:
    """As Lambda lets it between two invocations."""
    before = onnx_function.http("2.0", "POST", "/infer", PICTURE)
    os.kill(onnx_function.pid, signal.SIGSTOP)
    os.kill(onnx_function.pid, signal.SIGCONT)
    assert onnx_function.http("2.0", "POST", "/infer", PICTURE).json == before.json


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_that_lambda_would_not_take_is_a_small_error(
    wide_function: Function, version: str, binary: bool
) -> None:
    """The runtime would end on the Runtime API's 413, and the caller be told nothing but 502."""
    path = "/v2/models/wide/infer"
    asked = {"inputs": _numbers(1), "parameters": {"binary_data_output": binary}}
    fitting = wide_function.http(version, "POST", path, asked)
    assert fitting.status == 200
    assert len(fitting.body) > 3_000_000
    refused = wide_function.http(version, "POST", path, asked | {"inputs": _numbers(2)})
    assert refused.status == 413
    assert f"more than the {MAX_RESPONSE_BYTES} that Lambda takes" in refused.error
    assert wide_function.http(version, "POST", path, asked).status == 200


def test_events_too_large_to_answer_are_told_so(wide_function: Function) -> None:
    asked = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "t", "data": {"inputs": _numbers(1)}}
    assert wide_function.invoke(asked).value["type"] == "dev.kindling.inference.completed"
    (one, two) = wide_function.invoke([asked, asked | {"id": "2"}]).value
    for each, requested in ((one, "1"), (two, "2")):
        assert (each["type"], each["requestid"]) == ("dev.kindling.inference.failed", requested)
        assert each["data"]["status"] == 413
        assert "Lambda takes" in each["data"]["error"]


@pytest.mark.parametrize(
    "event", ["text", 1, None, {}, {"a": 1}, {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {}}]}]
)
def test_an_event_of_no_known_form_is_an_error_that_says_so(onnx_function: Function, event: Any) -> None:
    assert onnx_function.invoke(event).error.startswith("ValueError: unknown event")
    assert onnx_function.http("2.0", "GET", "/v2/health/live").status == 200
