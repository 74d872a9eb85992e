"""A dead letter whose body is refused, as the event's was before, is buried by its headers alone."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.aws import as_json
from tests.support.events import BATCH_TYPE, JSON_TYPE, event, message, reply
from tests.support.pictures import png
from tests.support.serving import Server

LARGE = 12 * 2**20
TOLD = {"Ce-Knativeerrordest": "http://kindling-worker/events", "Ce-Knativeerrorcode": "413"}
SAID = base64.b64encode(b'{"error":"the body is more than 10485760 bytes"}\n').decode()


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.getbasetemp() / "unread-dead-letters"
    folder.mkdir(exist_ok=True)
    return serve(tiny_onnx, DATABASE_URL=f"sqlite:///{folder}/jobs.sqlite")


def _headers(name: str, **told: str) -> dict[str, str]:
    """Of an event in binary mode, with what Eventing adds to it."""
    return {"Ce-Specversion": "1.0", "Ce-Id": name, "Ce-Source": "/camera", "Ce-Type": "t", "Content-Type": "image/jpeg",
            **told}  # fmt: skip


def _newest(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.call("GET", "/jobs?limit=1").json["jobs"][0]
    return found


def _lines(server: Server, name: str) -> list[str]:
    return [line for line in server.log.splitlines() if name in line]


def _pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 2**16):
        yield bytes(2**16)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_event_of_12_mb_is_a_failed_job(server: Server, is_chunked: bool) -> None:
    name = f"large-{is_chunked}"
    refused = server.call("POST", "/events", bytes(LARGE), _headers(name))
    assert refused.status == 413
    said = base64.b64encode(refused.body).decode()
    body = _pieces(LARGE) if is_chunked else bytes(LARGE)
    answer = server.call("POST", "/dead-letters", body, _headers(name, **TOLD, **{"Ce-Knativeerrordata": said}))
    assert (answer.status, answer.body) == (204, b"")
    job = _newest(server)
    assert job["event"] == {"source": "/camera", "id": name}
    assert (job["status"], job["error"]) == ("failed", {"code": 413, "message": refused.error})
    (line,) = _lines(server, name)
    assert f"an event was given up: {name} of /camera (413 '{refused.error}')" in line
    assert job["id"] in {each["id"] for each in server.call("GET", "/jobs?status=failed").json["jobs"]}
    again = server.call("POST", f"/jobs/{job['id']}/retry")
    assert (again.status, again.error) == (409, "this job cannot be sent again: its request is not kept")
    assert _newest(server)["status"] == "failed"


def test_the_connection_is_of_use_afterwards(server: Server) -> None:
    connection = server.connect()
    for _ in range(2):
        connection.request("POST", "/dead-letters", bytes(LARGE), _headers("again", **TOLD))
        response = connection.getresponse()
        assert (response.status, response.read()) == (204, b"")
    connection.request("GET", "/v2/health/live")
    assert connection.getresponse().status == 200
    connection.close()


def test_of_what_the_broker_does_not_tell_its_size_is_the_reason(server: Server) -> None:
    assert server.call("POST", "/dead-letters", bytes(LARGE), _headers("untold")).status == 204
    error = _newest(server)["error"]
    assert error["code"] == 413
    assert "the body is more than 10485760 bytes" in error["message"]


@pytest.mark.parametrize("code", ["504", "400"])
def test_what_the_broker_tells_is_the_reason(server: Server, code: str) -> None:
    told = {"Ce-Knativeerrorcode": code, "Ce-Knativeerrordata": base64.b64encode(b'{"error":"because"}').decode()}
    assert server.call("POST", "/dead-letters", bytes(LARGE), _headers(f"told-{code}", **told)).status == 204
    assert _newest(server)["error"] == {"code": int(code), "message": "because"}


@pytest.mark.parametrize(
    ("name", "body", "encoding", "status"),
    [
        ("inflated", gzip.compress(bytes(LARGE)), "gzip", 413), ("cut", gzip.compress(b"abc")[:-1], "gzip", 400),
        ("unknown", b"abc", "br", 400),
    ],
)  # fmt: skip
def test_so_is_every_body_that_cannot_be_read(
    server: Server, name: str, body: bytes, encoding: str, status: int
) -> None:
    headers = _headers(name, **{"Content-Encoding": encoding})
    refused = server.call("POST", "/events", body, headers)
    assert refused.status == status
    assert server.call("POST", "/dead-letters", body, headers).status == 204
    job = _newest(server)
    assert (job["event"]["id"], job["error"]["code"]) == (name, status)
    assert len(_lines(server, f"an event was given up: {name} of /camera")) == 1


def test_a_job_that_has_succeeded_stays_so(server: Server) -> None:
    asked = event(png(40, 30), "image/png", id="done", source="/camera")
    assert reply(server, "binary", asked)
    assert server.call("POST", "/dead-letters", bytes(LARGE), _headers("done", **TOLD)).status == 204
    assert _newest(server)["status"] == "succeeded"


def test_without_a_database_it_is_logged_once(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx)
    headers = _headers("unkept", **TOLD, **{"Ce-Knativeerrordata": SAID})
    assert server.call("POST", "/dead-letters", bytes(LARGE), headers).status == 204
    (line,) = _lines(server, "unkept")
    assert "an event was given up: unkept of /camera (413 'the body is more than 10485760 bytes')" in line


def test_an_event_whose_name_is_in_its_body_cannot_be_buried_and_that_is_logged(server: Server) -> None:
    """In structured mode, which Knative's dispatcher does not send."""
    before = _newest(server)["id"] if server.call("GET", "/jobs").json["jobs"] else None
    sent = message("structured", event(bytes(LARGE), "image/png", id="structured"))
    assert sent.headers["content-type"] == JSON_TYPE
    answer = server.call("POST", "/dead-letters", sent.body, sent.headers)
    assert answer.status == 413
    assert "has no job, because it cannot be read: the body is more than 10485760 bytes" in server.log
    assert not server.call("GET", "/jobs").json["jobs"] or _newest(server)["id"] == before


