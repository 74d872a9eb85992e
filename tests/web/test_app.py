"""The application without a server: one form for every error."""

import gzip
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from model.artifact import ArtifactError
from service import errors
from service.settings import Settings
from service.web.app import create_app
from tests.support.exporting import Exports
from tests.support.pictures import png

LONG = "ä" * 10_000


@pytest.fixture(scope="module")
def app(exports: Exports) -> Iterator[Flask]:
    """The real application, with a route for each way to fail."""
    app = create_app(Settings(model_dir=exports.artifact("tiny-onnx")))
    for name, fail in FAILURES.items():
        app.add_url_rule(f"/fail/{name}", name, _raising(fail))
    app.extensions["runtime"].wait_until_ready(60)
    yield app
    app.extensions["runtime"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


FAILURES: dict[str, Exception] = {
    "bad": errors.BadRequest("that is not JSON"),
    "no-key": errors.Unauthorized(),
    "forbidden": errors.Forbidden("never done"),
    "unknown-model": errors.NotFound("no such model"),
    "large": errors.ContentTooLarge("too much"),
    "no-grpc": errors.NoGrpc("wanted a gRPC call"),
    "wrong": errors.Unprocessable("wrong shape"),
    "unimplemented": errors.Unimplemented("no such method"),
    "slow": errors.RequestTimeout("not received in time"),
    "conflict": errors.Conflict("ask again"),
    "cancelled": errors.Cancelled("the job was cancelled"),
    "full": errors.QueueFull("7 items are waiting", retry_after_s=3),
    "over-rate": errors.OverRate("more than the rate of this key", retry_after_s=3),
    "engine": errors.EngineError("secret: weights at 0x1234"),
    "not-ready": errors.NotReady("the model is still loading"),
    "late": errors.DeadlineExceeded("not answered in time"),
    "unexpected": ZeroDivisionError("secret: /etc/passwd"),
    "long": errors.BadRequest(LONG),
}
ANSWERS = {
    "bad": (400, "that is not JSON"),
    "no-key": (401, "a valid key is needed: send Authorization: Bearer KEY, or X-API-Key: KEY"),
    "forbidden": (403, "never done"),
    "unknown-model": (404, "no such model"),
    "large": (413, "too much"),
    "no-grpc": (415, "wanted a gRPC call"),
    "wrong": (422, "wrong shape"),
    "unimplemented": (501, "no such method"),
    "slow": (408, "not received in time"),
    "conflict": (409, "ask again"),
    "cancelled": (409, "the job was cancelled"),
    "full": (429, "7 items are waiting"),
    "over-rate": (429, "more than the rate of this key"),
    "engine": (500, "the model failed on this input"),
    "not-ready": (503, "the model is still loading"),
    "late": (504, "not answered in time"),
    "unexpected": (500, "internal error"),
}


def _raising(error: Exception) -> Callable[[], Response]:
    def view() -> Response:
        raise error

    return view


def _assert_error(answer: TestResponse, status: int, message: str) -> None:
    assert answer.status_code == status
    assert answer.json == {"error": message}
    assert answer.content_type == "application/json"
    assert len(answer.data) <= 768
    assert answer.content_length == len(answer.data)


@pytest.mark.parametrize("name", ANSWERS)
def test_every_error_has_its_status_and_one_form(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/fail/{name}")
    _assert_error(answer, *ANSWERS[name])
    assert answer.headers.get("Retry-After") == ("3" if name in ("full", "over-rate") else None)
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if name == "no-key" else None)
    assert set(answer.headers.keys()) <= {
        "Content-Type", "Content-Length", "Retry-After", "WWW-Authenticate", "X-Request-Id",
    }  # fmt: skip


def test_every_error_of_the_tree_is_tested_here() -> None:
    def tree(kind: type[errors.KindlingError]) -> set[type[errors.KindlingError]]:
        below = kind.__subclasses__()
        return {kind} | {each for child in below for each in tree(child)}

    abstract = {errors.KindlingError, errors.RequestError}
    assert {type(each) for each in FAILURES.values()} >= tree(errors.KindlingError) - abstract


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    for kind in (errors.BadRequest, errors.Unauthorized, errors.Forbidden, errors.NotFound, errors.ContentTooLarge, errors.NoGrpc, errors.Unprocessable, errors.Conflict, errors.Cancelled, errors.QueueFull, errors.OverRate,
                 errors.EngineError, errors.Unimplemented, errors.NotReady, errors.DeadlineExceeded):  # fmt: skip
        (line,) = (line for line in str(errors.__doc__).splitlines() if f"── {kind.__name__} " in line)
        assert f" {kind.status}  " in line


@pytest.mark.parametrize("name", ["engine", "unexpected"])
def test_what_the_client_is_not_told_is_in_the_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with caplog.at_level(logging.ERROR, "kindling"):
        answer = client.get(f"/fail/{name}")
    assert b"secret" not in answer.data
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


def test_a_refused_request_is_not_logged_as_an_error(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("bad", "wrong", "full"):
        client.get(f"/fail/{name}")
    client.get("/nothing")
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


def test_a_long_error_is_cut_to_768_bytes(client: FlaskClient) -> None:
    answer = client.get("/fail/long")
    assert answer.status_code == 400
    assert answer.json is not None
    assert LONG.startswith(answer.json["error"])
    assert 0 < len(answer.data) <= 768


@pytest.mark.parametrize("character", ["\0", '"', "\\", "\n", "é", "日", "😀", "\x7f"])
def test_what_a_client_sends_never_makes_an_error_longer_than_768_bytes(client: FlaskClient, character: str) -> None:
    answer = client.post(f"/infer?top={character * 600}", data=b"x")
    assert answer.status_code == 400
    assert len(answer.data) <= 768
    named = client.post(
        "/v2/models/tiny/infer", json={"inputs": [{"name": character * 600, "datatype": character * 600, "shape": []}]}
    )
    assert named.status_code == 422
    assert len(named.data) <= 768


def test_flasks_own_refusals_have_the_same_form(client: FlaskClient, app: Flask) -> None:
    missing, wrong = client.get("/nothing"), client.delete("/infer")
    assert missing.json is not None
    _assert_error(missing, 404, missing.json["error"])
    assert wrong.json is not None
    _assert_error(wrong, 405, wrong.json["error"])
    assert set(wrong.headers["Allow"].split(", ")) == {"OPTIONS", "POST", "PUT"}
    large = client.post("/infer", data=b"x" * (app.config["MAX_CONTENT_LENGTH"] + 1))
    _assert_error(large, 413, "the body is more than 10485760 bytes (MAX_BODY_BYTES)")


def test_no_application_without_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"^no artifact in {tmp_path}: "):
        create_app(Settings(model_dir=tmp_path))


def test_a_closed_application_refuses_with_503(exports: Exports) -> None:
    app = create_app(Settings(model_dir=exports.artifact("tiny-onnx")))
    app.extensions["runtime"].close()
    app.extensions["runtime"].close()
    request = {"instances": [[[[0, 0, 0]] * 16] * 16]}
    _assert_error(app.test_client().post("/v1/models/tiny:predict", json=request), 503, "stopping")


def test_a_model_that_cannot_be_loaded_is_told_once_and_never_ready(
    exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    settings = Settings(model_dir=exports.artifact("tiny-aoti"), run_threads=9)
    app = create_app(settings, on_failure=lambda: told.append(caplog.messages[-1]))
    with pytest.raises(errors.NotReady) as fault:
        app.extensions["runtime"].wait_until_ready(60)
    sentence = (
        "the model cannot be served: tiny is compiled for runs of 1 threads, not 9: "
        "leave RUN_THREADS unset, or export with --threads"
    )
    assert (str(fault.value), told) == (sentence, [sentence])
    for answer in (
        app.test_client().get("/v2/health/ready"),
        app.test_client().get("/v2/models/tiny/ready"),
        app.test_client().post("/v1/models/tiny:predict", json={"instances": [[[[0, 0, 0]] * 16] * 16]}),
    ):
        _assert_error(answer, 503, sentence)
    assert app.test_client().get("/v2/health/live").status_code == 200


def test_what_compressed_bodies_inflate_to_is_bounded_together(app: Flask, client: FlaskClient) -> None:
    requests, most = app.extensions["requests"], Settings.max_buffered_bytes
    packed, headers = gzip.compress(png(300, 300)), {"Content-Encoding": "gzip"}
    requests.inflated_bytes = most
    refused = client.post("/infer", data=packed, headers=headers)
    assert refused.status_code == 429
    assert refused.json == {"error": "the memory for inflated bodies is full (MAX_BUFFERED_BYTES)"}
    assert refused.headers["Retry-After"] == "1"
    requests.inflated_bytes = 0
    assert client.post("/infer", data=packed, headers=headers).status_code == 200
    assert requests.inflated_bytes == 0
