"""What the real service refuses, how it says so, and that it lives on."""

import http.client
import json
import math
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from tests.conftest import Serve
from tests.support.models import SIDE
from tests.support.pictures import encoded, photo, png, png_claiming
from tests.support.serving import HOST, Answer, Server

INFER = "/v2/models/tiny/infer"
MIB = 2**20
PIXELS = [0] * SIDE * SIDE * 3
HEADER_LENGTH = "Inference-Header-Content-Length"


def _image(**members: Any) -> dict[str, Any]:
    return {"name": "image", "shape": [1, SIDE, SIDE, 3], "datatype": "UINT8", "data": PIXELS} | members


def _asked(**members: Any) -> dict[str, Any]:
    return {"inputs": [_image(**members)]}


@pytest.mark.parametrize(
    ("status", "error", "asked"),
    [
        (422, "input 'image': shape [1, 16, 16], wanted [-1, 16, 16, 3]", _asked(shape=[1, 16, 16], data=[0] * 256)),
        (422, "input 'image': shape [1, 3, 16, 16], wanted [-1, 16, 16, 3]", _asked(shape=[1, 3, 16, 16])),
        (422, "input 'image': datatype FP32, wanted UINT8 or BYTES", _asked(datatype="FP32")),
        (422, "input 'image': no datatype 'FP31'", _asked(datatype="FP31")),
        (422, "input 'image': 767 elements, shape [1, 16, 16, 3] has 768", _asked(data=PIXELS[1:])),
        (422, "input 'image': an element is not a UINT8", _asked(data=[256, *PIXELS[1:]])),
        (422, "input 'image': an element is not a UINT8", _asked(data=[0.5, *PIXELS[1:]])),
        (422, "input 'image': an element is not a UINT8", _asked(data=["0", *PIXELS[1:]])),
        (422, "inputs are ['picture'], the model has ['image']", _asked(name="picture")),
        (422, "inputs are ['image', 'image'], the model has ['image']", {"inputs": [_image(), _image()]}),
        (422, "inputs are [], the model has ['image']", {"inputs": []}),
        (422, "no output 'x', the model has ['probabilities']", _asked() | {"outputs": [{"name": "x"}]}),
        (422, "a batch of 65 items: wanted 1 to 64", _asked(shape=[65, SIDE, SIDE, 3], data=PIXELS * 65)),
        (422, "a batch of 0 items: wanted 1 to 64", _asked(shape=[0, SIDE, SIDE, 3], data=[])),
        (400, "inputs: wanted a list, got nothing", {}),
        (400, "inputs[0].name: wanted a string, got a number", _asked(name=1)),
        (400, "input 'image': shape [-1, 16, 16, 3] is not a list of at most 8 sizes", _asked(shape=[-1, 16, 16, 3])),
        (400, "id: wanted a string of at most 256 characters", _asked() | {"id": "x" * 257}),
        (400, "input 'image'[0]: not base64: character 1 is 'é'", _asked(datatype="BYTES", shape=[1], data=["é"])),
        (422, "input 'image'[0]: not a picture: wanted JPEG, PNG, WebP or AVIF", _asked(datatype="BYTES", shape=[1], data=["AAAA"])),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_what_is_wrong(
    tiny_server: Server, status: int, error: str, asked: dict[str, Any]
) -> None:
    answer = tiny_server.call("POST", INFER, asked)
    assert (answer.status, answer.error) == (status, error)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"nonsense", b"\xff\xfe", b'{"inputs": NaN}', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000],
)
def test_what_is_not_json_is_a_bad_request(tiny_server: Server, body: bytes) -> None:
    for path in (INFER, "/v1/models/tiny:predict"):
        answer = tiny_server.call("POST", path, body)
        assert answer.status == 400
        assert answer.error.startswith(("the body is ", "the JSON is "))


@pytest.mark.parametrize("length", ["0", "-1", "99999", "many", "1.5", ""])
def test_a_malformed_header_length_is_a_bad_request(tiny_server: Server, length: str) -> None:
    """A header that is there but cannot be read is not treated as if it were absent."""
    answer = tiny_server.call("POST", INFER, json.dumps(_asked()).encode(), {HEADER_LENGTH: length})
    assert answer.status == 400
    assert answer.error.startswith(HEADER_LENGTH)


