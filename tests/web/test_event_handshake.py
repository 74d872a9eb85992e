"""OPTIONS: the handshake of CloudEvents' webhooks (http-webhook.md, 4), which grants nothing unless a setting does."""

from pathlib import Path

import pytest

from tests.conftest import OnLambda, Serve
from tests.support.aws import VERSIONS
from tests.support.serving import Answer, Server

ORIGIN, CALLBACK, RATE = "WebHook-Request-Origin", "WebHook-Request-Callback", "WebHook-Request-Rate"
SENDER = "eventgrid.azure.net"

each_path = pytest.mark.parametrize("path", ["/", "/events"])


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path) -> Server:
    return serve(tiny_onnx, WEBHOOK_ORIGINS=f"events.example.com, {SENDER.upper()}")


def _granted(answer: Answer) -> tuple[str | None, str | None]:
    assert (answer.status, answer.body) == (200, b"")
    assert "POST" in answer.headers["Allow"].split(", ")
    return answer.headers.get("WebHook-Allowed-Origin"), answer.headers.get("WebHook-Allowed-Rate")


@each_path
@pytest.mark.parametrize("more", [{}, {RATE: "120"}, {RATE: "120", CALLBACK: "http://127.0.0.1:9/confirm?id=1"}])
def test_a_sender_that_is_named_is_granted_what_it_asks_for(server: Server, path: str, more: dict[str, str]) -> None:
    assert _granted(server.call("OPTIONS", path, headers={ORIGIN: SENDER} | more)) == (SENDER, "*")
    assert _granted(server.call("OPTIONS", path, headers={ORIGIN: "Events.Example.com"})) == ("Events.Example.com", "*")


@each_path
@pytest.mark.parametrize(
    "origin", ["example.com", "x.events.example.com", "events.example.com.evil.org", "*", "", "\xe9"]
)
def test_a_sender_that_is_not_named_is_granted_nothing(server: Server, path: str, origin: str) -> None:
    assert _granted(server.call("OPTIONS", path, headers={ORIGIN: origin, RATE: "120"})) == (None, None)


def test_a_sender_that_is_not_named_is_in_the_log(server: Server) -> None:
    server.call("OPTIONS", "/events", headers={ORIGIN: "unknown.example.org", CALLBACK: "https://a/?key=secret"})
    assert "webhook handshake of 'unknown.example.org' refused: it is not in WEBHOOK_ORIGINS" in server.log
    assert "secret" not in server.log


@each_path
def test_every_sender_may_be_granted(serve: Serve, tiny_onnx: Path, path: str) -> None:
    server = serve(tiny_onnx, WEBHOOK_ORIGINS="*")
    assert _granted(server.call("OPTIONS", path, headers={ORIGIN: "anybody.example.org"})) == ("*", "*")
    assert _granted(server.call("OPTIONS", path)) == (None, None)


@each_path
def test_nobody_is_granted_anything_by_default(tiny_server: Server, path: str) -> None:
    assert _granted(tiny_server.call("OPTIONS", path, headers={ORIGIN: SENDER, RATE: "1"})) == (None, None)


def test_no_other_path_takes_events(server: Server) -> None:
    for path in ("/infer", "/dead-letters", "/jobs", "/v2"):
        answer = server.call("OPTIONS", path, headers={ORIGIN: SENDER})
        assert answer.status == 200
        assert not any(name.lower().startswith("webhook") for name, _ in answer.headers)


@each_path
def test_a_preflight_of_a_browser_is_another_thing(server: Server, path: str) -> None:
    preflight = {"Origin": "https://events.example.com", "Access-Control-Request-Method": "POST"}
    answer = server.call("OPTIONS", path, headers=preflight)
    assert _granted(answer) == (None, None)
    assert not any(name.lower().startswith("access-control") for name, _ in answer.headers)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_handshake_on_lambda(on_lambda: OnLambda, tiny_onnx: Path, version: str) -> None:
    function = on_lambda(tiny_onnx, WEBHOOK_ORIGINS=SENDER)
    assert _granted(function.http(version, "OPTIONS", "/events", headers={ORIGIN: SENDER})) == (SENDER, "*")
