"""`python -m tests.benchmark.zoo [NAME...]`: torchvision's classifiers with random weights, as a table in Markdown.

For each: whether it runs without libtorch and why, how far it is from eager PyTorch, the CPU time of its forward by that of
eager and of ONNX Runtime on one thread each, and its size. Rows that were measured are kept in a file, and skipped the next time.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmark import machine

SMALLEST = (
    "squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "mnasnet0_5", "resnet18", "vit_b_32", "mobilenet_v2",
    "alexnet", "regnet_x_400mf", "regnet_y_400mf", "efficientnet_b0", "googlenet", "swin_t", "densenet121", "vgg11",
    "resnext50_32x4d", "convnext_tiny", "wide_resnet50_2", "inception_v3", "efficientnet_v2_s", "swin_v2_t", "maxvit_t",
)  # fmt: skip
"""The smallest of each family, the quickest to export first."""
HEADER = (
    "model", "libtorch", "why", "difference from eager, aoti · onnx", "CPU of a forward, aoti by eager", "by ONNX Runtime",
    "MB, aoti · onnx",
)  # fmt: skip
SIDE = (sys.executable, "-m", "tests.benchmark.sides.zoo_model")

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the smallest of each family")
    parser.add_argument("--all", action="store_true", help="all of them, which takes hours")
    parser.add_argument("--results", type=Path, default=Path("build/bench/zoo.json"), metavar="FILE")
    parser.add_argument("--limit", type=float, default=360.0, metavar="S", help="the longest export (360)")
    told = parser.parse_args()
    told.results.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Row] = json.loads(told.results.read_text()) if told.results.exists() else {}
    names = told.names or (_every() if told.all else SMALLEST)
    for number, name in enumerate(names, 1):
        if name not in rows:
            print(f"==> {number}/{len(names)} {name}", file=sys.stderr, flush=True)
            rows[name] = _measure(name, told.limit)
            told.results.write_text(json.dumps(rows, indent=1) + "\n")
    hardware = machine.describe()
    print(f"{hardware['cpu']}, {hardware['cpus']} CPUs; {hardware['date']}; {hardware['versions']}\n")
    print(markdown({name: rows[name] for name in names}))
    return 0


def _every() -> list[str]:
    from model.catalog import torchvision

    models = torchvision().models
    return list(models.list_models(module=models))


def _measure(name: str, limit_s: float) -> Row:
    """The row of one model; what failed is in it as `fault`."""
    with tempfile.TemporaryDirectory() as folder:
        row: Row = {"weights": _asked(limit_s, "weights", name, folder)}
        row |= {engine: _asked(limit_s, "export", name, engine, folder) for engine in ("aoti", "onnx")}
        return row | {"compared": _asked(limit_s, "compare", name, folder)}


def _asked(limit_s: float, *arguments: str) -> Row:
    """What a process of its own prints; its progress is shown as it comes."""
    start = time.monotonic()
    process = subprocess.Popen([*SIDE, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        # With the compilers that it started.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"fault": f"takes longer than {limit_s:.0f} s"}
    found: Row = json.loads(out.splitlines()[-1]) if out else {"fault": f"its process ended with {process.returncode}"}
    return found | {"seconds": round(time.monotonic() - start)}


def markdown(rows: dict[str, Row]) -> str:
    lines = [HEADER, ("---",) * len(HEADER), *(cells(name, row) for name, row in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(name: str, row: Row) -> tuple[str, ...]:
    """One line of the table: a dash for what could not be measured."""
    needs = {"standalone": "no", "libtorch": "yes"}.get(row["aoti"].get("runtime", ""), "-")
    compared = row["compared"]
    found = [compared.get("differences", {}).get(each) for each in ("aoti", "onnx")]
    differences = ["-" if value is None or isnan(value) else f"{value:.0e}" if value else "0" for value in found]
    sizes = [f"{row[each]['size'] / 1e6:.1f}" if "size" in row[each] else "-" for each in ("aoti", "onnx")]
    rounds = compared.get("rounds", [])
    return name, needs, _why(row), " · ".join(differences), _by(rounds, "eager"), _by(rounds, "onnx"), " · ".join(sizes)


def _why(row: Row) -> str:
    """The reason for the runtime, and each failure."""
    faults = [f"{part}: {row[part]['fault']}" for part in row if "fault" in row[part]]
    return "; ".join((*([row["aoti"]["why"]] if "why" in row["aoti"] else []), *faults)).replace("|", "\\|")


def _by(rounds: Sequence[dict[str, float]], other: str) -> str:
    ratios = [each["aoti"] / each[other] for each in rounds if "aoti" in each and other in each]
    return f"{median(ratios):.2f}" if ratios else "-"


if __name__ == "__main__":
    sys.exit(main())
