"""What the service does not take as an event, or not now: whether it is delivered again, and what is said."""

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.web.app import create_app
from tests.conftest import Serve
from tests.support.events import (
    BATCH_TYPE,
    COMPLETED,
    FAILED,
    JSON_TYPE,
    MODES,
    RETRIED,
    assert_refused,
    event,
    message,
    replies,
    send,
)
from tests.support.eventually import eventually
from tests.support.pictures import png, png_claiming
from tests.support.serving import Server
from tests.web.test_metrics import samples

PICTURE = png(40, 30)
GOOD: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "t"}
HEADERS = {"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/tests", "Ce-Type": "t", "Content-Type": "image/png"}
# What is told, of which data and attributes.
WRONG: list[tuple[str, tuple[Any, str], dict[str, Any]]] = [
    ("422 not a picture: wanted JPEG, PNG, WebP or AVIF", (b"no picture", "image/png"), {}),
    ("422 truncated PNG: it ends before its pixels", (PICTURE[:40], "image/png"), {}),
    ("422 the picture is empty", (b"", "image/jpeg"), {}),
    ("422 the picture has", (png_claiming(50_000, 50_000), "image/png"), {}),
    ("422 datacontenttype is 'text/plain': wanted image/*", (b"hello", "text/plain"), {}),
    ("422 inferprotocol is 'v3': wanted image, v2 or v1", (PICTURE, "image/png"), {"inferprotocol": "v3"}),
    ("422 no model 'huge', this service has 'tiny'", (PICTURE, "image/png"), {"infermodel": "huge"}),
    ("422 infertop is '0': wanted a whole number of at least 1", (PICTURE, "image/png"), {"infertop": "0"}),
    ("422 infertop is '9999999999999999999'", (PICTURE, "image/png"), {"infertop": "9" * 19}),
    ("422 infertop is '²'", (PICTURE, "image/png"), {"infertop": "²"}),
    ("422 inferheaderlength is '-1'", (b"{}", "application/octet-stream"), {"inferheaderlength": "-1"}),
    ("422 inputs are [], the model has ['image']", ({"inputs": []}, "application/json"), {}),
    ("400 inputs: wanted a list, got nothing", ({}, "application/json"), {}),
    ("400 Inference-Header-Content-Length is 9", (b"{}", "application/octet-stream"), {"inferheaderlength": "9"}),
]  # fmt: skip


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path) -> Server:
    return serve(tiny_onnx)


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize(("told", "data", "attributes"), WRONG)
def test_a_wrong_event_is_told_what_is_wrong(
    server: Server, mode: str, told: str, data: tuple[Any, str], attributes: dict[str, Any]
) -> None:
    answer = send(server, mode, event(*data, **attributes))
    assert_refused(answer, 400, 422)
    assert f"{answer.status} {answer.error}".startswith(told)


def test_one_wrong_event_of_a_batch_spoils_no_other(server: Server) -> None:
    wrong = [event(*data, id=f"wrong-{n}", **attributes) for n, (_, data, attributes) in enumerate(WRONG)]
    good = [event(PICTURE, "image/png", id=f"good-{n}") for n in range(2)]
    found = replies(send(server, "batched", good[0], *wrong, good[1]))
    assert [each.get_type() for each in found] == [COMPLETED, *[FAILED] * len(wrong), COMPLETED]
    assert [each.get_extension("requestid") for each in found] == [each.get_id() for each in (good[0], *wrong, good[1])]
    for each, (told, _, _) in zip(found[1:-1], WRONG, strict=True):
        said: Any = each.get_data()
        assert f"{said['status']} {said['error']}".startswith(told)


def test_a_batch_of_one_wrong_event_is_answered_in_a_batch(server: Server) -> None:
    asked = event(b"no picture", "image/png", traceparent="00-1", subject="it")
    first, second = (replies(send(server, "batched", asked))[0] for _ in range(2))
    assert (first.get_type(), first.get_id()) == (FAILED, second.get_id())
    assert (first.get_extension("traceparent"), first.get_subject()) == ("00-1", "it")


