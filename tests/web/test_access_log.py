"""The access log: a line for each request, which no client can forge and which tells no secret."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Serve
from tests.support.pictures import png
from tests.support.serving import Server, serving

PICTURE = png(40, 30)
FORGED = "a\nb\r\x1b[31m\x7f\u2028"


@pytest.fixture
def logged(request: pytest.FixtureRequest, tiny_onnx: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(tiny_onnx, tmp_path / "log", ACCESS_LOG=request.param, LOG_LEVEL="error") as server:
        yield server


def _lines(server: Server, path: str) -> list[str]:
    return [each for each in server.log.split("\n") if path in each]


@pytest.mark.parametrize("logged", ["json"], indirect=True)
def test_a_line_tells_what_the_caller_saw(logged: Server) -> None:
    headers = {"X-Request-Id": "seven", "User-Agent": "tests/1"}
    answer = logged.call("POST", "/infer?top=3&key=secret", PICTURE, headers)
    (line,) = _lines(logged, "/infer")
    told = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    phases = told.pop("phases_ms")
    assert list(phases) == ["decode", "queue", "run", "encode"]
    assert sum(phases.values()) <= told.pop("ms") + 0.5
    assert told == {
        "method": "POST", "path": "/infer", "status": 200, "bytes_in": len(PICTURE), "bytes_out": len(answer.body),
        "request_id": "seven", "user_agent": "tests/1",
    }  # fmt: skip
    assert "secret" not in logged.log


@pytest.mark.parametrize("logged", ["text"], indirect=True)
def test_a_line_of_text_tells_the_same(logged: Server) -> None:
    answer = logged.call("POST", "/infer", b"no picture", {"X-Request-Id": "eight", "User-Agent": 'a "b"'})
    (line,) = _lines(logged, "/infer")
    wanted = (
        r'[\d:.TZ-]+ POST "/infer" 422 bytes_in=10 bytes_out=' + str(len(answer.body)) + r" ms=[\d.]+ request_id=eight"
        r' decode=[\d.]+ user_agent="a \\"b\\""'
    )
    assert re.fullmatch(wanted, line)


@pytest.mark.parametrize("logged", ["json", "text"], indirect=True)
def test_no_client_forges_a_line(logged: Server) -> None:
    before = logged.log
    headers: dict[str, Any] = {"User-Agent": "caf\xe9\x85"}
    logged.call("GET", f"/nothing/{quote(FORGED)}", headers=headers)
    logged.call("HEAD", "/v2/health/ready")
    first, second = logged.log.removeprefix(before).splitlines()
    assert all(each.isascii() and each.isprintable() for each in (first, second))
    assert "/nothing/" in first
    assert "/v2/health/ready" in second


@pytest.mark.parametrize("logged", ["json"], indirect=True)
def test_refused_methods_paths_and_heads_are_logged_too(logged: Server) -> None:
    for method, path in (("PUT", "/v2"), ("GET", "/nowhere"), ("HEAD", "/metrics")):
        logged.call(method, path)
    found = [json.loads(each) for each in logged.log.splitlines() if each.startswith('{"time"')][-3:]
    assert [(each["method"], each["path"], each["status"]) for each in found] == [
        ("PUT", "/v2", 405), ("GET", "/nowhere", 404), ("HEAD", "/metrics", 200)
    ]  # fmt: skip
    assert found[-1]["bytes_out"] == 0


def test_there_is_none_by_default(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx)
    server.call("GET", "/v2/models/never-logged")
    assert "never-logged" not in server.log
