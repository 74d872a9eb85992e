"""wrk, a load generator in C: one thread, so that the cores stay with the server."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark.photo import Body

SCRIPT = Path(__file__).parent / "post.lua"


class LoadError(Exception):
    """No load could be generated."""


@dataclass(frozen=True)
class Load:
    """One run. `failed` responses had a status over 399, or never came; `cpu_ms` is the server's, for one request."""

    concurrency: int
    per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_ms: float = 0.0


def check() -> None:
    """Raise LoadError where wrk is not installed."""
    if not shutil.which("wrk"):
        raise LoadError("wrk is missing: apt-get install wrk")


def post(url: str, body: Body, concurrency: int, seconds: float, host: str = "") -> Load:
    """Post `body` over `concurrency` connections for `seconds`, each one's next request right after its answer.

    Args:
        host: of the Host header, where it is not that of the URL.

    Raises:
        LoadError: with what wrk said.
    """
    duration = f"{max(1, round(seconds))}s"
    # Longer than any answer takes at concurrency 32: a request that wrk gives up is not in its percentiles.
    command = ["wrk", "--threads", "1", "--connections", str(concurrency), "--duration", duration, "--timeout", "60s"]
    headers = (*body.headers, *([f"Host: {host}"] if host else []))
    command += [argument for each in headers for argument in ("--header", each)]
    command += ["--latency", "--script", str(SCRIPT), url, "--", str(body.path), body.content_type]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    said = json.loads(done.stdout.splitlines()[-1])
    served = said["requests"] - said["refused"]
    failed = said["refused"] + said["broken"]
    return Load(concurrency, round(served / said["seconds"], 2), said["p50_ms"], said["p99_ms"], failed)
