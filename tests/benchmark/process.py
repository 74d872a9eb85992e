"""One side as a process: started, asked by a raw socket, weighed, stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark.lineup import Side

POLL_S = 0.002
START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 20.0
MARK = re.compile(r"(\w+) (\d+) ms")


class SideError(Exception):
    """A side did not start, or did not answer as it should."""


@dataclass(frozen=True)
class Memory:
    """Of a process and all its descendants.

    PSS counts a page that they share once, which RSS does not; but it also falls when others map the same libraries.
    """

    pss_mb: float
    rss_mb: float


@dataclass(frozen=True)
class Running:
    """A side that was started, at `spawned_s` on the clock of `time.perf_counter`."""

    side: Side
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    spawned_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.side.path}"

    def ask(self) -> bool:
        """One request: whether the answer was correct. False also while nobody listens."""
        body = self.side.body.read() if self.side.body else b""
        with suppress(OSError):
            return self.side.is_correct(_exchange(self.port, self.side, body))
        return False

    def wait_for_answer(self) -> float:
        """Milliseconds from spawn to the first correct answer.

        Raises:
            SideError: there was none.
        """
        while not self.ask():
            if self.process.poll() is not None or time.perf_counter() - self.spawned_s > START_DEADLINE_S:
                raise SideError(f"{self.side.name} gave no correct answer: {self.last_words()}")
            time.sleep(POLL_S)
        return (time.perf_counter() - self.spawned_s) * 1e3

    def phases_ms(self) -> dict[str, float]:
        """The marks that the side wrote to its log, each in milliseconds since its process began."""
        for line in self.log.read_text(errors="replace").splitlines():
            _, found, marks = line.partition("since process start: ")
            if found:
                return {phase: float(ms) for phase, ms in MARK.findall(marks)}
        return {}

    def cpu_s(self) -> float:
        """CPU time used so far by the process and its descendants."""
        ticks = 0
        for each in _tree(self.process.pid):
            with suppress(OSError):
                ticks += sum(int(part) for part in _stat(each)[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> Memory:
        return memory(self.process.pid)

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1].strip()} ({self.log})" if lines else f"it said nothing ({self.log})"


@contextmanager
def running(side: Side, logs: Path) -> Iterator[Running]:
    """The side as a process group of its own, which is gone afterwards."""
    port, log = _free_port(), logs / f"{side.name.replace(' ', '-')}.log"
    command = [part.format(port=port) for part in side.command]
    environ = {**os.environ, **side.environ, "PORT": str(port)}
    # An image has the byte code of all files; here the first start writes it, which is not counted.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with log.open("wb") as output:
        spawned_s = time.perf_counter()
        process = subprocess.Popen(
            command, env=environ, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield Running(side, process, port, log, spawned_s)
    finally:
        _stop(process)


def memory(pid: int | None = None) -> Memory:
    """What the process (this one by default) and its descendants hold."""
    pss = rss = 0
    for each in _tree(pid or os.getpid()):
        with suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                pss += int(rest.split()[0]) if name == "Pss" else 0
                rss += int(rest.split()[0]) if name == "Rss" else 0
    return Memory(round(pss / 1024, 1), round(rss / 1024, 1))


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parent = int(_stat(int(folder.name))[1])
                children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on: state, parent, ...; user and system time are at 11 and 12."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _exchange(port: int, side: Side, body: bytes) -> bytes:
    """The body of a 200, else nothing."""
    kind = f"Content-Type: {side.body.content_type}\r\nContent-Length: {len(body)}\r\n" if side.body else ""
    method = "POST" if side.body else "GET"
    head = f"{method} {side.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{kind}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=START_DEADLINE_S) as connection:
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head_bytes, _, content = answer.partition(b"\r\n\r\n")
    return content if head_bytes.split(b" ")[1:2] == [b"200"] else b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process; to its group SIGKILL, if anything is left of it."""
    process.terminate()
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        print(f"    process {process.pid} did not stop in {STOP_DEADLINE_S:.0f} s: killed", file=sys.stderr)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
