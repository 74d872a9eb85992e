"""The real service: `python -m service` in a process of its own, and a client for it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.datastructures import Headers

from tests.support.eventually import eventually

ROOT = Path(__file__).parent.parent.parent
HOST = "127.0.0.1"
SERVICE = (sys.executable, "-m", "service")
START_S = 60.0
STOP_S = 60.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message, of an answer in the one form that every error has."""
        assert len(self.body) <= 768
        (message,) = self.json.values()
        assert self.json == {"error": message}
        assert isinstance(message, str)
        return message


@dataclass(frozen=True)
class Server:
    process: "subprocess.Popen[bytes]"
    port: int
    log_file: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def worker_pid(self) -> int:
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(HOST, self.port, timeout=60)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own; a dict as `body` is sent as JSON."""
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        with closing(self.connect()) as connection:
            return ask(connection, method, path, raw, headers)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"the service ended: {self.log}"
        try:
            return self.call("GET", "/v2/health/ready").status == 200
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    return Answer(response.status, Headers(response.getheaders()), response.read())


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment(artifact: Path, port: int, settings: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the tests' own settings reaches the service."""
    return {"PATH": os.environ["PATH"], "MODEL_DIR": str(artifact), "PORT": str(port), **settings}


@contextmanager
def started(artifact: Path, log_file: Path, command: Sequence[str] = SERVICE, **settings: str) -> Iterator[Server]:
    """The service, as soon as its process is there; stopped by its own id at the end."""
    port = free_port()
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(artifact, port, settings),
            stderr=log,
            stdout=log,
        )
    server = Server(process, port, log_file)
    try:
        yield server
    finally:
        try:
            server.stop()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def serving(artifact: Path, log_file: Path, command: Sequence[str] = SERVICE, **settings: str) -> Iterator[Server]:
    """The service, once it says that it is ready."""
    with started(artifact, log_file, command, **settings) as server:
        eventually(server.is_ready, START_S, "ready")
        yield server
