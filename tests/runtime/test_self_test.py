"""The self-test lets through only what eager PyTorch answered."""

import array
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from model.artifact import Artifact
from service.errors import EngineError
from service.protocol.tensor import Item
from service.runtime.engine import self_test


class Answering:
    """An engine that gives one answer, whatever it is asked."""

    batch_sizes: tuple[int, ...] = (1,)
    is_proven = False

    def __init__(self, *numbers: float) -> None:
        self._answer = (array.array("f", numbers).tobytes(),)

    def run(self, items: Sequence[Item]) -> list[Item]:
        return [self._answer] * len(items)

    def close(self) -> None:
        pass


def _right(artifact: Artifact) -> list[float]:
    (expected,) = artifact.read_self_test()[1]
    return list(array.array("f", bytes(expected)))


def test_the_right_answer_passes(tiny_onnx: Path) -> None:
    artifact = Artifact.read(tiny_onnx)
    self_test.check(artifact, Answering(*_right(artifact)))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 2.0])
@pytest.mark.parametrize("place", [0, -1])
def test_one_wrong_number_is_found_wherever_it_stands(tiny_onnx: Path, wrong: float, place: int) -> None:
    artifact = Artifact.read(tiny_onnx)
    numbers = _right(artifact)
    numbers[place] = wrong
    with pytest.raises(EngineError, match="self-test failed: output probabilities differs by"):
        self_test.check(artifact, Answering(*numbers))
