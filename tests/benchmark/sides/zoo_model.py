"""One classifier of torchvision, for `tests.benchmark.zoo`; prints one line of JSON.

`python -m tests.benchmark.sides.zoo_model weights NAME FOLDER` draws its weights.
`python -m tests.benchmark.sides.zoo_model export NAME ENGINE FOLDER` exports it as the product does.
`python -m tests.benchmark.sides.zoo_model compare NAME FOLDER` runs FOLDER/aoti, FOLDER/onnx and eager PyTorch in turn.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from model import catalog, export, parity
from model.artifact import Artifact
from model.contract import ready
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan

SEED = 0
WEIGHTS = "weights.pt"
PICTURES = 8
ROUNDS, MOST_ROUNDS = 7, 21
ROUND_S = 0.25
SMALLEST = 1e-30
"""Below it are numbers with fewer digits."""
SCATTER = 0.1
"""Between the quartiles of a ratio, by its median: above it, more rounds are measured."""


def main() -> None:
    command, name, *rest = sys.argv[1:]
    try:
        found = COMMANDS[command](name, *rest)
    except Exception as fault:
        lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
        found = {"fault": " ".join(lines[:2]) or type(fault).__name__}
    print(json.dumps(found))


def _weights(name: str, folder: str) -> dict[str, object]:
    """Random weights, and batch norms that have seen pictures: else nothing but zeros would arrive at the end of the model."""
    torch.manual_seed(SEED)
    classifier = catalog.torchvision().models.get_model(name, weights=None)
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what it has seen
    for parameter in classifier.parameters():
        if parameter.dim() > 1 and not parameter.any():
            # A vision transformer's last layer, which would give all classes the same score.
            torch.nn.init.normal_(parameter, std=0.02)
    with torch.no_grad():
        side = catalog.torchvision().models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
        classifier.train()(torch.randn(PICTURES, 3, side, side))
    torch.save(classifier.state_dict(), Path(folder, WEIGHTS))
    return {}


def _export(name: str, engine: str, folder: str) -> dict[str, object]:
    request = export.Request(
        f"torchvision:{name}", Path(folder, engine), engine=engine, weights=str(Path(folder, WEIGHTS)),
        batch_sizes=(1,), threads=(1,),
    )  # fmt: skip
    artifact = export.export(request)
    size = sum((artifact.path / each).stat().st_size for each in artifact.files)
    return {"runtime": artifact.runtime, "why": artifact.evidence.get("runtime", ""), "size": size}


def _compare(name: str, place: str) -> dict[str, object]:
    """How far each engine's scores are from eager's, and what a run costs in each round."""
    folder = Path(place)
    torch.set_num_threads(1)
    model = ready(catalog.load(f"torchvision:{name}", str(folder / WEIGHTS)))
    reference = parity.reference(model)
    item = reference.questions[0]
    example = torch.frombuffer(bytearray(item[0]), dtype=torch.uint8).reshape(next(iter(model.inputs.values())).shape)
    sides: dict[str, Callable[[], object]] = {"eager": lambda: model.module(example)}
    differences = {}
    for engine in ("aoti", "onnx"):
        if not (folder / engine).is_dir():
            continue
        loaded = loading.load(Artifact.read(folder / engine), Plan(runners=1, threads=1, max_batch_size=1))
        answers = [loaded.run([question])[0][0] for question in reference.questions]
        differences[engine] = _difference(answers, reference.outputs[0])
        sides[engine] = lambda loaded=loaded: loaded.run([item])  # type: ignore[misc]
    with torch.no_grad():
        return {"differences": differences, "rounds": _rounds(sides)}


def _difference(answers: Sequence[bytes | memoryview], wanted: torch.Tensor) -> float:
    """The largest difference of the scores before softmax, by the range of eager's; without those that softmax makes 0."""
    got = torch.frombuffer(bytearray(b"".join(answers)), dtype=torch.float32).reshape(wanted.shape)
    is_told = wanted > SMALLEST
    scores = wanted[is_told].log()
    return float((got[is_told].log() - scores).abs().max() / (scores.max() - scores.min()))


def _rounds(sides: dict[str, Callable[[], object]]) -> list[dict[str, float]]:
    """Milliseconds of CPU that a run of each side takes, in turn; more rounds where the machine is not quiet."""
    for run in sides.values():
        run()
    rounds: list[dict[str, float]] = []
    while len(rounds) < ROUNDS or (len(rounds) < MOST_ROUNDS and _scatters(rounds)):
        order = list(sides) if len(rounds) % 2 == 0 else list(reversed(sides))
        rounds.append({side: _run_ms(sides[side]) for side in order})
    return rounds


def _scatters(rounds: list[dict[str, float]]) -> bool:
    for side in rounds[0]:
        low, middle, high = statistics.quantiles([each[side] / each["eager"] for each in rounds], n=4)
        if high - low > SCATTER * middle:
            return True
    return False


def _run_ms(run: Callable[[], object]) -> float:
    """The median of runs for `ROUND_S`, and of three at least; of CPU, as a neighbour on the machine changes that least."""
    times: list[float] = []
    end = time.perf_counter() + ROUND_S
    while len(times) < 3 or time.perf_counter() < end:
        start = time.process_time()
        run()
        times.append((time.process_time() - start) * 1e3)
    return statistics.median(times)


COMMANDS: dict[str, Callable[..., dict[str, object]]] = {"weights": _weights, "export": _export, "compare": _compare}

if __name__ == "__main__":
    main()
