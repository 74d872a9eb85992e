"""`python -m tests.benchmark.vectors [MODEL...]`: what AOTInductor's vector code gains over its scalar code.

Each model is compiled both ways, once, into `--folder`; then processes without torch that alternate run either.
"""

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from model import catalog, cpus, parity
from model.artifact import Artifact, Defaults, Program, TensorSpec
from model.catalog import Model
from model.contract import DATATYPES, Tensors, ready
from model.lower import Target, lower_aoti
from model.measure import measure
from model.progress import step
from service.runtime.engine.interface import Plan
from tests.benchmark import machine

SIDES = ("scalar", "vector")
# Layer norm, GELU and softmax and nothing else; and the default model, whose convolutions are oneDNN's either way.
MODELS = ("tests/support/models.py:smooth", catalog.DEFAULT)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.vectors", description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help="as `python -m model export` takes")
    parser.add_argument("--folder", type=Path, default=Path("build/bench/vectors"), help="for what is compiled")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="processes of each side (5)")
    arguments = parser.parse_args()
    print(f"on {machine.describe()}")
    for name in arguments.models:
        _compare(name, arguments.folder, arguments.rounds)
    return 0


def _compare(name: str, folder: Path, rounds: int) -> None:
    model = ready(catalog.load(name))
    reference = parity.reference(model)
    places = {side: folder / f"{model.name}-{side}" for side in SIDES}
    for side, place in places.items():
        if not (place / "artifact.json").is_file():
            with step(f"compile {model.name}, {side}"):
                _compile(model, place, reference, side)
    run_ms: dict[str, list[float]] = {side: [] for side in SIDES}
    differences = {}
    for number in range(rounds):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            report = measure(places[side], Plan(runners=1, threads=1, max_batch_size=1), reference.questions)
            run_ms[side].append(report.run_ms)
            differences[side] = parity.check(Artifact.read(places[side]), report.answers, reference)
        print(
            f"  {model.name} {number + 1}/{rounds}: {_told({side: ms[-1] for side, ms in run_ms.items()})}", flush=True
        )
    paired = statistics.median(one / other for one, other in zip(run_ms["vector"], run_ms["scalar"], strict=True))
    print(f"{model.name}: median {_told({side: statistics.median(ms) for side, ms in run_ms.items()})}", end="; ")
    print(
        f"vector / scalar {paired:.2f}, of the best rounds {min(run_ms['vector']) / min(run_ms['scalar']):.2f}",
        end="; ",
    )
    print(f"from eager PyTorch {max(differences.values()):.1g} at most")


def _told(run_ms: dict[str, float]) -> str:
    return ", ".join(f"{side} {ms:.2f} ms" for side, ms in run_ms.items())


def _compile(model: Model, place: Path, reference: parity.Reference, side: str) -> None:
    """An artifact of one program: a single item on one thread. A CPU without flags gets scalar code."""
    place.mkdir(parents=True)
    cpu = cpus.resolve()
    inputs = tuple(model.inputs.values())
    target = Target(cpu if side == "vector" else replace(cpu, flags=()))
    lower_aoti(model.module, inputs, place / "model.so", target)
    artifact = Artifact(
        name=model.name,
        engine="aoti",
        precision="fp32",
        inputs=_specs(tuple(model.inputs), inputs),
        outputs=_specs(tuple(model.outputs), reference.outputs),
        programs=(Program("model.so", 1, 1),),
        defaults=Defaults(1, 1),
        cpu=cpu,
        labels=tuple(model.labels),
        image=model.image,
        path=place,
    )
    parity.write_self_test(artifact, reference)
    artifact.write()


def _specs(names: tuple[str, ...], tensors: Tensors) -> tuple[TensorSpec, ...]:
    pairs = zip(names, tensors, strict=True)
    return tuple(TensorSpec(name, DATATYPES[tensor.dtype], tuple(tensor.shape[1:])) for name, tensor in pairs)


if __name__ == "__main__":
    sys.exit(main())