def test_not_a_number_is_no_json_but_a_binary_tensor(types_server: Server) -> None:
    names = types_server.call("GET", "/v2/models/types").json["inputs"]
    inputs = [
        {"name": each["name"], "datatype": each["datatype"], "shape": [1, 3], "data": [0, 1, 1]} for each in names
    ]
    body = json.dumps({"inputs": inputs}).encode()
    assert types_server.call("POST", "/v2/models/types/infer", body).status == 200
    for word in (b"NaN", b"Infinity", b"-Infinity"):
        answer = types_server.call("POST", "/v2/models/types/infer", body.replace(b"[0, 1, 1]", b"[0, %s, 1]" % word))
        error = f"the body is not JSON: {word.decode()} needs a binary tensor (binary_data_size)"
        assert (answer.status, answer.error) == (400, f"{error} of POST /v2/models/NAME/infer")
    forms = {"FP16": "e", "FP32": "f", "FP64": "d"}
    for given in [each for each in inputs if each["datatype"] in forms]:
        form = f"<3{forms[given['datatype']]}"
        blob = struct.pack(form, math.nan, math.inf, 1)
        sent = {key: value for key, value in given.items() if key != "data"}
        sent["parameters"] = {"binary_data_size": len(blob)}
        wanted = {"name": f"out_{given['name']}", "parameters": {"binary_data": True}}
        asked = {"inputs": [sent if each is given else each for each in inputs], "outputs": [wanted]}
        raw = json.dumps(asked).encode()
        answer = types_server.call("POST", "/v2/models/types/infer", raw + blob, {HEADER_LENGTH: str(len(raw))})
        assert answer.status == 200
        doubled = struct.unpack(form, answer.body[int(answer.headers[HEADER_LENGTH]) :])
        assert [str(each) for each in doubled] == ["nan", "inf", "2.0"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/models/huge/infer"), ("GET", "/v2/models/huge"), ("GET", "/v2/models/huge/ready"),
        ("POST", "/v1/models/huge:predict"), ("GET", "/v1/models/huge"),
    ],
)  # fmt: skip
def test_an_unknown_model_is_not_found(tiny_server: Server, method: str, path: str) -> None:
    answer = tiny_server.call(method, path, b"{}" if method == "POST" else None)
    assert (answer.status, answer.error) == (404, "no model 'huge', this service has 'tiny'")


