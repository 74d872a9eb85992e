"""The entry points for Google Cloud Functions, called by the real functions-framework."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import eager
from tests.support.aws import as_json
from tests.support.events import COMPLETED, event, message, replies, reply
from tests.support.eventually import eventually
from tests.support.google import SUBSCRIPTION, TOPIC, published, pushed, stored
from tests.support.pictures import encoded, photo, png
from tests.support.serving import HOST, ROOT, START_S, Server, environment, free_port

PICTURE = png(40, 30)
ASKED = event(PICTURE, "image/png")
MODES = ("binary", "structured")
WAIT_S = 30.0

Functions = Callable[..., Server]


@contextmanager
def _framework(target: str, artifact: Path, log_file: Path, settings: dict[str, str]) -> Iterator[Server]:
    """The function, as soon as its port is open."""
    port = free_port()
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cloud.framework", "--target", target, "--host", HOST],
            cwd=ROOT, env=environment(artifact, port, settings), stdout=log, stderr=log,
        )  # fmt: skip
    server = Server(process, port, log_file)
    try:
        eventually(lambda: _is_open(server), START_S, "listening")
        yield server
    finally:
        server.stop()


def _is_open(server: Server) -> bool:
    assert server.process.poll() is None, server.log
    try:
        with closing(server.connect()) as connection:
            connection.connect()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Functions]:
    """functions(target, artifact, **settings): the same one for the same arguments."""
    folder, found = tmp_path_factory.mktemp("functions"), dict[tuple[object, ...], Server]()
    with ExitStack() as stack:

        def get(target: str, artifact: Path, **settings: str) -> Server:
            key = (target, artifact, *settings.items())
            if key not in found:
                log_file = folder / f"{len(found)}.log"
                found[key] = stack.enter_context(_framework(target, artifact, log_file, settings))
            return found[key]

        yield get


@pytest.fixture
def http(functions: Functions, tiny: Path) -> Server:
    return functions("http", tiny)


@pytest.fixture
def on_event(functions: Functions, tiny_onnx: Path) -> Server:
    return functions("event", tiny_onnx)


def _send(server: Server, body: bytes, headers: dict[str, str]) -> int:
    return server.call("POST", "/", body, headers).status


def _labels(count: int) -> list[tuple[str, int]]:
    return [(label, index) for label, index, _ in eager.labels(PICTURE, count)]


def test_a_picture_is_answered(http: Server) -> None:
    answer = http.call("POST", "/infer?top=2", PICTURE, {"Content-Type": "image/png"})
    assert answer.status == 200
    assert [(each["label"], each["index"]) for each in answer.json["labels"]] == _labels(2)
    assert "run;dur=" in answer.headers["Server-Timing"]


def test_every_endpoint_is_there(http: Server) -> None:
    assert http.call("GET", "/v2/health/ready").json == {"ready": True}
    assert http.call("GET", "/v2/models/tiny").json["name"] == "tiny"
    assert http.call("GET", "/", headers={"Accept": "text/html"}).body.startswith(b"<!doctype html>")
    assert http.call("GET", "/page/app.js").status == 200
    assert b"kindling_ready 1.0" in http.call("GET", "/metrics").body
    assert http.call("POST", "/infer", b"nonsense").status == 422
    assert http.call("POST", "/infer").error
    assert http.call("GET", "/nowhere").status == 404
    assert http.call("POST", "/infer", b"x" * (11 * 2**20)).status == 413


def test_a_form_and_a_body_in_chunks_are_answered(http: Server) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n%s\r\n--x--\r\n' % PICTURE
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert http.call("POST", "/infer?top=1", form, headers).json["labels"][0]["index"] == _labels(1)[0][1]
    chunked = http.call("POST", "/infer?top=1", iter([PICTURE[:100], PICTURE[100:]]))
    assert chunked.json["labels"][0]["index"] == _labels(1)[0][1]


@pytest.mark.parametrize("mode", [*MODES, "batched"])
def test_the_http_function_answers_events_by_events(http: Server, mode: str) -> None:
    assert reply(http, mode, ASKED).get_type() == COMPLETED


def test_the_worker_loads_the_model_before_anybody_asks(functions: Functions, tiny_onnx: Path) -> None:
    server = functions("http", tiny_onnx, LOG_LEVEL="info", RUNNERS="1")
    eventually(lambda: "is ready: 1 x 1 threads" in server.log, WAIT_S)
    assert "first answer" not in server.log


def test_a_worker_that_takes_the_place_of_one_that_died_loads_it_too(functions: Functions, tiny_onnx: Path) -> None:
    server = functions("http", tiny_onnx, REQUEST_THREADS="3")
    assert server.call("POST", "/infer", PICTURE).status == 200
    died = f"Worker (pid:{server.worker_pid}) was sent SIGKILL"
    os.kill(server.worker_pid, signal.SIGKILL)
    eventually(lambda: died in server.log, WAIT_S)
    assert server.call("POST", "/infer", PICTURE).status == 200


@pytest.mark.parametrize("mode", MODES)
def test_an_event_is_answered_and_the_reply_logged(on_event: Server, mode: str) -> None:
    sent = message(mode, event(PICTURE, "image/png", id=f"of-{mode}"))
    assert _send(on_event, sent.body, dict(sent.headers)) == 200
    (line,) = (line for line in on_event.log.splitlines() if f"event of-{mode} of /tests: 200" in line)
    told = json.loads(line.partition(": 200 ")[2])
    assert (told["type"], told["requestid"]) == (COMPLETED, f"of-{mode}")
    assert [(each["label"], each["index"]) for each in told["data"]["labels"]] == _labels(5)


def _logged(server: Server, name: str) -> str:
    """What the log says of the event."""
    (line,) = (line for line in server.log.splitlines() if f"event {name} of /tests: " in line)
    return line.partition(f"event {name} of /tests: ")[2]


@pytest.mark.parametrize(
    ("raw", "event_id"),
    [
        (b"a%20b", "a b"),
        (b"%E7%8C%AB", "猫"),
        (b"\xe7\x8c\xab!", "猫!"),
        (b"\xe9", "é"),
        (b'"a \\"b\\""', 'a "b"'),
        (b"100%25", "100%"),
    ],
)
def test_headers_are_read_as_everywhere(on_event: Server, raw: bytes, event_id: str) -> None:
    """The framework's SDK leaves them percent-encoded: an id of 猫 was refused, and its event lost."""
    headers = {"Ce-Specversion": "1.0", "Ce-Id": raw.decode("latin-1"), "Ce-Source": "/tests", "Ce-Type": "t"}
    assert _send(on_event, PICTURE, headers | {"Content-Type": "image/png"}) == 200
    status, _, told = _logged(on_event, event_id).partition(" ")
    reply_event = json.loads(told)
    assert (status, reply_event["type"], reply_event["requestid"]) == ("200", COMPLETED, event_id)


