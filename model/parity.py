"""Parity: the answers of eager PyTorch, and how far an engine's may be from them."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from model import pictures
from model.artifact import Artifact
from model.catalog import Model
from service.protocol.tensor import Item

TOLERANCES = {"fp32": 1e-3, "bf16": 1e-1}
"""Largest |engine - eager| / (1 + |eager|) over all outputs. bf16 keeps 8 bits: 0.05 was seen on noise."""

BATCH = 8
SEED = 0


class ParityError(Exception):
    """The engine's answers are not eager PyTorch's."""


@dataclass(frozen=True)
class Reference:
    """Questions with eager PyTorch's answers: `real` pictures first, then random ones; a multiple of `BATCH`."""

    questions: list[Item]
    answers: list[Item]
    outputs: tuple[torch.Tensor, ...]
    real: int

    @property
    def description(self) -> dict[str, Any]:
        return {"real_pictures": self.real, "random": len(self.questions) - self.real, "eager_batches": [1, BATCH]}


def reference(model: Model) -> Reference:
    """Ask the model in eager mode, in batches of 1 and of 8, which must agree with each other.

    Raises:
        ParityError: the module does not do what `Model` says of it.
    """
    rows = _real(model) + _random(model)
    eights = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with torch.no_grad():
        ones = [_ask(model, row) for row in rows]
        batched = [_ask(model, tuple(torch.cat(column) for column in zip(*eight, strict=True))) for eight in eights]
    outputs = tuple(torch.cat(column) for column in zip(*ones, strict=True))
    in_eights = (torch.cat(column) for column in zip(*batched, strict=True))
    for name, one, eight in zip(model.outputs, outputs, in_eights, strict=True):
        if one.shape != eight.shape or difference(eight, one) > TOLERANCES["fp32"]:
            raise ParityError(
                f"output {name!r} of an item depends on the other items of its batch: it cannot be batched"
            )
    answers: list[Item] = [tuple(raw(output[index]) for output in outputs) for index in range(len(rows))]
    questions: list[Item] = [tuple(raw(each) for each in row) for row in rows]
    return Reference(questions, answers, outputs, len(_real(model)))


def check(artifact: Artifact, answers: list[Item], wanted: Reference) -> float:
    """The largest difference of the answers from eager PyTorch's, over all outputs.

    Raises:
        ParityError: over the artifact's tolerance, or another label than eager's for a real picture.
    """
    largest = 0.0
    for index, (spec, output) in enumerate(zip(artifact.outputs, wanted.outputs, strict=True)):
        blob = bytearray(b"".join(answer[index] for answer in answers))
        got = torch.frombuffer(blob, dtype=output.dtype).reshape(-1, *spec.shape)
        largest = max(largest, difference(got, output[: len(got)]))
        if index == 0 and artifact.labels:
            real = min(wanted.real, len(got))
            differing = int((got[:real].argmax(1) != output[:real].argmax(1)).sum())
            if differing:
                raise ParityError(
                    f"{artifact.engine} {artifact.precision}: {differing} of {real} pictures get another label"
                )
    if not largest <= artifact.tolerance:
        raise ParityError(
            f"{artifact.engine} {artifact.precision} differs from eager PyTorch by {largest:.2g}, "
            f"more than the tolerance of {artifact.tolerance:g}"
        )
    return largest


def write_self_test(artifact: Artifact, wanted: Reference) -> None:
    """The first question with eager PyTorch's answer, for the service to try before it says that it is ready."""
    (artifact.path / "self-test.input").write_bytes(b"".join(wanted.questions[0]))
    (artifact.path / "self-test.output").write_bytes(b"".join(wanted.answers[0]))


def difference(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """max |got - wanted| / (1 + |wanted|); infinite when either is not a number."""
    got, wanted = got.to(torch.float64), wanted.to(torch.float64)
    value = float(((got - wanted).abs() / (1 + wanted.abs())).max()) if got.numel() else 0.0
    return math.inf if math.isnan(value) else value


def raw(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().view(-1).view(torch.uint8).numpy())


def _ask(model: Model, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    results = model.module(*inputs)
    results = results if isinstance(results, (tuple, list)) else (results,)
    if len(results) != len(model.outputs):
        raise ParityError(f"the module returns {len(results)} tensors for outputs {list(model.outputs)}")
    if any(len(each) != len(inputs[0]) for each in results):
        raise ParityError("the first dimension of an output is not the batch")
    return tuple(results)


def _real(model: Model) -> list[tuple[torch.Tensor, ...]]:
    if model.image is None:
        return []
    (example,) = model.inputs.values()
    return [
        (torch.frombuffer(bytearray(item), dtype=torch.uint8).reshape(example.shape),)
        for item in pictures.items(model.image)
    ]


def _random(model: Model) -> list[tuple[torch.Tensor, ...]]:
    """Eight random items; inputs of whole numbers keep the example's values, since any other may be out of range."""
    generator = torch.Generator().manual_seed(SEED)

    def like(example: torch.Tensor) -> torch.Tensor:
        if example.is_floating_point():
            return torch.randn(example.shape, generator=generator).to(example.dtype)
        if model.image is not None:
            return torch.randint(0, 256, example.shape, dtype=example.dtype, generator=generator)
        return example

    return [tuple(like(example) for example in model.inputs.values()) for _ in range(BATCH)]