def test_what_is_no_event_at_all_in_a_batch_spoils_no_other(server: Server) -> None:
    nameless: list[Any] = [
        None, 1, "text", [], {}, {**GOOD, "id": 7}, {**GOOD, "id": None}, {**GOOD, "id": "x" * 1025},
        {**GOOD, "id": "\0"}, {**GOOD, "id": "\ud800"},
    ]  # fmt: skip
    named = [{**GOOD, "specversion": "0.3"}, {**GOOD, "time": "now"}, {**GOOD, "data_base64": "%"}, {**GOOD, "a-b": 1}]
    good = json.loads(message("structured", event(PICTURE, "image/png")).body)
    answer = server.call("POST", "/", json.dumps([*nameless, good, *named]).encode(), {"Content-Type": BATCH_TYPE})
    found = replies(answer)
    assert [each.get_type() for each in found] == [FAILED] * len(nameless) + [COMPLETED] + [FAILED] * len(named)
    assert {each.get_extension("requestid") for each in found[: len(nameless)]} == {None}
    assert {each.get_extension("requestid") for each in found[-len(named) :]} == {"1"}
    said: list[Any] = [each.get_data() for each in found if each.get_type() == FAILED]
    assert {each["status"] for each in said} == {400}
    assert all(
        each["error"].startswith(("no valid CloudEvent", "the event is not", "id has more than")) for each in said
    )
    assert len({each.get_id() for each in found[: len(nameless) + 1]}) == len(nameless) + 1


@pytest.mark.parametrize("body", [b"", b"{}", b"1", b"null", b'{"id": 1}', b"nonsense", b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("content_type", [JSON_TYPE, BATCH_TYPE])
@pytest.mark.parametrize("path", ["/", "/events", "/dead-letters"])
def test_what_is_no_json_event_is_a_bad_request(server: Server, path: str, content_type: str, body: bytes) -> None:
    assert_refused(server.call("POST", path, body, {"Content-Type": content_type}), 400)


@pytest.mark.parametrize("path", ["/", "/events", "/dead-letters"])
def test_an_empty_batch_is_taken_and_answered_by_nothing(server: Server, path: str) -> None:
    answer = server.call("POST", path, b"[]", {"Content-Type": BATCH_TYPE})
    assert (answer.status, answer.body) == (204, b"")
    assert_refused(server.call("POST", path, b"[]", {"Content-Type": JSON_TYPE}), 400)


@pytest.mark.parametrize("content_type", [None, "application/octet-stream"])
def test_data_of_no_type_that_begin_like_nothing_known_are_told_to_name_a_protocol(
    server: Server, content_type: str | None
) -> None:
    headers = {name: value for name, value in (HEADERS | {"Content-Type": content_type}).items() if value}
    answer = server.call("POST", "/", b"\0\1\2", headers)
    assert_refused(answer, 422)
    assert answer.error.endswith("the data begin like no picture and no JSON: set inferprotocol")


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        ("no valid CloudEvent: it has no specversion", {"Ce-Specversion": None}),
        ("no valid CloudEvent: it has no id", {"Ce-Id": None}),
        ("no valid CloudEvent: Missing required attribute: 'source'", {"Ce-Source": None}),
        ("no valid CloudEvent: Missing required attribute: 'type'", {"Ce-Type": None}),
        ("no valid CloudEvent: Attribute 'specversion' must be '1.0'", {"Ce-Specversion": "0.3"}),
        ("no valid CloudEvent: Attribute 'id' must not be None or empty", {"Ce-Id": ""}),
        ("no valid CloudEvent: its time: ", {"Ce-Time": "yesterday"}),
        ("no valid CloudEvent: Attribute 'time' must be timezone aware", {"Ce-Time": "2026-11-23T10:00:00"}),
        ("no valid CloudEvent: Extension attribute 'my-own' should", {"Ce-My-Own": "x"}),
        ("no valid CloudEvent: subject is not of a type", {"Ce-Subject": "a%00b"}),
        ("id has more than 1024 bytes", {"Ce-Id": "x" * 1025}),
        ("events in the format 'application/cloudevents+xml'", {"Content-Type": "application/cloudevents+xml"}),
        ("no CloudEvent: there are no ce- headers", dict.fromkeys(HEADERS) | {"Content-Type": "image/png"}),
        ("no CloudEvent: there are no ce- headers", dict.fromkeys(HEADERS)),
    ],
)
def test_headers_that_are_no_event_are_a_bad_request(server: Server, error: str, changed: dict[str, Any]) -> None:
    headers = {name: value for name, value in (HEADERS | changed).items() if value is not None}
    answer = server.call("POST", "/", PICTURE, headers)
    assert_refused(answer, 400)
    assert answer.error.startswith(error)


