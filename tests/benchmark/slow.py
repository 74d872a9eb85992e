"""Part 6: photos of 8 clients beside 500 connections that hardly send, and how long the liveness probe waits meanwhile."""

import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark import load
from tests.benchmark.lineup import Places, ours, services
from tests.benchmark.load import Load
from tests.benchmark.process import Running, SideError, running
from tests.benchmark.throughput import WARM_UP_S

ENGINE = "aoti"
CONCURRENCY = 8
CONNECTIONS = 500
# Headers and 1 KB of a body that never ends, then a byte every 5 s: as a phone does that has lost its signal.
HEAD = b"POST /infer HTTP/1.1\r\nHost: slow\r\nContent-Type: image/jpeg\r\nContent-Length: 9500000\r\n\r\n" + bytes(
    1024
)
PAUSE_S = 5.0
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
LIVE_PAUSE_S, LIVE_DEADLINE_S = 0.2, 60.0


@dataclass(frozen=True)
class Slowed:
    """One round. `live_ms` is the longest that the probe waited beside the slow; `cut` of those were ended meanwhile."""

    alone: Load
    beside: Load
    live_ms: float
    cut: int


def measure(places: Places, logs: Path, rounds: int, seconds: float) -> list[Slowed]:
    """Each round alone and beside the slow, in turn first.

    Raises:
        SideError: the service did not answer.
    """
    (side,) = (each for each in services(places) if each.name == ours(ENGINE))
    found = []
    with running(side, logs) as server:
        server.wait_for_answer()
        load.post(server.url, places.jpeg, CONCURRENCY, WARM_UP_S)
        for number in range(rounds):
            alone = None if number % 2 else load.post(server.url, places.jpeg, CONCURRENCY, seconds)
            with _slow(server) as slow, _probing(server) as waits_ms:
                beside = load.post(server.url, places.jpeg, CONCURRENCY, seconds)
            alone = alone or load.post(server.url, places.jpeg, CONCURRENCY, seconds)
            if not waits_ms:
                raise SideError("the liveness probe was not answered once")
            found.append(Slowed(alone, beside, round(max(waits_ms), 1), CONNECTIONS - len(slow)))
            told = f"{beside.per_s:.1f}/s beside them, {alone.per_s:.1f}/s alone, live within {max(waits_ms):.0f} ms"
            print(f"  slow {number + 1}/{rounds}: {told}", file=sys.stderr, flush=True)
    return found


@contextmanager
def _slow(server: Running) -> Iterator[set[socket.socket]]:
    """The slow connections that are still open, each of which sends a byte now and then."""
    over = threading.Event()
    with ExitStack() as stack:
        sockets = {
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(CONNECTIONS)
        }
        for each in sockets:
            each.sendall(HEAD)
        trickling = threading.Thread(target=_trickle, args=(sockets, over))
        trickling.start()
        try:
            yield sockets
        finally:
            over.set()
            trickling.join()


def _trickle(sockets: set[socket.socket], over: threading.Event) -> None:
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        while not over.wait(PAUSE_S):
            # One that can be read was answered, and is of no more use.
            for key, _ in selector.select(0):
                selector.unregister(key.fileobj)
                sockets.discard(key.fileobj)
            for each in sockets:
                each.send(b"\0")


@contextmanager
def _probing(server: Running) -> Iterator[list[float]]:
    """How long each probe waited, in milliseconds; one that is not answered waited until its deadline."""
    over, waits_ms = threading.Event(), list[float]()

    def probe() -> None:
        while not over.wait(LIVE_PAUSE_S):
            began = time.perf_counter()
            with socket.create_connection(("127.0.0.1", server.port), timeout=LIVE_DEADLINE_S) as connection:
                connection.sendall(LIVE)
                with suppress(TimeoutError):
                    connection.recv(1024)
                waits_ms.append((time.perf_counter() - began) * 1e3)

    probing = threading.Thread(target=probe)
    probing.start()
    try:
        yield waits_ms
    finally:
        over.set()
        probing.join()
