"""From the start of the process to its end."""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from model.artifact import Artifact
from service.serving.closing import refuse_new_connections
from tests.support import eager
from tests.support.eventually import eventually
from tests.support.pictures import png
from tests.support.serving import HOST, ROOT, START_S, Server, ask, environment, free_port, serving, started

MODEL_FAILED = 4  # gunicorn's code for an application that cannot be loaded
CLIENTS = 8


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """An artifact that a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def _ends(artifact: Path, **settings: str) -> tuple[int, str]:
    """Exit code and words of a service that cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", "service"], cwd=ROOT, env=environment(artifact, free_port(), settings),
        capture_output=True, text=True, timeout=START_S, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_missing_artifact_is_one_sentence(tmp_path: Path) -> None:
    assert _ends(tmp_path / "no") == (
        2,
        f"no artifact in {tmp_path}/no: `python -m model export NAME --output {tmp_path}/no`\n",
    )


def test_bad_settings_are_told_all_together(tiny_aoti: Path) -> None:
    assert _ends(tiny_aoti, RUNNERS="many", LOG_LEVEL="loud") == (
        2,
        "RUNNERS='many': wanted a whole number of at least 0\nLOG_LEVEL='loud': wanted debug, info, warning or error\n",
    )


def test_taken_port_is_one_sentence(tiny_aoti: Path) -> None:
    with closing(socket.create_server((HOST, 0))) as other:
        port = str(other.getsockname()[1])
        code, words = _ends(tiny_aoti, PORT=port)
    assert code == 2
    assert words == f"cannot listen on {HOST}:{port} (Address already in use): set PORT to a free port\n"


def test_damaged_description_is_one_sentence(copy: Path) -> None:
    (copy / "artifact.json").write_text("{")
    code, words = _ends(copy)
    assert code == 2
    assert words.startswith(f"{copy}/artifact.json is damaged (JSONDecodeError: ")
    assert words.endswith("): export it again\n")
    assert words.count("\n") == 1


def _never_ready(artifact: Path, log_file: Path, sentence: str) -> None:
    """Ask for readiness as long as the process lives: it never says 200, and the process ends with its reason."""
    with started(artifact, log_file) as server:
        seen = set()

        def is_over() -> bool:
            try:
                answer = server.call("GET", "/v2/health/ready")
            except (OSError, http.client.HTTPException):  # it may end while it answers
                pass
            else:
                seen.add(answer.status)
                assert answer.error
            return server.process.poll() is not None

        eventually(is_over, START_S)
        assert seen <= {503}
        assert server.process.returncode == MODEL_FAILED
        assert sentence in server.log
        assert "Traceback" not in server.log


def test_wrong_self_test_answer_is_never_ready(copy: Path, tmp_path: Path) -> None:
    """The digests are right: only the model's own answer tells that this is not the model that was exported."""
    answer = copy / "self-test.output"
    answer.write_bytes(bytes(len(answer.read_bytes())))
    Artifact.read(copy).write()
    _never_ready(
        copy, tmp_path / "log", "the model cannot be served: self-test failed: output probabilities differs by"
    )


def test_changed_program_is_never_ready(copy: Path, tmp_path: Path) -> None:
    file = copy / Artifact.read(copy).programs[0].file
    file.write_bytes(file.read_bytes() + b"x")
    _never_ready(copy, tmp_path / "log", f"{file} is not the file that was exported (digest differs): not loaded")


def test_missing_self_test_is_never_ready(copy: Path, tmp_path: Path) -> None:
    (copy / "self-test.output").unlink()
    _never_ready(copy, tmp_path / "log", f"{copy}/self-test.output is missing: export the artifact again")


def test_ready_is_503_until_the_model_has_answered_its_self_test(tiny: Path, tmp_path: Path) -> None:
    with started(tiny, tmp_path / "log") as server:
        seen: list[int] = []

        def is_ready() -> bool:
            try:
                answer = server.call("GET", "/v2/health/ready")
            except OSError:
                return False
            seen.append(answer.status)
            if answer.status != 200:
                assert answer.error == "the model is still loading"
            return answer.status == 200

        eventually(is_ready, START_S)
        assert set(seen) <= {503, 200}
        assert server.call("POST", "/infer", png(20, 20)).status == 200
        assert "is ready" in server.log


