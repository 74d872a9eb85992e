"""`python -m tests.benchmark`, called by `make bench`: every part in turn, then table, JSON and picture."""

import argparse
import json
import sys
from pathlib import Path

from model.artifact import Artifact, ArtifactError
from tests.benchmark import (
    environments,
    forward,
    limits,
    load,
    machine,
    on_lambda,
    perf_analyzer,
    photo,
    picture,
    report,
    slow,
    start,
    throughput,
)
from tests.benchmark.arguments import BENCH
from tests.benchmark.arguments import bench as parse_arguments
from tests.benchmark.figures import Samples, ratios
from tests.benchmark.lineup import ENGINES, Places, services
from tests.benchmark.made import MakeError
from tests.benchmark.process import SideError


def main() -> int:
    arguments = parse_arguments()
    folder, samples = Path("build/bench"), Samples()
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    before = machine.cpu_ticks()
    try:
        places = _places(folder, arguments.only, samples.missing)
        _measure(samples, places, logs, arguments)
    except (ArtifactError, SideError, load.LoadError, MakeError, RuntimeError) as fault:
        print(f"benchmark stopped: {fault}", file=sys.stderr)
        return 1
    every, stolen = (now - then for now, then in zip(machine.cpu_ticks(), before, strict=True))
    described = machine.describe() | {"stolen": round(stolen / max(1, every), 3)}
    found = ratios(samples)
    results = folder / "results.json"
    results.write_text(json.dumps(report.as_json(samples, found, described), indent=1) + "\n")
    picture.draw(samples, results.with_suffix(".png"))
    print(report.text(samples, found, described))
    print(f"\n{results}, {results.with_suffix('.png')}")
    return 0


def _places(folder: Path, only: str | None, missing: list[str]) -> Places:
    artifacts = {engine: Path(f"build/efficientnet_lite0-{engine}-fp32") for engine in ENGINES}
    for path in artifacts.values():
        Artifact.read(path)
    pythons = {}
    if only in (None, "throughput", "slow", *BENCH.apart):
        load.check()
    if only in (None, "throughput"):
        pythons = environments.install(folder, missing)
    jpeg, wrapped = photo.make(folder)
    return Places(artifacts, jpeg, wrapped, pythons)


def _measure(samples: Samples, places: Places, logs: Path, arguments: argparse.Namespace) -> None:
    wanted = BENCH.wanted(arguments.only)
    for number, part in enumerate(wanted, 1):
        print(f"==> {number}/{len(wanted)} {part}", file=sys.stderr, flush=True)
        if part == "start":
            samples.start = start.measure(services(places), logs, arguments.rounds)
        elif part == "throughput":
            samples.served = throughput.measure(places, logs, arguments.load_rounds, arguments.seconds, samples.missing)
        elif part == "forward":
            samples.forward = forward.measure(places, arguments.forward_rounds)
        elif part == "slow":
            samples.slowed = slow.measure(places, logs, arguments.load_rounds, arguments.seconds)
        elif part == "docker":
            samples.limited = limits.measure(places, arguments.load_rounds, arguments.seconds)
        elif part == "perf-analyzer":
            samples.analyzed = perf_analyzer.measure(places, logs.parent, arguments.load_rounds, arguments.seconds)
        else:
            samples.woken = on_lambda.measure(places, logs, arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