def test_what_is_percent_encoded_and_not_utf_8_is_refused_and_logged(on_event: Server) -> None:
    headers = {
        "Ce-Specversion": "1.0",
        "Ce-Id": "%FF",
        "Ce-Source": "/tests",
        "Ce-Type": "t",
        "Content-Type": "image/png",
    }
    assert _send(on_event, PICTURE, headers) == 200
    assert _logged(on_event, "%FF").startswith("400 ")


@pytest.mark.parametrize("content_type", ["application/octet-stream", None])
def test_data_are_the_bytes_that_came(on_event: Server, content_type: str | None) -> None:
    """The framework's SDK makes a value of what is JSON, whatever its type."""
    pixels = bytes(16 * 16 * 3)
    inputs = [{"name": "image", "shape": [1, 16, 16, 3], "datatype": "UINT8", "data": list(pixels)}]
    name = f"bytes-{content_type}"
    headers = {"Ce-Specversion": "1.0", "Ce-Id": name, "Ce-Source": "/tests", "Ce-Type": "t"}
    told = {"Content-Type": content_type} if content_type else {}
    assert _send(on_event, json.dumps({"inputs": inputs}).encode(), headers | told) == 200
    assert _logged(on_event, name).startswith("200 ")


def test_a_compressed_event_is_answered(on_event: Server) -> None:
    sent = message("binary", event(PICTURE, "image/png", id="compressed"))
    headers = sent.headers | {"content-encoding": "gzip"}
    assert _send(on_event, gzip.compress(sent.body), headers) == 200
    assert _logged(on_event, "compressed").startswith("200 ")