def test_request_before_readiness_waits_and_is_answered(tiny: Path, tmp_path: Path) -> None:
    """Who wakes the service is answered, not refused: the connection is taken before the model is loaded."""
    with started(tiny, tmp_path / "log") as server:

        def is_listening() -> bool:
            try:
                socket.create_connection((HOST, server.port), timeout=1).close()
            except OSError:
                return False
            return True

        eventually(is_listening, START_S)
        assert server.call("POST", "/infer", png(20, 20)).status == 200


def test_second_start_is_as_good_as_the_first(tiny: Path, tmp_path: Path) -> None:
    before = {each.name: each.stat().st_mtime_ns for each in tiny.iterdir()}
    for start in range(2):
        with serving(tiny, tmp_path / f"{start}.log") as server:
            assert server.call("POST", "/infer", png(20, 20)).status == 200
            assert server.stop() == 0
    assert {each.name: each.stat().st_mtime_ns for each in tiny.iterdir()} == before


def _client(server: Server, seed: int, begun: threading.Barrier, stopping: threading.Event) -> int:
    """Requests, each on a connection of its own, until none is taken; every one that was taken is answered rightly."""
    picture = png(200, 150, seed)
    wanted = eager.labels(picture, 1)[0][0]
    answered = 0
    while True:
        with closing(server.connect()) as connection:
            try:
                connection.connect()
            except (ConnectionRefusedError, ConnectionResetError):
                assert stopping.is_set()
                return answered
            answer = ask(connection, "POST", "/infer?top=1", picture)
        assert answer.status == 200, answer.body
        assert answer.json["labels"][0]["label"] == wanted
        answered += 1
        if answered == 3:
            begun.wait()


def test_sigterm_under_load_finishes_every_accepted_request(tiny: Path, tmp_path: Path) -> None:
    with serving(tiny, tmp_path / "log") as server:
        begun, stopping = threading.Barrier(CLIENTS + 1, timeout=60), threading.Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(_client, server, seed, begun, stopping) for seed in range(CLIENTS)]
            begun.wait()
            stopping.set()
            code = server.stop()
            answered = [each.result() for each in clients]
        assert code == 0, server.log
        assert min(answered) >= 3
        assert "Traceback" not in server.log


def test_closing_door_lets_nobody_begin_to_connect_and_keeps_who_has() -> None:
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()
        early = socket.create_connection(address, timeout=5)
        assert refuse_new_connections(listener)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        accepted, _ = listener.accept()
        with early, accepted:
            early.sendall(b"asked")
            assert accepted.recv(5) == b"asked"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_sigterm_lets_a_request_in_flight_finish_on_a_kept_connection(tiny: Path, tmp_path: Path) -> None:
    body = json.dumps({"instances": [[[[0, 0, 0]] * 16] * 16]}).encode()
    with serving(tiny, tmp_path / "log") as server, closing(server.connect()) as connection:
        assert ask(connection, "POST", "/v1/models/tiny:predict", body).status == 200
        connection.putrequest("POST", "/v1/models/tiny:predict")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:100])
        server.process.terminate()
        eventually(lambda: _is_refused(server), START_S)
        connection.send(body[100:])
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read()).keys() == {"predictions"}
        assert server.stop() == 0


def _is_refused(server: Server) -> bool:
    try:
        socket.create_connection((HOST, server.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_callers_who_do_not_close_hold_up_nobody(tiny_aoti: Path, tmp_path: Path) -> None:
    """gunicorn gives each 2 s to close, one after the other, and accepts nobody meanwhile."""
    asked = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with serving(tiny_aoti, tmp_path / "log") as server, ExitStack() as stack:
        before = time.monotonic()
        for _ in range(CLIENTS):
            caller = stack.enter_context(socket.create_connection((HOST, server.port), timeout=60))
            caller.sendall(asked)
            assert caller.recv(65536).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - before < CLIENTS
        assert server.stop() == 0
