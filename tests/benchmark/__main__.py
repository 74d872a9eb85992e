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
    photo,
    picture,
    report,
    start,
    throughput,
)
from tests.benchmark.figures import Samples, ratios
from tests.benchmark.lineup import ENGINES, Places
from tests.benchmark.process import SideError

PARTS = ("start", "throughput", "forward", "lambda")
# Of the images, which `make image` builds: only when it is asked for.
DOCKER = "docker"


def main() -> int:
    arguments = _arguments()
    folder, samples = Path("build/bench"), Samples()
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    before = machine.cpu_ticks()
    try:
        places = _places(folder, arguments.only, samples.missing)
        _measure(samples, places, logs, arguments)
    except (ArtifactError, SideError, load.LoadError, RuntimeError) as fault:
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--only", choices=(*PARTS, DOCKER), help="one part; docker is none of the others")
    parser.add_argument("--rounds", type=int, metavar="N", help="starts of each side (9)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="each load takes (5)")
    parser.add_argument("--quick", action="store_true", help="one short round of everything: to see that it works")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 9)
    arguments.load_rounds, arguments.forward_rounds = (1, 1) if arguments.quick else (3, 5)
    arguments.seconds = min(arguments.seconds, 3.0) if arguments.quick else arguments.seconds
    return arguments


def _places(folder: Path, only: str | None, missing: list[str]) -> Places:
    artifacts = {engine: Path(f"build/efficientnet_lite0-{engine}-fp32") for engine in ENGINES}
    for path in artifacts.values():
        Artifact.read(path)
    pythons = {}
    if only in (None, "throughput", DOCKER):
        load.check()
    if only in (None, "throughput"):
        pythons = environments.install(folder, missing)
    jpeg, wrapped = photo.make(folder)
    return Places(artifacts, jpeg, wrapped, pythons)


def _measure(samples: Samples, places: Places, logs: Path, arguments: argparse.Namespace) -> None:
    wanted = [arguments.only] if arguments.only else list(PARTS)
    for number, part in enumerate(wanted, 1):
        print(f"==> {number}/{len(wanted)} {part}", file=sys.stderr, flush=True)
        if part == "start":
            samples.start = start.measure(places, logs, arguments.rounds)
        elif part == "throughput":
            samples.served = throughput.measure(places, logs, arguments.load_rounds, arguments.seconds, samples.missing)
        elif part == "forward":
            samples.forward = forward.measure(places, arguments.forward_rounds)
        elif part == DOCKER:
            samples.limited = limits.measure(places, arguments.load_rounds, arguments.seconds)
        else:
            samples.woken = on_lambda.measure(places, logs, arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
