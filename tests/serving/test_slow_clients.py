"""Clients that take their time: they cost no thread and little memory, and end by a deadline."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from werkzeug.datastructures import Headers

from tests.conftest import Serve
from tests.support.eventually import eventually
from tests.support.pictures import png
from tests.support.serving import HOST, SERVICE, START_S, Answer, Server, serving

SLOW = 500
KIB, MIB = 2**10, 2**20
HEADER = b"POST /infer HTTP/1.1\r\nHost: slow\r\nContent-Length: %d\r\n\r\n"
# The tests' machine may be busy. Where a thread waits for each body, there is no answer at all.
LIVE_S = 10.0


def _connect(server: Server) -> socket.socket:
    return socket.create_connection((HOST, server.port), timeout=60)


@contextmanager
def _senders(server: Server, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Connections that have sent that much and then wait."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(_connect(server)) for _ in range(count)]
        for each in sockets:
            each.sendall(sent)
        yield sockets


def _answer(connection: socket.socket) -> Answer:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, Headers(response.getheaders()), response.read())


def _gauge(server: Server, name: str) -> float:
    told = server.call("GET", "/metrics").body.decode()
    return float(re.search(rf"^{name} (\S+)$", told, re.MULTILINE)[1])  # type: ignore[index]


@pytest.mark.parametrize(
    "sent",
    [HEADER % 9_500_000 + bytes(KIB), b"POST /infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nx",
     b"POST /infer HTTP/1.1\r\nHost: slow\r\nX-", b"P", b""],
    ids=["body", "chunks", "header", "method", "nothing"],
)  # fmt: skip
def test_five_hundred_who_hardly_send_hold_up_nobody(serve: Serve, tiny_onnx: Path, sent: bytes) -> None:
    server = serve(tiny_onnx, REQUEST_THREADS="4", BODY_TIMEOUT_S="600")
    picture = png(20, 20)
    with _senders(server, SLOW, sent) as slow:
        began = time.monotonic()
        assert server.call("GET", "/v2/health/live").status == 200
        assert time.monotonic() - began < LIVE_S
        if sent:
            eventually(lambda: _gauge(server, "kindling_requests_receiving") == SLOW, START_S)
            assert _gauge(server, "kindling_request_bytes") <= SLOW * 2 * KIB
            for each in slow:
                each.sendall(b"\0" if sent.endswith(bytes(1)) else b"x")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: server.call("POST", "/infer", picture), range(64)))
        assert {each.status for each in answers} == {200}
    eventually(lambda: _gauge(server, "kindling_requests_receiving") == 0, START_S)
    eventually(lambda: _gauge(server, "kindling_request_bytes") == 0, START_S)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("sent", [HEADER % 100 + b"x", b"POST /infer HTTP/1.1\r\nContent-Le"], ids=["body", "header"])
def test_what_is_not_there_in_time_gets_408(serve: Serve, tiny_onnx: Path, sent: bytes) -> None:
    server = serve(tiny_onnx, BODY_TIMEOUT_S="1")
    with _senders(server, 40, sent) as slow:
        for each in slow:
            answer = _answer(each)
            assert (answer.status, answer.error) == (408, "not received within 1 s (BODY_TIMEOUT_S)")
            assert answer.headers["Connection"] == "close"
            assert each.recv(10) == b""
    assert server.call("POST", "/infer", png(20, 20)).status == 200


def test_a_request_s_time_begins_when_its_body_is_there(serve: Serve, tiny_onnx: Path) -> None:
    """A photo over a bad line is no slow request: it takes longer to come than REQUEST_TIMEOUT_MS allows for answering."""
    server = serve(tiny_onnx, REQUEST_TIMEOUT_MS="1000", BODY_TIMEOUT_S="60")
    picture = png(20, 20)
    with _connect(server) as connection:
        connection.sendall(HEADER % len(picture))
        for byte in picture[:-1]:
            connection.sendall(bytes([byte]))
            time.sleep(1.5 / len(picture))
        connection.sendall(picture[-1:])
        answer = _answer(connection)
    assert answer.status == 200
    assert float(re.search(r"total;dur=([\d.]+)", answer.headers["Server-Timing"])[1]) < 1000  # type: ignore[index]


def test_what_waits_in_memory_is_bounded_and_the_slowest_gives_way(serve: Serve, tiny_onnx: Path) -> None:
    limit = 4 * MIB
    server = serve(
        tiny_onnx, MAX_BODY_BYTES=str(MIB), MAX_BUFFERED_BYTES=str(limit), BODY_TIMEOUT_S="600", REQUEST_THREADS="4"
    )
    large = png(20, 20) + bytes(MIB - len(png(20, 20)))
    with _senders(server, 3, HEADER % MIB + large[:-1]) as slow:
        eventually(lambda: _gauge(server, "kindling_request_bytes") == 3 * (MIB - 1), START_S)
        # They have become slow when the newcomers need their memory.
        time.sleep(1.5)
        with _senders(server, 3, HEADER % MIB + large[:-1]) as new:
            eventually(lambda: _gauge(server, "kindling_requests_receiving") == 6, START_S)
            eventually(lambda: 3 * MIB < _gauge(server, "kindling_request_bytes") <= limit, START_S)
            for each in (*slow, *new):
                each.sendall(large[-1:])
            answers = [_answer(each) for each in (*slow, *new)]
    assert [each.status for each in answers[3:]] == [200, 200, 200]
    refused = [each for each in answers[:3] if each.status == 429]
    assert len(refused) == 2
    for answer in refused:
        assert answer.error == "the memory for requests is full (MAX_BUFFERED_BYTES)"
        assert answer.headers["Retry-After"] == "1"
    eventually(lambda: _gauge(server, "kindling_request_bytes") == 0, START_S)


def test_a_client_that_takes_no_answer_does_not_keep_its_thread(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, REQUEST_THREADS="1", BODY_TIMEOUT_S="1")

    def ask(greedy: socket.socket) -> None:
        with suppress(OSError):
            greedy.sendall(b"GET /events/schema HTTP/1.1\r\nHost: x\r\n\r\n" * 100_000)

    # Answers that nobody reads fill the buffers on the way, and then the thread that writes them waits.
    with ThreadPoolExecutor(1) as pool, _connect(server) as greedy:
        asking = pool.submit(ask, greedy)
        eventually(lambda: "a client did not read its answer within 1 s (BODY_TIMEOUT_S)" in server.log, START_S)
        assert server.call("GET", "/v2/health/live").status == 200
        greedy.close()
        asking.result()
    assert "Traceback" not in server.log


def test_an_answer_that_is_read_late_is_whole(serve: Serve, tiny_onnx: Path) -> None:
    """More answers than fit into the buffers on the way, and nobody who reads them at first."""
    server, count = serve(tiny_onnx, REQUEST_THREADS="4", BODY_TIMEOUT_S="600"), 2000
    schema = server.call("GET", "/events/schema").body
    with ThreadPoolExecutor(1) as pool, _connect(server) as late:
        asking = pool.submit(late.sendall, b"GET /events/schema HTTP/1.1\r\nHost: x\r\n\r\n" * count)
        time.sleep(1)
        received = bytearray()
        while received[-len(schema) :] != schema or received.count(schema) < count:
            received += late.recv(2**20)
        asking.result()
    assert received.count(b"HTTP/1.1 200 OK\r\n") == count


def test_more_connections_than_files_still_let_the_probe_in(tiny_onnx: Path, tmp_path: Path) -> None:
    limited = ("sh", "-c", 'ulimit -n 600; exec "$@"', "sh", *SERVICE)
    with serving(tiny_onnx, tmp_path / "log", limited) as server, _senders(server, 700, b""):
        for _ in range(5):
            assert server.call("GET", "/v2/health/live").status == 200
        assert server.call("POST", "/infer", png(20, 20)).status == 200
    assert "Traceback" not in server.log


def test_a_stopping_process_waits_for_bodies_only_so_long(tiny_onnx: Path, tmp_path: Path) -> None:
    with (
        serving(tiny_onnx, tmp_path / "log", GRACEFUL_TIMEOUT_S="5") as server,
        _senders(server, 20, HEADER % 100 + b"x") as slow,
    ):
        eventually(lambda: _gauge(server, "kindling_requests_receiving") == len(slow), START_S)
        server.process.terminate()
        for each in slow:
            answer = _answer(each)
            assert (answer.status, answer.error) == (503, "the process is stopping: send it again")
        assert server.stop() == 0


def test_requests_sent_ahead_are_answered_in_their_order(serve: Serve, tiny_onnx: Path) -> None:
    server, picture = serve(tiny_onnx), png(20, 20)
    one = HEADER % len(picture) + picture
    chunked = b"POST /infer?top=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    sent = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n" + one + chunked % (len(picture), picture) + one[:-5]
    with _connect(server) as connection:
        connection.sendall(sent)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3 or not received.endswith(b"}\n"):
            received += connection.recv(65536)
        connection.sendall(one[-5:])
        last = _answer(connection)
    bodies = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert [len(each.get("labels", ())) for each in bodies] == [0, 5, 1]
    assert last.json == bodies[1]


def test_a_body_is_asked_for_before_it_is_sent(serve: Serve, tiny_onnx: Path) -> None:
    server, picture = serve(tiny_onnx), png(20, 20)
    expecting = HEADER.replace(b"Host", b"Expect: 100-continue\r\nHost")
    with _connect(server) as connection:
        connection.sendall(expecting % len(picture))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(picture)
        assert _answer(connection).status == 200
        # Sent at once, it is not asked for.
        connection.sendall(expecting % len(picture) + picture)
        assert _answer(connection).status == 200
        connection.sendall(expecting % (100 * MIB))
        assert _answer(connection).status == 413
        assert connection.recv(10) == b""


def test_a_body_that_ends_too_early_is_told(serve: Serve, tiny_onnx: Path) -> None:
    with _connect(serve(tiny_onnx)) as connection:
        connection.sendall(HEADER % 100 + b"x")
        connection.shutdown(socket.SHUT_WR)
        answer = _answer(connection)
    assert (answer.status, answer.error) == (400, "the body ends too early: the connection was closed")


def test_a_client_that_closes_its_side_early_gets_its_answer(serve: Serve, tiny_onnx: Path) -> None:
    picture = png(20, 20)
    with _connect(serve(tiny_onnx)) as connection:
        connection.sendall(HEADER % len(picture) + picture)
        connection.shutdown(socket.SHUT_WR)
        assert _answer(connection).status == 200
