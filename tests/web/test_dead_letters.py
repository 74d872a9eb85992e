"""What a broker gave up is a failed job; what was cancelled is delivered in vain."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent

from tests.conftest import Serve
from tests.support.broker import listening
from tests.support.events import MODES, event, replies, reply, send
from tests.support.eventually import eventually
from tests.support.pictures import png
from tests.support.serving import Server
from tests.web.test_metrics import samples

PICTURE = png(40, 30)
PATH = "/dead-letters"


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.getbasetemp() / "dead-letters"
    folder.mkdir(exist_ok=True)
    return serve(tiny_onnx, DATABASE_URL=f"sqlite:///{folder}/jobs.sqlite")


def _said(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _given_up(asked: CloudEvent, code: str = "503", said: str = "", **more: Any) -> CloudEvent:
    """As Eventing sends it to a dead letter sink."""
    told = {"knativeerrordest": "http://kindling/", "knativeerrorcode": code, "knativeerrordata": said}
    return CloudEvent({**asked.get_attributes(), **told, **more}, asked.get_data())


def _newest(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.call("GET", "/jobs?limit=1").json["jobs"][0]
    return found


@pytest.mark.parametrize("mode", MODES)
def test_an_event_that_was_given_up_is_a_failed_job_that_can_be_sent_again(server: Server, mode: str) -> None:
    asked = event(PICTURE, "image/png", id=f"unseen-{mode}", infertop="2")
    said = _said('{"error":"the model is still loading"}\n')
    assert replies(send(server, mode, _given_up(asked, "503", said), path=PATH)) == []
    job = _newest(server)
    assert (job["status"], job["error"]) == ("failed", {"code": 503, "message": "the model is still loading"})
    assert job["event"] == {"source": asked.get_source(), "id": asked.get_id()}
    assert server.call("POST", f"/jobs/{job['id']}/retry").status == 202
    eventually(lambda: server.call("GET", f"/jobs/{job['id']}").json["status"] == "succeeded", 20)
    result = server.call("GET", f"/jobs/{job['id']}/result").json
    assert result == reply(server, mode, asked).get_data()
    assert len(result["labels"]) == 2


@pytest.mark.parametrize(
    ("code", "said", "error"),
    [
        ("422", _said('{"error":"not a picture"}'), {"code": 422, "message": "not a picture"}),
        ("500", _said("upstream connect error"), {"code": 500, "message": "upstream connect error"}),
        ("504", "no base64!", {"code": 504, "message": "no base64!"}),
        ("429", _said('{"error":"7 items'), {"code": 429, "message": '{"error":"7 items'}),
        ("503", "", {"code": 503, "message": "the broker gave it up"}),
        ("503", base64.b64encode(b"\xff\xfe").decode(), {"code": 503, "message": "//4="}),
        ("500", _said("[" * 1024), {"code": 500, "message": "[" * 1024}),
        ("500", _said(r'{"error":"\ud800"}'), {"code": 500, "message": "?"}),
        ("500", "x y" * 9000, {"code": 500, "message": ("x y" * 9000)[:1024]}),
        ("-1", "", {"code": 500, "message": "the broker gave it up"}),
        ("²²²", "", {"code": 500, "message": "the broker gave it up"}),
        ("9" * 30, "", {"code": 500, "message": "the broker gave it up"}),
        ("", "", {"code": 500, "message": "the broker gave it up"}),
    ],
)
def test_why_it_was_given_up_is_told(server: Server, code: str, said: str, error: dict[str, Any]) -> None:
    asked = event(b"", "image/png", id=f"{code}-{len(said)}-{error['message'][:9]}")
    assert replies(send(server, "structured", _given_up(asked, code, said), path=PATH)) == []
    assert _newest(server)["error"] == error


def test_what_is_refused_and_given_up_is_one_failed_job(server: Server) -> None:
    asked = event(b"no picture", "image/png", id="refused")
    refused = send(server, "binary", asked)
    before = _newest(server)
    for _ in range(2):
        assert replies(send(server, "binary", _given_up(asked, "422", _said("other words")), path=PATH)) == []
    job = _newest(server)
    assert (job["id"], job["error"]) == (before["id"], {"code": 422, "message": refused.error})
    assert send(server, "binary", asked).error == refused.error
    # It was kept with the letter: to send it again has the same end.
    assert server.call("POST", f"/jobs/{job['id']}/retry").status == 202
    eventually(lambda: server.call("GET", f"/jobs/{job['id']}").json["status"] == "failed", 20)


def test_what_has_succeeded_stays_so(server: Server) -> None:
    """A broker gives up an event, too, when only its reply could not be delivered."""
    asked = event(PICTURE, "image/png", id="succeeded")
    data = reply(server, "binary", asked).get_data()
    assert replies(send(server, "binary", _given_up(asked, "502"), path=PATH)) == []
    assert _newest(server)["status"] == "succeeded"
    assert reply(server, "binary", asked).get_data() == data


def test_a_batch_of_letters_is_a_job_for_each(server: Server) -> None:
    letters = [_given_up(event(PICTURE, "image/png", id=f"letter-{n}"), f"50{n}") for n in range(3)]
    assert replies(send(server, "batched", *letters, path=PATH)) == []
    found = server.call("GET", "/jobs?limit=3").json["jobs"]
    assert {each["error"]["code"] for each in found} == {500, 501, 502}


def test_what_is_sent_again_is_as_it_was_before_it_was_given_up(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    with listening() as broker:
        server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", K_SINK=broker.url)
        asked = event(PICTURE, "image/png", id="again", traceparent="00-1", mine="x")
        assert replies(send(server, "structured", _given_up(asked), path=PATH)) == []
        assert server.call("POST", f"/jobs/{_newest(server)['id']}/retry").status == 202
    (sent,) = broker.received
    found = http.from_http_event(http.HTTPMessage(dict(sent.headers), sent.body))
    assert (found.get_attributes(), sent.body) == (asked.get_attributes(), PICTURE)


def test_without_a_database_it_is_logged(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx)
    asked = event(PICTURE, "image/png", id="logged", source="/nowhere")
    assert replies(send(server, "binary", _given_up(asked, "504", _said("too\nlate")), path=PATH)) == []
    assert r"an event was given up: logged of /nowhere (504 'too\nlate')" in server.log


def test_a_cancelled_event_is_taken_and_answered_by_nothing(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    with listening() as broker:
        server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", K_SINK=broker.url)
        accepted = server.call("POST", "/infer", PICTURE, {"Prefer": "respond-async"})
        assert accepted.status == 202
    job = server.call("DELETE", accepted.headers["Location"]).json
    assert job["status"] == "cancelled"
    (sent,) = broker.received
    attributes = http.from_http_event(http.HTTPMessage(dict(sent.headers), sent.body)).get_attributes()
    asked = CloudEvent(attributes, PICTURE)
    for mode in MODES:
        assert replies(send(server, mode, asked)) == []
    (other,) = replies(send(server, "batched", asked, event(PICTURE, "image/png")))
    assert other.get_extension("requestid") == "event-1"
    assert samples(server)["kindling_runs_total", "1"] == 1
    assert json.loads(server.call("GET", accepted.headers["Location"]).body)["status"] == "cancelled"
