"""`python -m tests.benchmark.cluster`, called by `make bench-cluster`: every part, then table, JSON, picture."""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from tests.benchmark import load, machine, photo
from tests.benchmark.arguments import CLUSTER
from tests.benchmark.arguments import cluster as parse_arguments
from tests.benchmark.cluster import cold, environment, images, later, lineup, picture, places, report, scale, warm
from tests.benchmark.cluster.environment import BenchmarkError
from tests.benchmark.cluster.figures import Samples, ratios
from tests.benchmark.cluster.lineup import Side
from tests.benchmark.lineup import EAGER
from tests.benchmark.load import LoadError
from tests.benchmark.made import MakeError
from tests.cluster.asynchronous import deployed
from tests.cluster.knative import own_namespace


def main() -> int:
    arguments = parse_arguments()
    # The namespace goes away with the process, whoever ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder, samples = Path("build/bench"), Samples()
    folder.mkdir(parents=True, exist_ok=True)
    before, stopped = machine.cpu_ticks(), False
    try:
        _measure(samples, folder, arguments)
    except (BenchmarkError, LoadError, MakeError) as fault:
        print(f"benchmark stopped: {fault}", file=sys.stderr)
        stopped = True
    if not stopped or samples.cold or samples.scale or samples.later or samples.places:
        every, stolen = (now - then for now, then in zip(machine.cpu_ticks(), before, strict=True))
        _report(samples, folder, machine.describe() | {"stolen": round(stolen / max(1, every), 3)})
    return int(stopped)


def _report(samples: Samples, folder: Path, described: dict[str, Any]) -> None:
    found = ratios(samples)
    results, drawn = folder / "cluster.json", folder / "cold-start.svg"
    results.write_text(json.dumps(report.as_json(samples, found, described), indent=1) + "\n")
    picture.draw(samples, drawn)
    print(report.text(samples, found, described))
    print(f"\n{results}" + (f", {drawn}" if samples.cold else ""))


def _measure(samples: Samples, folder: Path, arguments: argparse.Namespace) -> None:
    wanted = CLUSTER.wanted(arguments.only)
    api = environment.connect()
    if "warm" in wanted:
        load.check()
    jpeg, _ = photo.make(folder)
    sides = [each for each in lineup.sides(jpeg) if each.name != EAGER or not arguments.without_eager]
    names = images.prepare([each.image for each in sides])
    if arguments.variants:
        sides += lineup.variants(jpeg)
    with own_namespace(api, "kindling-bench") as cluster:
        for number, part in enumerate(wanted, 1):
            print(f"==> {number}/{len(wanted)} {part}", file=sys.stderr, flush=True)
            if part == "size":
                samples.size = {each: images.weigh(each) for each in names}
            elif part == "later":
                with deployed(api, names[sides[0].image], jpeg.read(), lineup.one_pod) as kindling:
                    samples.later = later.measure(
                        kindling, jpeg, arguments.load_rounds, arguments.seconds, samples.missing
                    )
            elif part == "places":
                samples.places = places.measure(
                    cold.Place(cluster, names), sides[0], arguments.scale_rounds, folder / "logs", samples.missing
                )
            else:
                _on_cluster(part, samples, cold.Place(cluster, names), sides, arguments)


def _on_cluster(
    part: str, samples: Samples, place: cold.Place, sides: list[Side], arguments: argparse.Namespace
) -> None:
    if part == "cold":
        deployed = cold.deploy(place, sides)
        samples.cold = cold.measure(deployed, arguments.rounds, samples.missing)
    elif part == "scale":
        (ours,) = cold.deploy(place, sides[:1])
        samples.scale = scale.measure(ours, arguments.scale_rounds, samples.missing)
    else:
        predicting = [each.kept_at_one_pod() for each in sides if each.body and not each.change]
        deployed = cold.deploy(place, predicting)
        samples.warm = warm.measure(deployed, arguments.load_rounds, arguments.seconds, samples.missing)


if __name__ == "__main__":
    sys.exit(main())
