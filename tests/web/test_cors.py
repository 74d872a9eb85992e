"""CORS_ORIGINS: what a browser is told about pages of other origins."""

from pathlib import Path

import pytest

from tests.conftest import OnLambda, Serve
from tests.support.keys import API_KEYS, WEB, WRONG, bearer
from tests.support.pictures import png
from tests.support.serving import Answer, Server

PICTURE = png(20, 20)
PAGE, LOCAL, OTHER = "https://app.example.com", "http://localhost:5173", "https://other.example.com"
ASKED = "Authorization, X-API-Key, Content-Type, Prefer, Idempotency-Key, Inference-Header-Content-Length, X-Request-Id"
EXPOSED = "Location, Retry-After, Server-Timing, Inference-Header-Content-Length, Preference-Applied, X-Request-Id"


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path) -> Server:
    return serve(tiny_onnx, CORS_ORIGINS=f"{PAGE}, {LOCAL}", API_KEYS=API_KEYS, WEBHOOK_ORIGINS="*")


def _list(answer: Answer, name: str) -> set[str]:
    return set(answer.headers[name].split(", "))


def _granted(answer: Answer) -> dict[str, str]:
    return {name: text for name, text in answer.headers if name.startswith("Access-Control-")}


def _preflight(server: Server, path: str, method: str = "POST", origin: str = PAGE) -> Answer:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }
    return server.call("OPTIONS", path, headers=asked)


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/infer", {"POST", "PUT"}), ("/v2/models/tiny/infer", {"POST"}), ("/v2", {"GET", "HEAD"}), ("/events", {"POST"}),
     ("/jobs", {"GET", "HEAD"}), (f"/jobs/{'0' * 32}", {"GET", "HEAD", "DELETE"}), ("/", {"POST"})],
)  # fmt: skip
@pytest.mark.parametrize("origin", [PAGE, LOCAL])
def test_a_preflight_is_answered_for_its_route_without_a_key(
    server: Server, path: str, methods: set[str], origin: str
) -> None:
    answer = _preflight(server, path, origin=origin)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert _list(answer, "Access-Control-Allow-Methods") >= {"OPTIONS", *methods}
    assert _list(answer, "Access-Control-Allow-Headers") >= set(ASKED.split(", "))
    assert int(answer.headers["Access-Control-Max-Age"]) > 600
    assert _list(answer, "Vary") == {"Origin"}
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", [OTHER, f"{PAGE}.evil.org", "https://evil.org/https://app.example.com", "http://app.example.com",
               f"{PAGE}:8443", "null", "*", PAGE.upper(), ""]
)  # fmt: skip
def test_another_origin_gets_nothing(server: Server, origin: str) -> None:
    preflight, answer = (
        _preflight(server, "/infer", origin=origin),
        server.call("GET", "/v2", headers={"Origin": origin}),
    )
    assert preflight.status == 200
    for each in (preflight, answer):
        assert _granted(each) == {}
        assert each.headers["Vary"] == "Origin"  # or a cache would give this answer to a page that may read it


@pytest.mark.parametrize(
    ("asked", "body", "headers", "status"),
    [("POST /infer", PICTURE, bearer(WEB), 200), ("POST /infer", PICTURE, bearer(WRONG), 401),
     ("POST /infer", b"no picture", bearer(WEB), 422), ("GET /nowhere", None, bearer(WEB), 404),
     ("DELETE /infer", None, bearer(WEB), 405), ("POST /infer", bytes(11 * 2**20), bearer(WEB), 413),
     ("GET /v2/health/live", None, {}, 200)],
)  # fmt: skip
def test_a_page_may_read_every_answer(
    server: Server, asked: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    method, path = asked.split()
    answer = server.call(method, path, body, {**headers, "Origin": PAGE})
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert _list(answer, "Access-Control-Expose-Headers") >= set(EXPOSED.split(", "))
    assert answer.headers["Vary"] == "Origin"


def test_a_preflight_of_an_unknown_path_is_not_found(server: Server) -> None:
    answer = _preflight(server, "/nowhere")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (404, PAGE)


def test_any_page_may_be_let_in(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, CORS_ORIGINS="*")
    for answer in (_preflight(server, "/infer", origin=OTHER), server.call("GET", "/v2", headers={"Origin": "null"})):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Vary" not in answer.headers
    assert _granted(server.call("GET", "/v2")) == {}


def test_a_webhook_s_handshake_stays_what_it_is(server: Server) -> None:
    answer = server.call("OPTIONS", "/events", headers={"WebHook-Request-Origin": "eventgrid.azure.net"})
    assert (answer.status, answer.headers["WebHook-Allowed-Origin"]) == (200, "*")
    assert _granted(answer) == {}


def test_a_page_may_read_an_answer_of_lambda(on_lambda: OnLambda, tiny_onnx: Path) -> None:
    function = on_lambda(tiny_onnx, CORS_ORIGINS=PAGE)
    answer = function.http("2.0", "POST", "/infer", PICTURE, headers={"Origin": PAGE})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
