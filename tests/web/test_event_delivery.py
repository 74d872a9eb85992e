"""An event may be delivered any number of times: it is computed once."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.events import COMPLETED, FAILED, MODES, RETRIED, assert_refused, event, replies, reply, send
from tests.support.eventually import eventually
from tests.support.pictures import png
from tests.support.serving import Server, serving
from tests.support.web import Web, answer, web
from tests.web.test_metrics import samples

PICTURE = png(40, 30)


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.getbasetemp() / "of-events"
    folder.mkdir(exist_ok=True)
    return serve(tiny_onnx, DATABASE_URL=f"sqlite:///{folder}/jobs.sqlite")


def _allowing(shop: Web) -> dict[str, str]:
    return {"DATAREF_ALLOW": shop.url(), "DATAREF_ALLOW_PRIVATE": "true"}


def _runs(server: Server) -> float:
    """How many items the model has computed."""
    return sum(float(key[1]) * count for key, count in samples(server).items() if key[0] == "kindling_runs_total")


def _files(server: Server) -> str:
    """The libraries that are in the worker's memory."""
    return Path(f"/proc/{server.worker_pid}/maps").read_text()


def _told(found: Any) -> tuple[Any, ...]:
    """All of a reply."""
    return found.get_attributes(), found.get_data()


@pytest.mark.parametrize("mode", MODES)
def test_an_event_that_comes_again_has_the_same_reply_and_is_not_computed(server: Server, mode: str) -> None:
    before = _runs(server)
    asked = event(PICTURE, "image/png", id=f"again-{mode}")
    first = _told(reply(server, mode, asked))
    assert _runs(server) == before + 1
    for other in MODES:
        assert _told(reply(server, other, asked)) == first
    assert _runs(server) == before + 1
    # Only both together are the name of an event.
    assert _told(reply(server, mode, event(PICTURE, "image/png", id=f"again-{mode}", source="/other"))) != first
    assert _runs(server) == before + 2


def test_an_event_twice_in_a_batch_is_computed_once(server: Server) -> None:
    before = _runs(server)
    asked = event(PICTURE, "image/png", id="twice")
    first, second = replies(send(server, "batched", asked, asked))
    assert _told(first) == _told(second)
    assert _runs(server) == before + 1
    assert "sqlalchemy" in _files(server)


def test_without_a_database_nothing_is_remembered(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx)
    before = _runs(server)
    first, second = (reply(server, "binary", event(PICTURE, "image/png", id="twice")) for _ in range(2))
    assert (first.get_id(), first.get_data()) == (second.get_id(), second.get_data())
    assert _runs(server) == before + 2
    # Nor is what it costs to import: the first event would wait for that.
    assert "sqlalchemy" not in _files(server)


def test_a_binary_answer_is_kept_with_the_length_of_its_json(server: Server) -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(PICTURE).decode()]}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    asked = event(head, "application/json", id="kept-binary")
    assert _told(reply(server, "binary", asked)) == _told(reply(server, "binary", asked))


def test_what_is_computed_is_remembered_by_the_next_process(tiny_onnx: Path, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/jobs.sqlite"
    asked = event(PICTURE, "image/png")
    with serving(tiny_onnx, tmp_path / "log", DATABASE_URL=database) as server:
        first = _told(reply(server, "binary", asked))
    with serving(tiny_onnx, tmp_path / "log", DATABASE_URL=database) as server:
        assert _told(reply(server, "binary", asked)) == first
        assert _runs(server) == 0


@pytest.mark.parametrize("mode", MODES)
def test_while_one_computes_an_event_another_is_told_to_come_again(
    serve: Serve, tiny_onnx: Path, tmp_path: Path, mode: str
) -> None:
    go_on = threading.Event()

    def hand_out(handler: BaseHTTPRequestHandler) -> None:
        assert go_on.wait(30)
        answer(handler, PICTURE)

    with web(hand_out) as shop:
        server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", **_allowing(shop))
        asked = event(None, "image/png", dataref=shop.url("/cat.png"))
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(send, server, mode, asked)
            eventually(lambda: bool(shop.came), 10)
            for _ in range(3):
                busy = send(server, mode, asked)
                assert (busy.status, busy.error) == (409, "this request is being computed: ask again")
                assert busy.status in RETRIED
            go_on.set()
            (found,) = replies(first.result())
        assert _told(reply(server, mode, asked)) == _told(found)
        assert (len(shop.came), _runs(server)) == (1, 1)


def test_of_many_at_the_same_time_one_computes(server: Server) -> None:
    before, together = _runs(server), threading.Barrier(8, timeout=60)
    asked = event(PICTURE, "image/png", id="many")

    def deliver(_: int) -> int:
        together.wait()
        return send(server, "binary", asked).status

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(deliver, range(8)))
    assert 200 in statuses <= {200, 409}
    assert replies(send(server, "binary", asked))
    assert _runs(server) == before + 1


def test_a_batch_that_takes_too_long_goes_on_where_it_ended(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    slow = {"RUNNERS": "1", "MAX_QUEUE_DELAY_MS": "500", "REQUEST_TIMEOUT_MS": "900"}
    server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", **slow)
    asked = [event(PICTURE, "image/png", id=str(n)) for n in range(4)]
    late = send(server, "batched", *asked)
    assert (late.status, late.status in RETRIED) == (504, True)
    assert "not answered in time" in late.error
    assert _runs(server) < 4
    eventually(lambda: send(server, "batched", *asked).status == 200, 20)
    assert len(replies(send(server, "batched", *asked))) == 4
    assert _runs(server) == 4


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_wrong_event_is_told_the_same_again(server: Server, mode: str) -> None:
    asked = event(b"no picture", "image/png", id=f"wrong-{mode}")
    answers = [send(server, mode, asked) for _ in range(2)]
    for each in answers:
        assert_refused(each, 422)
    assert answers[0].error == answers[1].error
    (failed,) = replies(send(server, "batched", asked))
    assert (failed.get_type(), failed.get_data()) == (FAILED, {"error": answers[0].error, "status": 422})


def test_what_failed_by_the_service_is_computed_when_it_comes_again(
    serve: Serve, tiny_onnx: Path, tmp_path: Path
) -> None:
    with web(PICTURE) as shop:
        pass  # and is closed
    server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", **_allowing(shop))
    asked = event(None, "image/png", dataref=shop.url("/cat.png"))
    refused = send(server, "binary", asked)
    assert (refused.status, refused.status in RETRIED) == (503, True)
    assert refused.error.startswith("dataref: 127.0.0.1 does not answer")
    with web(PICTURE, port=shop.port):
        assert reply(server, "binary", asked).get_type() == COMPLETED