def test_a_pubsub_message_holds_the_event(on_event: Server) -> None:
    sent = published(json.dumps(as_json(event(PICTURE, "image/png", id="published"))).encode())
    assert _send(on_event, json.dumps(sent).encode(), {"Content-Type": "application/cloudevents+json"}) == 200
    assert '"requestid": "published"' in on_event.log


def test_a_pubsub_message_may_be_a_picture_and_eventarc_sends_it_in_binary_mode(on_event: Server) -> None:
    asked = published(PICTURE, "picture")
    headers = {f"Ce-{name}": value for name, value in asked.items() if not name.startswith("data")}
    body = json.dumps(asked["data"]).encode()
    assert _send(on_event, body, headers | {"Content-Type": "application/json"}) == 200
    assert '"requestid": "picture"' in on_event.log


def test_a_push_of_pubsub_is_unwrapped(http: Server) -> None:
    """By the function that has every endpoint."""
    sent = json.dumps(pushed(PICTURE, "pushed")).encode()
    assert _send(http, sent, {"Content-Type": "application/json"}) == 204
    assert f"event pushed of //pubsub.googleapis.com/{SUBSCRIPTION}: 200" in http.log


@pytest.mark.parametrize(
    ("sent", "said"),
    [(as_json(event(b"nonsense", "image/png", id="poison")), "event poison of /tests: 422"),
     (published(b"nonsense"), f"event 1 of {TOPIC}: 422 not a picture"),
     (published() | {"data": {}}, f"event 1 of {TOPIC}: 400"),
     (stored("photos", "cat.png"), "https://storage.googleapis.com/photos/cat.png is not in DATAREF_ALLOW"),
     (stored("photos", "cat.png", "deleted"), "nothing to compute: 'google.cloud.storage.object.v1.deleted' of")],
)  # fmt: skip
def test_what_can_never_be_answered_is_logged_and_does_not_come_again(
    on_event: Server, sent: dict[str, Any], said: str
) -> None:
    assert _send(on_event, json.dumps(sent).encode(), {"Content-Type": "application/cloudevents+json"}) == 200
    assert said in on_event.log


def test_what_can_be_answered_later_comes_again(functions: Functions, tiny_onnx: Path) -> None:
    server = functions("event", tiny_onnx, REQUEST_TIMEOUT_MS="1")
    late = message("binary", event(encoded(photo(1600, 1200), "PNG"), "image/png", id="late"))
    assert _send(server, late.body, dict(late.headers)) == 500
    assert "EventNotAnswered: event late of /tests: 504" in server.log


def test_results_are_kept_in_the_database(functions: Functions, tiny_onnx: Path, database_url: str) -> None:
    on_event = functions("event", tiny_onnx, DATABASE_URL=database_url)
    http = functions("http", tiny_onnx, DATABASE_URL=database_url)
    sent = message("structured", event(PICTURE, "image/png"))
    for _ in range(2):
        assert _send(on_event, sent.body, dict(sent.headers)) == 200
    (job,) = http.call("GET", "/jobs").json["jobs"]
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    (kept,) = replies(http.call("POST", "/", sent.body, sent.headers))
    data: Any = kept.get_data()
    assert data["labels"][0]["index"] == _labels(1)[0][1]
    assert COMPLETED not in on_event.log
