"""Requests that become jobs of the real service: `Prefer: respond-async`, `Prefer: wait=N`, `Idempotency-Key`."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.jobs import PICTURE, WAIT_S, finished, later, post, runs
from tests.support.models import SIDE
from tests.support.pictures import png
from tests.support.serving import Server

ABSENT = "0" * 32
PIXELS = bytes(range(256)) * 3
IMAGE = {"name": "image", "shape": [1, SIDE, SIDE, 3], "datatype": "UINT8"}
V2_JSON = {"inputs": [{**IMAGE, "data": list(PIXELS)}]}
V2_HEADER = json.dumps(
    {"inputs": [{**IMAGE, "parameters": {"binary_data_size": len(PIXELS)}}],
     "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}
).encode()  # fmt: skip
V1_JSON = {"instances": [[[list(PIXELS[3 * (SIDE * y + x) :][:3]) for x in range(SIDE)] for y in range(SIDE)]]}
FORM = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + PICTURE + b"\r\n--B--\r\n"

# method, path, body, headers
ENDPOINTS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "picture": ("POST", "/infer?top=2", PICTURE, {}),
    "put": ("PUT", "/infer", PICTURE, {"Content-Type": "image/png"}),
    "form": ("POST", "/infer", FORM, {"Content-Type": "multipart/form-data; boundary=B"}),
    "v2": ("POST", "/v2/models/tiny/infer", V2_JSON, {"Content-Type": "application/json"}),
    "v2 version": ("POST", "/v2/models/tiny/versions/1/infer", V2_JSON, {}),
    "v2 binary": ("POST", "/v2/models/tiny/infer", V2_HEADER + PIXELS,
                  {"Inference-Header-Content-Length": str(len(V2_HEADER)), "Content-Type": "application/octet-stream"}),
    "v2 binary called JSON": ("POST", "/v2/models/tiny/infer", V2_HEADER + PIXELS,
                              {"Inference-Header-Content-Length": str(len(V2_HEADER)), "Content-Type": "application/json"}),
    "v1": ("POST", "/v1/models/tiny:predict", V1_JSON, {}),
}  # fmt: skip


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> tuple[str, str, Any, dict[str, str]]:
    return ENDPOINTS[request.param]


def test_a_later_answer_is_the_one_that_would_have_come_at_once(
    jobs_server: Server, endpoint: tuple[str, str, Any, dict[str, str]]
) -> None:
    method, path, body, headers = endpoint
    at_once = jobs_server.call(method, path, body, headers)
    assert at_once.status == 200, at_once.body
    asked = jobs_server.call(method, path, body, {**headers, "Prefer": "respond-async"})
    assert asked.status == 202
    assert asked.headers["Retry-After"] == "1"
    assert asked.json.keys() >= {"id", "status", "attempts", "event", "created", "updated", "expires"}
    job = finished(jobs_server, asked.json["id"])
    assert (job["status"], job["attempts"], job["result_url"]) == ("succeeded", 1, f"/jobs/{job['id']}/result")
    result = jobs_server.call("GET", job["result_url"])
    assert (result.status, result.body) == (200, at_once.body)
    for name in ("Content-Type", "Inference-Header-Content-Length"):
        assert result.headers.get(name) == at_once.headers.get(name)
    if at_once.headers["Content-Type"] == "application/json":
        assert job["result"] == at_once.json
    else:
        assert "result" not in job


def test_who_waits_gets_the_answer_and_where_it_stays(
    jobs_server: Server, endpoint: tuple[str, str, Any, dict[str, str]]
) -> None:
    method, path, body, headers = endpoint
    at_once = jobs_server.call(method, path, body, headers)
    answer = jobs_server.call(method, path, body, {**headers, "Prefer": f"wait={WAIT_S}"})
    assert (answer.status, answer.body) == (200, at_once.body)
    assert answer.headers["Preference-Applied"] == f"wait={WAIT_S}"
    assert jobs_server.call("GET", answer.headers["Location"] + "/result").body == at_once.body


@pytest.mark.parametrize("prefer", [
    "reply, respond-async", 'respond-async; a="b", reply', "RESPOND-ASYNC", "respond-async, wait=0", "wait=0",
    ' wait = "0" ',
])  # fmt: skip
def test_preferences_are_a_list(jobs_server: Server, prefer: str) -> None:
    answer = post(jobs_server, Prefer=prefer)
    assert answer.status == 202
    asked = [each for each in ("respond-async", "wait") if each in prefer.lower()]
    assert answer.headers["Preference-Applied"] == ", ".join(asked).replace("wait", "wait=0")


@pytest.mark.parametrize(
    "prefer", ["wait", "wait=soon", "wait=-1", "wait=1.5", "wait=1e3", "wait=²", "wait=9999999999"]
)
def test_a_malformed_wait_is_refused(jobs_server: Server, prefer: str) -> None:
    answer = post(jobs_server, Prefer=prefer.encode().decode("latin-1"))
    assert answer.status == 400
    assert answer.error.endswith("wanted a whole number of seconds")


def test_other_preferences_change_nothing(jobs_server: Server) -> None:
    answer = post(jobs_server, Prefer="reply, return=minimal")
    assert answer.status == 200
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/infer", b"no picture", 422), ("/v2/models/tiny/infer", b"{", 400), ("/v1/models/tiny:predict", b"{}", 400)],
)
def test_a_job_fails_with_the_error_that_would_have_come_at_once(
    jobs_server: Server, path: str, body: bytes, status: int
) -> None:
    at_once = post(jobs_server, body, path)
    assert at_once.status == status
    job = finished(jobs_server, later(jobs_server, body, path, Content_Type="application/json"))
    assert (job["status"], job["error"]) == ("failed", {"code": status, "message": at_once.error})
    result = jobs_server.call("GET", f"/jobs/{job['id']}/result")
    assert (result.status, result.body) == (status, at_once.body)
    waited = post(jobs_server, body, path, Prefer=f"wait={WAIT_S}")
    assert (waited.status, waited.body) == (status, at_once.body)


def test_the_same_key_is_computed_once_whichever_way_it_comes(jobs_server: Server) -> None:
    picture, before = png(41, 31, seed=1), runs(jobs_server)
    job_id = later(jobs_server, picture, Idempotency_Key="once")
    at_once = post(jobs_server, picture, Idempotency_Key="once", Prefer=f"wait={WAIT_S}")
    assert at_once.status == 200
    assert at_once.headers["Location"] == f"/jobs/{job_id}"
    for prefer in ("", "respond-async", f"wait={WAIT_S}"):
        again = post(jobs_server, picture, Idempotency_Key="once", Prefer=prefer)
        assert (again.status, again.body) == (200, at_once.body)
    assert runs(jobs_server) == before + 1


def test_a_key_without_a_job_is_computed_once(jobs_server: Server) -> None:
    before = runs(jobs_server)
    answers = [post(jobs_server, Idempotency_Key="now") for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert runs(jobs_server) == before + 1


def test_a_key_that_failed_fails_the_same(jobs_server: Server) -> None:
    first, second = (post(jobs_server, b"no picture", Idempotency_Key="bad") for _ in range(2))
    assert first.status == second.status == 422
    assert first.body == second.body


@pytest.mark.parametrize("prefer", ["", "respond-async"])
def test_a_key_used_for_another_request_is_refused(jobs_server: Server, prefer: str) -> None:
    key = f"other {prefer}"
    assert post(jobs_server, Idempotency_Key=key, Prefer=prefer).status in (200, 202)
    for body, path in ((png(42, 32), "/infer"), (PICTURE, "/infer?top=3"), (V1_JSON, "/v1/models/tiny:predict")):
        answer = post(jobs_server, body, path, Idempotency_Key=key, Prefer=prefer)
        assert (answer.status, answer.error) == (422, "this Idempotency-Key was used for another request")


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_malformed_key_is_refused(jobs_server: Server, key: str) -> None:
    answer = post(jobs_server, Idempotency_Key=key)
    assert (answer.status, answer.error) == (400, f"Idempotency-Key has {len(key)} characters: wanted 1 to 255")


@pytest.mark.parametrize("prefer", ["", "respond-async", f"wait={WAIT_S}"])
def test_the_same_key_at_the_same_time_is_computed_once(jobs_server: Server, prefer: str) -> None:
    picture, before = png(50, 40, seed=len(prefer)), runs(jobs_server)
    with ThreadPoolExecutor(12) as pool:
        key = f"at the same time {prefer}"
        answers = list(pool.map(lambda _: post(jobs_server, picture, Idempotency_Key=key, Prefer=prefer), range(12)))
    assert {answer.status for answer in answers} <= ({200, 409} if not prefer else {200, 202})
    eventual = post(jobs_server, picture, Idempotency_Key=key, Prefer=f"wait={WAIT_S}")
    assert {answer.body for answer in answers if answer.status == 200} <= {eventual.body}
    assert runs(jobs_server) == before + 1