@pytest.mark.parametrize(
    "path", ["/nothing", "/v2/models/tiny/versions/2", "/v2/models/tiny/versions/2/infer", "/infer/x"]
)
def test_an_unknown_route_is_not_found_in_json(tiny_server: Server, path: str) -> None:
    answer = tiny_server.call("GET", path)
    assert answer.status == 404
    assert "not found" in answer.error


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/infer", {"POST", "PUT", "OPTIONS"}),
        ("DELETE", "/infer", {"POST", "PUT", "OPTIONS"}),
        ("GET", INFER, {"POST", "OPTIONS"}),
        ("POST", "/v2", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(tiny_server: Server, method: str, path: str, allowed: set[str]) -> None:
    answer = tiny_server.call(method, path)
    assert answer.status == 405
    assert answer.error
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_a_slash_at_the_end_of_a_path_changes_nothing(tiny_server: Server) -> None:
    picture = png(20, 20)
    for path in ("/infer", "/infer/"):
        assert tiny_server.call("PUT", path, picture).json == tiny_server.call("POST", "/infer", picture).json
    for path in ("/v2", "/v2/health/ready", "/v2/models/tiny", "/v2/models/tiny/versions/1", "/v1/models", "/metrics",
                 "/events/schema"):  # fmt: skip
        answer = tiny_server.call("GET", path + "/")
        assert answer.status == 200
        assert path == "/metrics" or answer.body == tiny_server.call("GET", path).body
    predicted = {"instances": [[[[0, 0, 0]] * SIDE] * SIDE]}
    assert tiny_server.call("POST", "/v1/models/tiny:predict/", predicted).status == 200
    assert tiny_server.call("POST", f"{INFER}/", _asked()).status == 200


BARE_LF = "Invalid HTTP request line: 'bare LF as line terminator'"


@pytest.mark.parametrize(
    ("status", "error", "sent"),
    [
        (400, BARE_LF, b"GET / HTTP/1.1\nHost: x\n\n"),
        (400, "Invalid HTTP request line: 'nonsense'", b"nonsense\r\n\r\n"),
        (400, "Invalid HTTP Version: 'HTTP/3'", b"GET / HTTP/3\r\n\r\n"),
        (400, "Invalid HTTP header name: 'A B'", b"GET / HTTP/1.1\r\nA B: c\r\n\r\n"),
        (400, "Invalid HTTP Header: 'CONTENT-LENGTH'", b"POST /infer HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
        (414, "Request Line is too large (9014 > 8190)", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n"),
        (417, "Unable to comply with expectation: 'cake'", b"GET / HTTP/1.1\r\nExpect: cake\r\n\r\n"),
        (431, "limit request headers fields", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n"),
        (431, "the header is more than 65536 bytes (MAX_HEADER_BYTES)", b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000),
        (501, "Unsupported transfer coding: 'x'", b"GET / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_in_json(tiny_server: Server, status: int, error: str, sent: bytes) -> None:
    counted = f'kindling_requests_total{{route="none",status="{status}"}}'
    with closing(socket.create_connection((HOST, tiny_server.port), timeout=60)) as stream:
        stream.sendall(sent)
        response = http.client.HTTPResponse(stream)
        response.begin()
        answer = Answer(response.status, Headers(response.getheaders()), response.read())
        assert stream.recv(10) == b""
    assert (answer.status, answer.error) == (status, error)
    assert answer.headers["Connection"] == "close"
    assert counted in tiny_server.call("GET", "/metrics").body.decode()


def test_a_long_header_is_taken_up_to_its_limit(tiny_server: Server, serve: Serve, tiny_onnx: Path) -> None:
    """Tokens and cookies grow: 12 KB of them are no fault."""
    for size in (12 * 1024, 60 * 1024):
        assert tiny_server.call("GET", "/v2", headers={"Authorization": "x" * size}).status == 200
    strict = serve(tiny_onnx, MAX_HEADER_BYTES="12000")
    assert strict.call("GET", "/v2", headers={"Authorization": "x" * 11_000}).status == 200
    answer = strict.call("GET", "/v2", headers={"Authorization": "x" * 12_000})
    assert (answer.status, answer.error) == (431, "the header is more than 12000 bytes (MAX_HEADER_BYTES)")


@pytest.mark.parametrize("path", ["/infer", INFER, "/v1/models/tiny:predict", "/events", "/", "/dead-letters"])
@pytest.mark.parametrize("chunks", [b"zz\r\n", b"5\r\nhelloworld", b"-1\r\n\r\n", b"5\r\nhello\r\n;\r\n"])
def test_a_malformed_chunk_is_a_bad_request(tiny_server: Server, path: str, chunks: bytes) -> None:
    with closing(socket.create_connection((HOST, tiny_server.port), timeout=60)) as stream:
        stream.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks)
        response = http.client.HTTPResponse(stream)
        response.begin()
        answer = Answer(response.status, Headers(response.getheaders()), response.read())
    assert answer.status == 400
    assert answer.error.startswith("the chunked body is malformed: ")
    assert "Traceback" not in tiny_server.log


def _stream(server: Server, head: str, chunks: Iterator[bytes]) -> bytes:
    """Send without waiting for any consent, and read what comes back when sending is cut off."""
    with closing(socket.create_connection((HOST, server.port), timeout=60)) as stream:
        stream.sendall(f"POST /infer HTTP/1.1\r\nHost: {server.address}\r\n{head}\r\n\r\n".encode())
        try:
            for chunk in chunks:
                stream.sendall(chunk)
        except OSError:
            pass
        received = b""
        while not received.endswith(b"}\n") and (more := stream.recv(65536)):
            received += more
        return received


@pytest.mark.parametrize("size", [10 * MIB + 1, 100 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_client_that_streams_too_much_receives_the_413(tiny_server: Server, size: int, *, chunked: bool) -> None:
    if chunked:
        head, whole, rest = "Transfer-Encoding: chunked", b"10000\r\n" + bytes(65536) + b"\r\n", b"1\r\n\0\r\n0\r\n\r\n"
    else:
        head, whole, rest = f"Content-Length: {size}", bytes(65536), bytes(size % 65536)
    received = _stream(tiny_server, head, iter([whole] * (size // 65536) + [rest]))
    head_lines, _, body = received.partition(b"\r\n\r\n")
    assert head_lines.startswith(b"HTTP/1.1 413 ")
    answer = Answer(413, Headers({"Content-Type": "application/json"}), body)
    assert answer.error
    assert tiny_server.call("GET", "/v2/health/ready").status == 200


@pytest.mark.parametrize(("path", "status"), [("/infer", 413), ("/infer?top=none", 400), ("/nowhere", 404)])
def test_who_is_refused_early_may_send_to_the_end(tiny_server: Server, path: str, status: int) -> None:
    """Where the connection was closed first, proxies told 502."""
    body = bytes(40 * MIB)
    for _ in range(5):
        answer = tiny_server.call("POST", path, body)
        assert (answer.status, bool(answer.error)) == (status, True)


def test_a_body_of_exactly_the_limit_is_read(tiny_server: Server) -> None:
    picture = png(20, 20)
    padded = picture + bytes(10 * MIB - len(picture))
    assert tiny_server.call("POST", "/infer", padded).status == 200
    received = _stream(
        tiny_server, "Transfer-Encoding: chunked", iter([b"%x\r\n" % len(padded), padded, b"\r\n0\r\n\r\n"])
    )
    assert received.startswith(b"HTTP/1.1 200 ")


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def test_hundreds_of_bad_inputs_leave_the_process_as_it_was(serve: Serve, tiny: Path) -> None:
    server = serve(tiny, REQUEST_THREADS="4")
    good, large = png(20, 20), encoded(photo(1200, 900), "JPEG")
    bad: list[tuple[str, Any]] = [
        ("/infer", b""), ("/infer", os.urandom(200_000)), ("/infer", good[:80]), ("/infer", large[: len(large) // 2]),
        ("/infer", png_claiming(50_000, 50_000)), (INFER, b"[" * 50_000), (INFER, {"inputs": [_image(shape=[1])]}),
        (INFER, _asked(datatype="BYTES", shape=[1], data=["AAAA"])), ("/v2/models/x/infer", b"{}"), ("/x", b"x"),
    ]  # fmt: skip

    def send(times: int) -> None:
        for _ in range(times):
            for path, body in bad:
                assert 400 <= server.call("POST", path, body).status < 500

    send(10)
    worker, before = server.worker_pid, _rss_mb(server.worker_pid)
    send(40)
    assert server.worker_pid == worker
    assert _rss_mb(worker) - before < 30
    assert server.call("POST", "/infer", good).status == 200
    assert "unexpected error" not in server.log
    assert "Traceback" not in server.log
