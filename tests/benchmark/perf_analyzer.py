"""Part 7, only by `--only perf-analyzer`: Triton's load generator and wrk send the same tensor, in turn; both should agree.

perf_analyzer sends it by REST and by gRPC.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from model.artifact import Artifact
from tests.benchmark import load
from tests.benchmark.lineup import Places, ours, services
from tests.benchmark.load import Load
from tests.benchmark.photo import Body
from tests.benchmark.process import Running, running
from tests.benchmark.throughput import WARM_UP_S
from tests.support.perf_analyzer import PerfAnalyzer, install

ENGINE = "aoti"
CONCURRENCIES = (1, 2, 4, 8)
# It reports the mean of three windows; any spread of them counts as stable.
WINDOWS = 3
SERVER_SIDE = {"queue": "Server Queue", "decode": "Server Compute Input", "run": "Server Compute Infer", "encode": "Server Compute Output"}  # fmt: skip


@dataclass(frozen=True)
class Analyzed:
    """One round at one concurrency: perf_analyzer by REST and by gRPC, and wrk; `phases_ms` is the server's side of perf_analyzer's report."""

    theirs: Load
    grpc: Load
    ours: Load
    phases_ms: dict[str, float]


def measure(places: Places, folder: Path, rounds: int, seconds: float) -> list[Analyzed]:
    """Each round at every concurrency, either first in turn.

    Raises:
        RuntimeError: perf_analyzer cannot be installed, or fails.
        SideError: the service did not answer.
    """
    program = install(folder / "perf_analyzer")
    (side,) = (each for each in services(places) if each.name == ours(ENGINE))
    artifact = Artifact.read(places.artifacts[ENGINE])
    given, body = _tensor(folder / "tensor", artifact)
    found = []
    with running(side, folder / "logs") as server:
        server.wait_for_answer()
        url = f"http://127.0.0.1:{server.port}/v2/models/{artifact.name}/infer"
        load.post(url, body, max(CONCURRENCIES), WARM_UP_S)
        for number in range(rounds):
            for concurrency in CONCURRENCIES:
                mine = None if number % 2 else load.post(url, body, concurrency, seconds)
                theirs, phases_ms = _analyze(program, server, given, ("http", concurrency, seconds))
                grpc, _ = _analyze(program, server, given, ("grpc", concurrency, seconds))
                mine = mine or load.post(url, body, concurrency, seconds)
                found.append(Analyzed(theirs, grpc, mine, phases_ms))
                told = f"{theirs.per_s:.1f}/s by perf_analyzer, {grpc.per_s:.1f}/s by gRPC, {mine.per_s:.1f}/s by wrk"
                print(f"  perf-analyzer {number + 1}/{rounds} at {concurrency}: {told}", file=sys.stderr, flush=True)
    return found


def _tensor(folder: Path, artifact: Artifact) -> tuple[Path, Body]:
    """One item of noise: as perf_analyzer reads it, and as the body that it makes of it."""
    given = folder / "given"
    given.mkdir(parents=True, exist_ok=True)
    (spec,), (output,) = artifact.inputs, artifact.outputs
    numbers = os.urandom(spec.item_bytes)
    (given / spec.name).write_bytes(numbers)
    asked = {
        "inputs": [
            {
                "name": spec.name,
                "shape": [1, *spec.shape],
                "datatype": spec.datatype,
                "parameters": {"binary_data_size": len(numbers)},
            }
        ],
        "outputs": [{"name": output.name, "parameters": {"binary_data": True}}],
    }
    header = json.dumps(asked).encode()
    (folder / "body").write_bytes(header + numbers)
    told = (f"Inference-Header-Content-Length: {len(header)}",)
    return given, Body(folder / "body", "application/octet-stream", told)


def _analyze(
    program: PerfAnalyzer, server: Running, given: Path, how: tuple[str, int, float]
) -> tuple[Load, dict[str, float]]:
    """Its report on one `how`: protocol, concurrency, seconds."""
    protocol, concurrency, seconds = how
    options = ["--concurrency-range", str(concurrency), "--input-data", str(given), "--stability-percentage", "999"]
    options += [
        "-i",
        protocol,
        "--measurement-interval",
        str(round(seconds / WINDOWS * 1e3)),
        "--max-trials",
        str(WINDOWS),
    ]
    artifact = Artifact.read(Path(server.side.environ["MODEL_DIR"]))
    row = program.run(artifact.name, f"127.0.0.1:{server.port}", given.parent, *options).row(concurrency)
    found = Load(concurrency, row["Inferences/Second"], row["p50 latency"] / 1e3, row["p99 latency"] / 1e3, 0)
    return found, {phase: row[column] / 1e3 for phase, column in SERVER_SIDE.items()}
