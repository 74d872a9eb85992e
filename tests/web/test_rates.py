"""A rate for each caller: what counts against it, and what a refused caller is told."""

from pathlib import Path

import pytest

from service.keys import digest_of
from tests.conftest import Serve
from tests.support.events import event, message
from tests.support.eventually import eventually
from tests.support.keys import API_KEYS as UNLIMITED
from tests.support.keys import MOBILE, MOBILE_NEXT, WEB, bearer
from tests.support.pictures import png
from tests.support.serving import Answer, Server, serving

PICTURE = png(20, 20)
BURST = 3
# So slow that no test sees a second request pass by itself.
SLOW = f";rate=1/h;burst={BURST}"
ENTRIES = ((MOBILE, "mobile", SLOW), (MOBILE_NEXT, "mobile", SLOW), (WEB, "web", ";rate=2/s;burst=1"))
API_KEYS = ",".join(f"{name}=sha256:{digest_of(key).hex()}{rate}" for key, name, rate in ENTRIES)


@pytest.fixture
def server(tiny_onnx: Path, tmp_path: Path) -> "Server":  # type: ignore[misc]
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    with serving(tiny_onnx, tmp_path / "log", API_KEYS=API_KEYS, DATABASE_URL=url) as found:
        yield found


def _refused(answer: Answer) -> int:
    assert (answer.status, answer.error) == (429, "this key has sent more requests than its rate allows")
    return int(answer.headers["Retry-After"])


def test_what_may_cost_a_run_counts_and_nothing_else_does(server: Server) -> None:
    """Two keys of one caller share its rate; what the service delivers to itself counts for nobody."""
    sent = message("binary", event(PICTURE, "image/png"))
    later = server.call("POST", "/infer", PICTURE, {**bearer(MOBILE), "Prefer": "respond-async"})
    assert later.status == 202
    assert server.call("POST", "/events", sent.body, sent.headers | bearer(MOBILE)).status == 200
    assert server.call("PUT", "/infer", PICTURE, bearer(MOBILE_NEXT)).status == 200
    for key in (MOBILE, MOBILE_NEXT):
        assert 3500 < _refused(server.call("POST", "/infer", PICTURE, bearer(key))) <= 3600
        _refused(server.call("POST", f"/jobs/{later.json['id']}/retry", headers=bearer(key)))
    for path in ("/jobs", "/v2", "/metrics", "/v2/models/tiny") * BURST:
        assert server.call("GET", path, headers=bearer(MOBILE)).status == 200
    job = f"/jobs/{later.json['id']}"
    eventually(lambda: server.call("GET", job, headers=bearer(MOBILE)).json["status"] == "succeeded", 60, "the job")
    assert server.call("DELETE", job, headers=bearer(MOBILE)).status == 204
    # Another caller has a rate of its own.
    assert server.call("POST", "/infer", PICTURE, bearer(WEB)).status == 200


def test_who_comes_again_when_told_is_let_in(server: Server) -> None:
    answers = [server.call("POST", "/infer", PICTURE, bearer(WEB)) for _ in range(5)]
    refused = [_refused(each) for each in answers if each.status != 200]
    assert set(refused) <= {1}
    eventually(lambda: server.call("POST", "/infer", PICTURE, bearer(WEB)).status == 200, 30, "let in again")


def test_a_request_that_is_over_the_rate_is_not_read(server: Server) -> None:
    """It is refused for the rate, whatever is wrong with it."""
    for _ in range(BURST):
        assert server.call("POST", "/infer", b"no picture", bearer(MOBILE)).status == 422
    _refused(server.call("POST", "/infer", b"no picture", bearer(MOBILE)))


def test_refusals_are_counted_by_the_name_of_their_key(server: Server) -> None:
    for _ in range(BURST + 2):
        server.call("POST", "/infer", b"no picture", bearer(MOBILE))
    text = server.call("GET", "/metrics", headers=bearer(WEB)).body.decode()
    assert 'kindling_key_requests_total{key="mobile",status="422"} 3.0' in text
    assert 'kindling_key_requests_total{key="mobile",status="429"} 2.0' in text
    assert 'kindling_requests_total{route="/infer",status="429"} 2.0' in text


def test_keys_without_a_rate_have_none(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, API_KEYS=UNLIMITED)
    assert {server.call("POST", "/infer", PICTURE, bearer(WEB)).status for _ in range(50)} == {200}
