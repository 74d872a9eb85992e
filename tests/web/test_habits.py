"""What the field's tools and browsers expect of every server: HEAD, OPTIONS, request ids, problem details, robots.txt."""

import json
import re
import socket
from contextlib import closing
from pathlib import Path

import pytest

from service.settings import Settings
from service.web.app import create_app
from tests.conftest import Serve
from tests.support.exporting import Exports
from tests.support.pictures import png
from tests.support.serving import HOST, Server, ask

MADE = re.compile(r"[0-9a-f]{32}")
PROBLEM = "application/problem+json"
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


@pytest.fixture(scope="module")
def routes(exports: Exports) -> dict[str, set[str]]:
    """Every path of the application, with a model and a job filled in, and the methods of all rules that it matches."""
    app = create_app(Settings(model_dir=exports.artifact("tiny-onnx")))
    app.extensions["runtime"].close()
    rules = [rule.rule for rule in app.url_map.iter_rules()]
    paths = [re.sub(r"<[^>]+>", "tiny", rule.replace("<job_id>", "0" * 32)) for rule in rules]
    assert len(paths) > 20
    found = app.url_map.bind(HOST)
    return {path: set(found.allowed_methods(path)) for path in paths}


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path) -> Server:
    return serve(tiny_onnx)


def test_head_answers_as_get_without_a_body(server: Server, routes: dict[str, set[str]]) -> None:
    """All on one connection: a body behind an answer to HEAD would be read as the next answer."""
    with closing(server.connect()) as connection:
        for path in (path for path, methods in routes.items() if "GET" in methods):
            head, get = ask(connection, "HEAD", path), ask(connection, "GET", path)
            assert (head.status, head.body) == (get.status, b""), path
            for name in ("Content-Type", "Cache-Control", "Allow"):
                assert head.headers.get(name) == get.headers.get(name), path
            assert ("Content-Length" in head.headers) == ("Content-Length" in get.headers), path
            if path != "/metrics":  # whose numbers have changed meanwhile
                assert head.headers.get("Content-Length") == get.headers.get("Content-Length"), path


def test_options_names_the_methods_that_there_are(server: Server, routes: dict[str, set[str]]) -> None:
    for path, methods in routes.items():
        for slash in ("", "/") if path != "/" else ("",):
            answer = server.call("OPTIONS", path + slash)
            assert (answer.status, answer.body) == (200, b""), path
            assert set(answer.headers["Allow"].split(", ")) == methods | {"OPTIONS"}, path


def test_other_methods_are_refused_with_the_same_list(server: Server, routes: dict[str, set[str]]) -> None:
    for path, methods in routes.items():
        wrong = min(METHODS - methods - {"OPTIONS"})
        answer = server.call(wrong, path)
        assert answer.status == 405, (wrong, path)
        assert set(answer.headers["Allow"].split(", ")) == methods | {"OPTIONS"}, path


@pytest.mark.parametrize("given", ["a", "7b1c-4", "x" * 128, "trace/01:{a}"])
def test_a_usable_request_id_is_given_back(server: Server, given: str) -> None:
    for path in ("/v2", "/nothing"):
        assert server.call("GET", path, headers={"X-Request-Id": given}).headers.getlist("X-Request-Id") == [given]


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a'b", "caf\xe9", "a\tb"])
def test_any_other_request_id_is_replaced(server: Server, given: str) -> None:
    (made,) = server.call("GET", "/v2", headers={"X-Request-Id": given}).headers.getlist("X-Request-Id")
    assert MADE.fullmatch(made)


def test_every_answer_has_its_own_request_id(server: Server) -> None:
    calls = [
        ("POST", "/infer", png(20, 20)),
        ("POST", "/infer", b"no picture"),
        ("GET", "/nothing", None),
        ("PUT", "/v2", b""),
    ]
    made = [server.call(*each).headers["X-Request-Id"] for each in calls]  # fmt: skip
    assert len(set(made)) == len(calls)
    assert all(map(MADE.fullmatch, made))


def test_a_refusal_before_there_is_a_request_has_one_too(server: Server) -> None:
    with closing(socket.create_connection((HOST, server.port), timeout=60)) as connection:
        connection.sendall(b"no request\n\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert re.search(rb"\r\nX-Request-Id: [0-9a-f]{32}\r\n", answer)


@pytest.mark.parametrize("accept", [PROBLEM, f"application/json, {PROBLEM}", f"{PROBLEM};q=0.1, */*"])
def test_problem_details_for_who_accepts_them(server: Server, accept: str) -> None:
    answer = server.call("GET", "/v2/models/other", headers={"Accept": accept})
    message = "no model 'other', this service has 'tiny'"
    assert (answer.status, answer.headers["Content-Type"]) == (404, PROBLEM)
    assert json.loads(answer.body) == {
        "type": "about:blank", "title": "Not Found", "status": 404, "detail": message, "error": message
    }  # fmt: skip


@pytest.mark.parametrize("accept", ["*/*", "application/json", f"{PROBLEM};q=0, */*", "text/html"])
def test_the_usual_error_for_everybody_else(server: Server, accept: str) -> None:
    answer = server.call("GET", "/v2/models/other", headers={"Accept": accept})
    assert (answer.status, answer.error) == (404, "no model 'other', this service has 'tiny'")


def test_a_long_problem_is_as_small_as_any_error(server: Server) -> None:
    for character in ("x", "\xe9", "\x7f"):
        answer = server.call(
            "POST", "/v2/models/tiny/infer", {"inputs": [{"name": character * 600}]}, {"Accept": PROBLEM}
        )
        assert (answer.status, answer.headers["Content-Type"]) == (400, PROBLEM)
        assert len(answer.body) <= 768


def test_a_problem_keeps_what_its_status_needs(server: Server) -> None:
    answer = server.call("DELETE", "/infer", headers={"Accept": PROBLEM})
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "PUT", "OPTIONS"}


def test_crawlers_stay_away_and_no_browser_asks_twice(server: Server) -> None:
    robots, favicon = server.call("GET", "/robots.txt"), server.call("GET", "/favicon.ico")
    assert (robots.status, robots.body) == (200, b"User-agent: *\nDisallow: /\n")
    assert robots.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (favicon.status, favicon.body) == (204, b"")
    assert robots.headers["Cache-Control"] == favicon.headers["Cache-Control"] == "public, max-age=86400"
