"""HTTP/2 on the service's port, frame by frame."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import h2.errors
import pytest
from hyperframe.frame import PingFrame

from service.serving.http2 import MAX_IDLE_FRAMES
from tests.conftest import Serve
from tests.support.eventually import eventually
from tests.support.http2 import INFER, Client, speaking_http2
from tests.support.models import SIDE
from tests.support.pictures import png
from tests.support.serving import HOST, START_S, Server, serving

PICTURE = png(20, 20)
MIB = 2**20
ITEM_BYTES = SIDE * SIDE * 3
MANY = 9_000


def _gauge(server: Server, name: str) -> float:
    told = server.call("GET", "/metrics").body.decode()
    return float(re.search(rf"^{name} (\S+)$", told, re.MULTILINE)[1])  # type: ignore[index]


def _large(client: Client, name: str) -> int:
    """A request whose answer has 216 kB."""
    header = {
        "inputs": [
            {
                "name": "image", "datatype": "UINT8", "shape": [MANY, SIDE, SIDE, 3],
                "parameters": {"binary_data_size": MANY * ITEM_BYTES},
            }
        ],
        "parameters": {"binary_data_output": True},
    }  # fmt: skip
    text = json.dumps(header).encode()
    body = text + bytes(MANY * ITEM_BYTES)
    length = {"inference-header-content-length": str(len(text))}
    return client.ask("POST", f"/v2/models/{name}/infer", body, length)


def test_the_answer_is_that_of_http1(tiny_server: Server) -> None:
    usual = tiny_server.call("POST", INFER, PICTURE)
    with speaking_http2(tiny_server) as client:
        got = client.answer(client.ask("POST", INFER, PICTURE))
    assert (got.status, json.loads(got.body)) == (200, usual.json)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["content-length"] == str(len(got.body))
    assert "run;dur=" in got.headers["server-timing"]
    assert not {"connection", "transfer-encoding", "keep-alive"} & got.headers.keys()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200),
        ("HEAD", "/v2", 200),
        ("GET", "/nothing", 404),
        ("DELETE", "/v2", 405),
        ("POST", "/infer", 400),
    ],
)
def test_what_has_no_body_is_answered_too(tiny_server: Server, method: str, path: str, status: int) -> None:
    usual = tiny_server.call(method, path)
    with speaking_http2(tiny_server) as client:
        got = client.answer(client.ask(method, path))
    assert (got.status, got.body) == (status, usual.body)
    assert usual.status == status


def test_requests_of_one_connection_are_answered_side_by_side(jobs_server: Server) -> None:
    """The first one waits for a job that nobody has begun; the others do not wait for it."""
    accepted = jobs_server.call("POST", INFER, PICTURE, {"Prefer": "respond-async"})
    with speaking_http2(jobs_server) as client:
        streams = [
            client.ask("GET", accepted.headers["Location"], headers={"accept": "text/event-stream"}),
            *(client.ask("POST", INFER, PICTURE) for _ in range(8)),
        ]
        assert [client.answer(each).status for each in reversed(streams)] == [200] * len(streams)


def test_a_stream_of_events_comes_piece_by_piece(jobs_server: Server) -> None:
    accepted = jobs_server.call("POST", INFER, PICTURE, {"Prefer": "respond-async"})
    with speaking_http2(jobs_server) as client:
        got = client.answer(client.ask("GET", accepted.headers["Location"], headers={"accept": "text/event-stream"}))
    assert got.status == 200
    assert "content-length" not in got.headers
    assert b'"succeeded"' in got.body


def test_idle_connections_and_those_that_hardly_send_cost_no_thread(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, REQUEST_THREADS="1", BODY_TIMEOUT_S="600")
    with ExitStack() as stack:
        idle = [stack.enter_context(speaking_http2(server)) for _ in range(20)]
        for each in idle[:10]:
            each.ask("POST", INFER, PICTURE[:10], is_whole=False)
        eventually(lambda: _gauge(server, "kindling_requests_receiving") == 10, START_S)
        assert _gauge(server, "kindling_request_bytes") == 100
        assert server.call("POST", INFER, PICTURE).status == 200
        assert idle[-1].answer(idle[-1].ask("POST", INFER, PICTURE)).status == 200
    eventually(lambda: _gauge(server, "kindling_requests_receiving") == 0, START_S)
    eventually(lambda: _gauge(server, "kindling_request_bytes") == 0, START_S)


def test_a_large_answer_waits_for_the_client_s_window(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, MAX_REQUEST_ITEMS=str(MANY))
    with speaking_http2(server, window=10_000) as client:
        large = _large(client, "tiny")
        got = client.answer(large)
        length = int(got.headers["inference-header-content-length"])
    assert got.status == 200
    assert len(got.body) - length == MANY * 6 * 4


def test_a_client_that_takes_no_answer_does_not_keep_its_thread(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, MAX_REQUEST_ITEMS=str(MANY), BODY_TIMEOUT_S="1", REQUEST_THREADS="1")
    with speaking_http2(server, reads=False) as client:
        large = _large(client, "tiny")
        got = client.answer(large)
        assert got.reset == h2.errors.ErrorCodes.CANCEL
        assert 0 < len(got.body) <= 2**16
        assert server.call("POST", INFER, PICTURE).status == 200
    eventually(lambda: "a client did not read its answer within 1 s" in server.log, START_S)


def test_what_is_not_there_in_time_gets_408(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, BODY_TIMEOUT_S="1")
    with speaking_http2(server) as client:
        slow = client.ask("POST", INFER, PICTURE[:10], is_whole=False)
        got = client.answer(slow)
        assert got.status == 408
        assert json.loads(got.body) == {"error": "not received within 1 s (BODY_TIMEOUT_S)"}
        client.until(lambda: got.reset == h2.errors.ErrorCodes.NO_ERROR)
        assert client.answer(client.ask("POST", INFER, PICTURE)).status == 200


@pytest.mark.parametrize("told", [True, False], ids=["announced", "not announced"])
def test_a_body_that_is_too_large_gets_413_and_the_connection_lives_on(
    serve: Serve, tiny_onnx: Path, told: bool
) -> None:
    server = serve(tiny_onnx, MAX_BODY_BYTES=str(MIB))
    body = bytes(3 * MIB)
    with speaking_http2(server) as client:
        got = client.answer(client.ask("POST", INFER, body, {"content-length": str(len(body))} if told else {}))
        assert got.status == 413
        assert json.loads(got.body) == {"error": f"the body is more than {MIB} bytes (MAX_BODY_BYTES)"}
        assert client.answer(client.ask("POST", INFER, PICTURE)).status == 200
    eventually(lambda: _gauge(server, "kindling_request_bytes") == 0, START_S)


def test_what_waits_in_memory_is_bounded(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, MAX_BODY_BYTES=str(MIB), MAX_BUFFERED_BYTES=str(4 * MIB), BODY_TIMEOUT_S="600")
    with speaking_http2(server) as client:
        streams = [client.ask("POST", INFER, bytes(MIB - 1), is_whole=False) for _ in range(8)]
        eventually(lambda: _gauge(server, "kindling_requests_receiving") == 8, START_S)
        assert 3 * MIB < _gauge(server, "kindling_request_bytes") <= 4 * MIB
        for each in streams:
            client.send(each, bytes(1), is_last=True)
        found = sorted(client.answer(each).status for each in streams)
    assert found == [422] * 4 + [429] * 4


def test_a_request_that_is_taken_back_is_forgotten(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, BODY_TIMEOUT_S="600")
    with speaking_http2(server) as client:
        stream = client.ask("POST", INFER, bytes(1000), is_whole=False)
        eventually(lambda: _gauge(server, "kindling_request_bytes") == 1000, START_S)
        client.frames.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        eventually(lambda: _gauge(server, "kindling_request_bytes") == 0, START_S)
        assert client.answer(client.ask("POST", INFER, PICTURE)).status == 200


def test_a_client_that_sends_nothing_but_frames_is_sent_away(tiny_server: Server) -> None:
    with speaking_http2(tiny_server) as client:
        client.send_raw(PingFrame(0, opaque_data=bytes(8)).serialize() * (MAX_IDLE_FRAMES + 1))
        while not client.is_closed:
            client.read()
        assert client.is_draining
    assert tiny_server.call("GET", "/v2").status == 200


def test_what_has_begun_is_answered_while_the_process_ends(tiny_onnx: Path, tmp_path: Path) -> None:
    """The client is told to open no more requests, those that are arriving or cross that message are answered."""
    with (
        serving(tiny_onnx, tmp_path / "log") as server,
        speaking_http2(server) as client,
        speaking_http2(server) as idle,
    ):
        stream = client.ask("POST", INFER, PICTURE[:10], is_whole=False)
        assert idle.answer(idle.ask("GET", "/v2")).status == 200
        eventually(lambda: _gauge(server, "kindling_requests_receiving") == 1, START_S)
        server.process.send_signal(signal.SIGTERM)
        # What crosses the message is in this test what is sent without reading it.
        crossing = client.ask("POST", INFER, PICTURE)
        client.send(stream, PICTURE[10:], is_last=True)
        assert [client.answer(each).status for each in (stream, crossing)] == [200, 200]
        client.until(lambda: client.is_draining)
        idle.until(lambda: idle.is_draining)
        assert server.process.wait(START_S) == 0
        assert "Traceback" not in server.log


def test_the_preface_may_come_in_pieces(tiny_server: Server) -> None:
    with socket.create_connection((HOST, tiny_server.port), timeout=60) as connection:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM":
            connection.sendall(bytes([byte]))
        connection.sendall(b"\r\n\r\n\0\0\0\4\0\0\0\0\0")
        # a SETTINGS frame of the server
        assert connection.recv(9)[3:4] == b"\4"


def test_without_it_the_preface_is_refused_as_any_other_method(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, GRPC="false")
    with socket.create_connection((HOST, server.port), timeout=60) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.recv(2**16).startswith(b"HTTP/1.1 400 ")


@pytest.mark.skipif(not (shutil.which("go") or os.environ.get("REQUIRE_GO")), reason="go is not installed")
def test_h2spec_finds_nothing(tiny_server: Server, tmp_path: Path) -> None:
    """Its one complaint: a wrong preface is answered in HTTP/1, because the port speaks both."""
    go = {**os.environ, "GOBIN": str(tmp_path)}
    subprocess.run(["go", "install", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"], env=go, check=True)
    done = subprocess.run(
        [tmp_path / "h2spec", "-h", HOST, "-p", str(tiny_server.port), "-P", "/v2", "-o", "20"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    failed = re.findall(r"\S (\d+: .+)", done.stdout.partition("Failures:")[2])
    assert failed == ["2: Sends invalid connection preface"], done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 144  # type: ignore[index]