@pytest.mark.parametrize("mode", MODES)
def test_an_event_may_be_compressed_as_one_whole(server: Server, mode: str) -> None:
    asked = message(mode, event(PICTURE, "image/png"))
    headers, body = asked.headers | {"content-encoding": "gzip"}, gzip.compress(asked.body)
    assert replies(server.call("POST", "/", body, headers))
    for wrong in (body[:-1], body + b"x", body + body):
        assert_refused(server.call("POST", "/", wrong, headers), 400)


@pytest.mark.parametrize("mode", MODES)
def test_an_event_over_the_limit_is_refused_by_its_size(serve: Serve, tiny_onnx: Path, mode: str) -> None:
    server = serve(tiny_onnx, MAX_BODY_BYTES="20000")
    assert_refused(send(server, mode, event(bytes(20_001), "image/png")), 413)
    assert replies(send(server, mode, event(PICTURE, "image/png")))


def test_a_batch_of_too_many_events_is_refused(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, MAX_REQUEST_ITEMS="3")
    asked = [event(PICTURE, "image/png", id=str(n)) for n in range(4)]
    answer = send(server, "batched", *asked)
    assert_refused(answer, 422)
    assert answer.error == "a batch of 4 events: wanted at most 3"
    assert len(replies(send(server, "batched", *asked[1:]))) == 3


@pytest.mark.parametrize("mode", ["binary", "batched"])
def test_overload_is_429_and_says_when_to_come_again(serve: Serve, tiny_onnx: Path, tmp_path: Path, mode: str) -> None:
    """A batch, too: delivered again, it computes only what it has not."""
    database = f"sqlite:///{tmp_path}/jobs.sqlite"
    server = serve(tiny_onnx, RUNNERS="1", MAX_QUEUE_SIZE="1", MAX_QUEUE_DELAY_MS="1500", DATABASE_URL=database)
    first, second = (event(PICTURE, "image/png", id=name) for name in ("first", "second"))
    assert replies(send(server, mode, first))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(send, server, "binary", event(PICTURE, "image/png", id="waits"))
        eventually(lambda: samples(server)["kindling_queue_depth",] == 1, 10)
        asked = [first, second] if mode == "batched" else [second]
        refused = send(server, mode, *asked)
        assert (refused.status, refused.error) == (429, "1 items are waiting")
        assert int(refused.headers["Retry-After"]) >= 1
        assert replies(waiting.result())
    assert len(replies(send(server, mode, *asked))) == len(asked)
    assert samples(server)["kindling_runs_total", "1"] == 3


@pytest.mark.parametrize("mode", MODES)
def test_a_request_timeout_is_504(serve: Serve, tiny_onnx: Path, mode: str) -> None:
    server = serve(tiny_onnx, RUNNERS="1", REQUEST_TIMEOUT_MS="100", MAX_QUEUE_DELAY_MS="1000")
    answer = send(server, mode, event(PICTURE, "image/png"))
    assert (answer.status, answer.error) == (504, "not answered in time")
    assert answer.status in RETRIED


@pytest.mark.parametrize("mode", MODES)
def test_a_model_that_is_not_ready_is_503(tiny_aoti: Path, mode: str) -> None:
    failed = threading.Event()
    app = create_app(Settings(model_dir=tiny_aoti, run_threads=9), on_failure=failed.set)
    assert failed.wait(60)
    asked = message(mode, event(PICTURE, "image/png"))
    answer = app.test_client().post("/", data=asked.body, headers=asked.headers)
    assert answer.status_code == 503
    assert answer.status_code in RETRIED
    assert len(answer.data) <= 768
