"""Where the service listens, and by which address its answers say that it is found."""

import http.client
import json
import platform
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.eventually import eventually
from tests.support.pictures import png
from tests.support.serving import HOST, START_S, Server, ask, serving, started

V6 = "::1"
ASYNC = {"Prefer": "respond-async"}
# A kernel without IPv6, for one process: socket(AF_INET6, ...) fails as it does there. Classic BPF by prctl(2), seccomp(2):
# if the call is socket (41 on x86-64, 198 on ARM) and its first argument AF_INET6 (10), EAFNOSUPPORT (97), else allow it.
WITHOUT_IPV6 = """
import ctypes, os, struct, sys
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, int(sys.argv[1])), (0x20, 0, 0, 16), (0x15, 0, 1, 10), (0x06, 0, 0, 0x50000 | 97),
         (0x06, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("HBBI", *step) for step in steps)
code = ctypes.create_string_buffer(program, len(program))
filter = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.executable, [sys.executable, "-m", "service"])
"""


def _has_ipv6() -> bool:
    try:
        with closing(socket.create_server((V6, 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


SOCKET = {"x86_64": "41", "aarch64": "198"}.get(platform.machine())

needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


def _by(address: str, server: Server) -> int:
    with closing(http.client.HTTPConnection(address, server.port, timeout=60)) as connection:
        return ask(connection, "POST", "/infer", png(20, 20)).status


@needs_ipv6
def test_two_colons_serve_both_families(tiny_onnx: Path, tmp_path: Path) -> None:
    with serving(tiny_onnx, tmp_path / "log", HOST="::", DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite") as server:
        assert [_by(address, server) for address in (HOST, V6)] == [200, 200]
        assert f"tiny on http://[::]:{server.port}\n" in server.log
        # It delivers its jobs to itself.
        job = server.call("POST", "/infer", png(20, 20), ASYNC).json
        done = server.call("GET", f"/jobs/{job['id']}", headers={"Prefer": "wait=20"}).json
        assert done["status"] == "succeeded"
        assert server.stop() == 0


@needs_ipv6
def test_an_address_of_ipv6_is_written_as_urls_want_it(tiny_onnx: Path, tmp_path: Path) -> None:
    with started(tiny_onnx, tmp_path / "log", HOST=V6, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite") as server:
        eventually(lambda: "is ready" in server.log, START_S)
        assert f"tiny on http://[::1]:{server.port}\n" in server.log
        with closing(http.client.HTTPConnection(V6, server.port, timeout=60)) as connection:
            job = json.loads(ask(connection, "POST", "/infer", png(20, 20), ASYNC).body)
            done = ask(connection, "GET", f"/jobs/{job['id']}", headers={"Prefer": "wait=20"}).json
        assert done["status"] == "succeeded"


@needs_ipv6
def test_a_taken_port_of_ipv6_is_one_sentence(tiny_onnx: Path, tmp_path: Path) -> None:
    with closing(socket.create_server((V6, 0), family=socket.AF_INET6)) as other:
        port = other.getsockname()[1]
        with started(tiny_onnx, tmp_path / "log", HOST=V6, PORT=str(port)) as server:
            assert server.process.wait(START_S) == 2
        assert server.log == f"cannot listen on [::1]:{port} (Address already in use): set PORT to a free port\n"


@pytest.mark.skipif(SOCKET is None, reason="the number of socket(2) is not known here")
def test_two_colons_serve_ipv4_where_the_kernel_has_no_ipv6(tiny_onnx: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", WITHOUT_IPV6, str(SOCKET))
    with serving(tiny_onnx, tmp_path / "log", command, HOST="::") as server:
        assert _by(HOST, server) == 200
        assert server.stop() == 0
    with started(tiny_onnx, tmp_path / "log", command, HOST=V6) as server:
        assert server.process.wait(START_S) == 2
        assert server.log == "cannot listen on ::1: Address family not supported by protocol\n"


@pytest.mark.parametrize(
    ("sent", "prefix"),
    [("/ml", "/ml"), ("/a/b/", "/a/b"), ("/", ""), ("", ""), ("/inner, /outer", "/outer")],
)
def test_a_trusted_prefix_is_part_of_every_address(
    serve: Serve, jobs_url: str, tiny_onnx: Path, sent: str, prefix: str
) -> None:
    server = serve(tiny_onnx, DATABASE_URL=jobs_url, TRUST_FORWARDED_PREFIX="true")
    headers = {"X-Forwarded-Prefix": sent}
    answer = server.call("POST", "/infer", png(20, 20), ASYNC | headers)
    assert answer.headers["Location"] == f"{prefix}/jobs/{answer.json['id']}"
    found = server.call("GET", f"/jobs/{answer.json['id']}", headers=headers | {"Prefer": "wait=20"}).json
    assert found["result_url"] == f"{prefix}/jobs/{answer.json['id']}/result"
    listed = server.call("GET", "/jobs?limit=1", headers=headers).json["jobs"][0]
    assert listed["result_url"].startswith(f"{prefix}/jobs/")
    followed = server.call("GET", f"/jobs/{found['id']}", headers=headers | {"Accept": "text/event-stream"})
    assert f'"result_url": "{prefix}/jobs/' in followed.body.decode()


@pytest.mark.parametrize("header", ["X-Forwarded-Prefix", "Script-Name", "SCRIPT_NAME", "X-Script-Name"])
def test_nobody_else_s_prefix_counts(serve: Serve, jobs_url: str, tiny_onnx: Path, header: str) -> None:
    server = serve(tiny_onnx, DATABASE_URL=jobs_url)
    answer = server.call("POST", "/infer", png(20, 20), ASYNC | {header: "/infer"})
    assert answer.status == 202
    assert answer.headers["Location"] == f"/jobs/{answer.json['id']}"
