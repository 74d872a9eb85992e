"""What `make bench` and `make bench-cluster` are asked for, and what that needs.

`python -m tests.benchmark.arguments bench|bench-cluster ARGUMENTS` is the check of .ci/need: it comes before anything is
set up, so it works with any Python and its standard library.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NEED = Path(__file__).parents[2] / ".ci" / "need"


@dataclass(frozen=True)
class Parts:
    """The parts of one of the two, in their order; those `apart` run only when they are named."""

    usual: tuple[str, ...]
    apart: tuple[str, ...]
    always: tuple[str, ...]
    needs: dict[str, tuple[str, ...]]

    def wanted(self, only: str | None) -> tuple[str, ...]:
        return (only,) if only else self.usual

    def tools(self, only: str | None) -> list[str]:
        """What .ci/need is to look for."""
        needed = (tool for part in self.wanted(only) for tool in self.needs.get(part, ()))
        return list(dict.fromkeys((*self.always, *needed)))


BENCH = Parts(
    usual=("start", "throughput", "forward", "lambda", "slow"),
    apart=("docker", "perf-analyzer"),
    always=(),
    needs={"throughput": ("wrk",), "slow": ("wrk",), "docker": ("wrk", "docker"), "perf-analyzer": ("wrk",)},
)
CLUSTER = Parts(
    usual=("cold", "scale", "warm", "later", "size"),
    apart=("places",),
    always=("docker", "kind", "kubectl", "cluster"),
    needs={"warm": ("wrk",)},
)


def bench(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark")
    _add_usual(parser, BENCH, "starts of each side (9)", 5.0)
    told = parser.parse_args(arguments)
    told.rounds = told.rounds or (2 if told.quick else 9)
    told.load_rounds, told.forward_rounds = (1, 1) if told.quick else (3, 5)
    told.seconds = min(told.seconds, 3.0) if told.quick else told.seconds
    return told


def cluster(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.cluster")
    _add_usual(parser, CLUSTER, "cold requests to each side (15)", 10.0)
    parser.add_argument(
        "--variants", action="store_true", help="Kindling's settings against others, in the same rounds"
    )
    parser.add_argument(
        "--without-eager", action="store_true", help="spare the tutorial's image: several GB with PyTorch's CUDA build"
    )
    told = parser.parse_args(arguments)
    told.rounds = told.rounds or (2 if told.quick else 15)
    told.scale_rounds, told.load_rounds = (1, 1) if told.quick else (5, 3)
    told.seconds = min(told.seconds, 3.0) if told.quick else told.seconds
    return told


def _add_usual(parser: argparse.ArgumentParser, parts: Parts, rounds: str, seconds: float) -> None:
    choices, apart = (*parts.usual, *parts.apart), " and ".join(parts.apart)
    parser.add_argument("--only", choices=choices, help=f"one part; only so: {apart}")
    parser.add_argument("--rounds", type=int, metavar="N", help=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, metavar="S", help=f"each load takes ({seconds:g})")
    parser.add_argument("--quick", action="store_true", help="one or two short rounds: to see that it works")


def main() -> None:
    which, *arguments = sys.argv[1:]
    parse, parts = (bench, BENCH) if which == "bench" else (cluster, CLUSTER)
    os.execv(NEED, [str(NEED), *parts.tools(parse(arguments).only)])


if __name__ == "__main__":
    main()