def test_a_dead_letter_that_is_no_event_is_logged(server: Server) -> None:
    answer = server.call("POST", "/dead-letters", b"x", _headers("x" * 1025))
    assert answer.status == 400
    assert f"has no job, because it cannot be read: {answer.error}" in server.log


def test_of_a_batch_every_event_that_can_be_read_is_buried(server: Server) -> None:
    first, last = (as_json(event(b"x", "image/png", id=f"of-batch-{n}")) for n in range(2))
    batch = json.dumps([first, {"specversion": "1.0"}, last]).encode()
    answer = server.call("POST", "/dead-letters", batch, {"Content-Type": BATCH_TYPE})
    assert (answer.status, answer.error) == (400, "no valid CloudEvent: it has no id")
    assert f"has no job, because it cannot be read: {answer.error}" in server.log
    assert {each["event"]["id"] for each in server.call("GET", "/jobs?limit=2").json["jobs"]} == {
        "of-batch-0",
        "of-batch-1",
    }


def test_what_is_buried_is_read_whole_up_to_the_limit(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    """So it can be sent again."""
    server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", MAX_BODY_BYTES="20000")
    picture = png(40, 30) + bytes(20_000)
    whole = picture[:20_000]
    for name, body, status in (("whole", whole, 202), ("over", picture, 409)):
        assert server.call("POST", "/dead-letters", body, _headers(name, **TOLD)).status == 204
        (job,) = (each for each in server.call("GET", "/jobs").json["jobs"] if each["event"]["id"] == name)
        assert server.call("POST", f"/jobs/{job['id']}/retry").status == status
    assert json.loads(server.call("GET", "/jobs").body)["next"] is None
