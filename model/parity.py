"""Parity: the answers of eager PyTorch, and how far an engine's may be from them."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from model import pictures
from model.artifact import Artifact
from model.catalog import Model
from model.contract import Tensors, check_outputs
from model.faults import told
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
    """Ask a model that is `ready` in eager mode, in batches of 1 and of 8, which must agree with each other.

    Raises:
        ParityError: an item's answer depends on the other items of its batch.
        ContractError: an output does not have one row for each item of the batch.
    """
    rows = _real(model) + _random(model)
    eights = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with torch.no_grad():
        ones = [_ask(model, row) for row in rows]
        batched = [_ask(model, tuple(torch.cat(column) for column in zip(*eight, strict=True))) for eight in eights]
    outputs = tuple(_stack(name, column) for name, column in zip(model.outputs, zip(*ones, strict=True), strict=True))
    in_eights = (torch.cat(column) for column in zip(*batched, strict=True))
    for name, one, eight in zip(model.outputs, outputs, in_eights, strict=True):
        if one.shape != eight.shape or difference(eight, one) > TOLERANCES["fp32"]:
            raise ParityError(_why(model, name, rows, ones))
    answers: list[Item] = [tuple(raw(output[index]) for output in outputs) for index in range(len(rows))]
    questions: list[Item] = [tuple(raw(each) for each in row) for row in rows]
    return Reference(questions, answers, outputs, len(_real(model)))


def _stack(name: str, items: Tensors) -> torch.Tensor:
    shapes = {tuple(each.shape[1:]) for each in items}
    if len(shapes) > 1:
        raise ParityError(
            f"output {name!r} has another shape for each item ({' or '.join(str(list(each)) for each in sorted(shapes))}): "
            "pad it to one that holds them all"
        )
    return torch.cat(items)


def _why(model: Model, name: str, rows: list[Tensors], before: list[Tensors]) -> str:
    """Why an item got another answer in a batch than alone; asks each item alone once more."""
    with torch.no_grad():
        again = [_ask(model, row) for row in rows]
    pairs = [pair for new, old in zip(again, before, strict=True) for pair in zip(new, old, strict=True)]
    if any(new.shape != old.shape or difference(new, old) > TOLERANCES["fp32"] for new, old in pairs):
        return (
            "the same input gets another answer at each call: the module is random (a dropout that eval() does not "
            "end?) or keeps something from call to call"
        )
    return f"output {name!r} of an item depends on the other items of its batch: it cannot be batched"


def check(artifact: Artifact, answers: list[Item], wanted: Reference) -> float:
    """The largest difference of the answers from eager PyTorch's, over all outputs.

    Raises:
        ParityError: a difference over the artifact's tolerance, or another label than eager's for a real picture.
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
    """max |got - wanted| / (1 + |wanted|), 0 for the same infinity; infinite when either is not a number."""
    got, wanted = got.to(torch.float64), wanted.to(torch.float64)
    relative = torch.where(got == wanted, 0.0, (got - wanted).abs() / (1 + wanted.abs()))
    value = float(relative.max()) if got.numel() else 0.0
    return math.inf if math.isnan(value) else value


def raw(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().view(-1).view(torch.uint8).numpy())


def _ask(model: Model, inputs: Tensors) -> Tensors:
    try:
        results: Tensors = model.module(*inputs)
    except Exception as fault:
        raise ParityError(f"the module fails on {len(inputs[0])} random items: {told(fault)}") from fault
    check_outputs(model.outputs, results, len(inputs[0]))
    return results


def _real(model: Model) -> list[Tensors]:
    """The pictures for the first input; any others are as in `_random`."""
    if model.image is None:
        return []
    shape = next(iter(model.inputs.values())).shape
    items = [
        torch.frombuffer(bytearray(item), dtype=torch.uint8).reshape(shape) for item in pictures.items(model.image)
    ]
    return [(item, *others[1:]) for item, others in zip(items, _random(model), strict=True)]


def _random(model: Model) -> list[Tensors]:
    """Eight random items; inputs of whole numbers keep the example's values, since any other may be out of range."""
    generator = torch.Generator().manual_seed(SEED)

    def like(example: torch.Tensor, *, is_picture: bool) -> torch.Tensor:
        if example.is_floating_point():
            return torch.randn(example.shape, generator=generator).to(example.dtype)
        if is_picture:
            return torch.randint(0, 256, example.shape, dtype=example.dtype, generator=generator)
        return example

    has_picture = model.image is not None
    return [
        tuple(
            like(example, is_picture=has_picture and index == 0) for index, example in enumerate(model.inputs.values())
        )
        for _ in range(BATCH)
    ]
