"""What a module of one's own may take and return, and the one sentence for what it may not."""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from model import parity
from model.artifact import ImageSpec
from model.catalog import Model
from model.contract import ContractError, ready
from model.parity import ParityError


class Returns(torch.nn.Module):
    """Returns what a function makes of its input."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, numbers: torch.Tensor) -> Any:
        return self.make(numbers)


@dataclass
class Scores:
    best: torch.Tensor
    worst: torch.Tensor
    loss: torch.Tensor | None = None


Pair = namedtuple("Pair", ["left", "right"])


def _returning(make: Callable[..., Any], outputs: Any = (), **more: Any) -> Model:
    return Model(Returns(make), {"numbers": torch.ones(1, 3)}, outputs, **more)


@pytest.mark.parametrize(
    ("make", "wanted", "names", "values"),
    [
        (lambda x: x, (), ("output",), (1,)),
        (lambda x: x, ("y",), ("y",), (1,)),
        (lambda x: (x,), (), ("output",), (1,)),
        (lambda x: (x, x * 2), (), ("output_0", "output_1"), (1, 2)),
        (lambda x: [x, x * 2], ("a", "b"), ("a", "b"), (1, 2)),
        (lambda x: (x, None), (), ("output_0",), (1,)),
        (lambda x: {"out": x, "aux": x * 2}, (), ("out", "aux"), (1, 2)),
        (lambda x: {"out": x, "aux": x * 2}, ("aux",), ("aux",), (2,)),
        (lambda x: {"out": x, "aux": x * 2}, ("aux", "out"), ("aux", "out"), (2, 1)),
        (lambda x: {0: x, 1: x * 2}, (), ("0", "1"), (1, 2)),
        (lambda x: OrderedDict(b=x, a=x * 2, loss=None), (), ("b", "a"), (1, 2)),
        (lambda x: Scores(x, x * 2), (), ("best", "worst"), (1, 2)),
        (lambda x: Scores(x, x * 2), ("worst",), ("worst",), (2,)),
        (lambda x: Pair(x, x * 2), (), ("left", "right"), (1, 2)),
        (lambda x: Pair(x, x * 2), ("right", "left"), ("right", "left"), (2, 1)),
    ],
)
def test_outputs_have_the_modules_names_or_those_of_the_model(
    make: Callable[..., Any], wanted: tuple[str, ...], names: tuple[str, ...], values: tuple[float, ...]
) -> None:
    model = ready(_returning(make, wanted))
    assert tuple(model.outputs) == names
    assert [each.tolist() for each in model.module(torch.ones(1, 3))] == [[[value] * 3] for value in values]


@pytest.mark.parametrize(
    ("make", "wanted", "reason"),
    [
        (lambda x: (x, x.mean()), (), "output 'output_1' is a scalar: "),
        (lambda x: {"y": x, "loss": x.sum()}, (), "output 'loss' is a scalar: "),
        (
            lambda x: (x, x.mean((0, 1), keepdim=True)[0].expand(3)),
            (),
            "output 'output_1' has the shape [3] for a batch ",
        ),
        (lambda x: (x, 5), (), "output 'output_1' is of type int, wanted a tensor"),
        (lambda x: {"y": x, "states": (x, x)}, (), "output 'states' is of type tuple, wanted a tensor"),
        (lambda _: 5, (), "output 'output' is of type int, wanted a tensor"),
        (lambda _: None, (), "the module returns nothing: "),
        (lambda _: {}, (), "the module returns nothing: "),
        (lambda x: torch.complex(x, x), (), "output 'output' is complex64, which the Open Inference Protocol "),
        (lambda x: x.to_sparse(), (), "output 'output' is sparse_coo, which the Open Inference Protocol "),
        (lambda x: (x, x), ("a",), "the module returns 2 tensors, but Model.outputs names 1: 'a'"),
        (lambda x: x, ("a", "b"), "the module returns 1 tensor, but Model.outputs names 2: 'a', 'b'"),
        (
            lambda x: {"out": x, "aux": x},
            ("logits",),
            "the module returns 'out', 'aux', but Model.outputs names 'logits'",
        ),
        (lambda x: {"out": x}, ("out", "out"), "Model.outputs names one output twice: 'out', 'out'"),
        (lambda x: x, "logits", "Model.outputs is a string: wanted a tuple of names, ('logits',)"),
        (lambda x: x @ x, (), "the module fails on its example inputs: RuntimeError: "),
    ],
)
def test_outputs_that_cannot_be_served_are_told(make: Callable[..., Any], wanted: Any, reason: str) -> None:
    with pytest.raises(ContractError) as fault:
        ready(_returning(make, wanted))
    assert str(fault.value).startswith(reason)
    assert "\n" not in str(fault.value)


def test_a_fault_of_the_module_is_told_with_its_line() -> None:
    with pytest.raises(ContractError, match=rf"example inputs: ZeroDivisionError: .* \({__file__}, line \d+\)$"):
        ready(_returning(lambda _: 1 // 0))


class ByName(torch.nn.Module):
    def forward(self, first: torch.Tensor, *, factor: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return first * factor + shift


class Catching(torch.nn.Module):
    def forward(self, first: torch.Tensor, **others: torch.Tensor) -> torch.Tensor:
        return first * others["factor"] + others["shift"]


class Varying(torch.nn.Module):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        first, factor, shift = inputs
        return first * factor + shift


@pytest.mark.parametrize("module", [ByName(), Catching()])
@pytest.mark.parametrize("order", [("first", "factor", "shift"), ("shift", "first", "factor")])
def test_inputs_taken_by_name_only_get_theirs(module: torch.nn.Module, order: tuple[str, ...]) -> None:
    if isinstance(module, Catching) and order[0] != "first":
        pytest.skip("without keyword-only parameters the order tells which input is the first")
    values = {"first": 2.0, "factor": 3.0, "shift": 4.0}
    model = ready(Model(module, {name: torch.ones(1, 1) for name in order}))
    (answer,) = model.module(*(torch.full((1, 1), values[name]) for name in order))
    assert answer.item() == 10


def test_varargs_get_the_inputs_in_their_order() -> None:
    model = ready(Model(Varying(), {name: torch.ones(1, 1) for name in "abc"}))
    (answer,) = model.module(*(torch.full((1, 1), value) for value in (2.0, 3.0, 4.0)))
    assert answer.item() == 10


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (("first", "factor"), "'first', 'factor': missing a required argument: 'shift'"),
        (("first", "factor", "shift", "more"), "'first', 'factor', 'shift', 'more': too many positional arguments"),
    ],
)
def test_inputs_that_forward_does_not_take_are_told(inputs: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ContractError) as fault:
        ready(Model(ByName(), {name: torch.ones(1, 1) for name in inputs}))
    assert str(fault.value) == f"the module's forward cannot take the inputs {reason}"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"module": abs}, "Model.module is of type builtin_function_or_method, wanted torch.nn.Module"),
        ({"inputs": {}}, "Model.inputs is empty or no dict: "),
        ({"inputs": torch.ones(1, 3)}, "Model.inputs is empty or no dict: "),
        ({"inputs": {"x": 5}}, "input 'x' is of type int, wanted a name and a tensor"),
        ({"inputs": {"x": torch.tensor(5.0)}}, "the example of input 'x' has the shape [], wanted [1, ...]"),
        ({"inputs": {"x": torch.ones(2, 3)}}, "the example of input 'x' has the shape [2, 3], wanted [1, ...]"),
        (
            {"inputs": {"x": torch.ones(1, 3, dtype=torch.complex64)}},
            "input 'x' is complex64, which the Open Inference Protocol does not have",
        ),
        (
            {"image": ImageSpec(4, 5, 6)},
            "the example of the first input is float32 [1, 3], but with `image` it has to be uint8 [1, 4, 5, 3]",
        ),
        (
            {"labels": ("cat", "dog")},
            "there are 2 labels, but an item of output 'output' has the shape [3]: wanted one score for each label",
        ),
    ],
)
def test_a_model_that_contradicts_itself_is_told(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ContractError) as fault:
        ready(replace(_returning(lambda x: x), **given))
    assert str(fault.value).startswith(reason)


@pytest.mark.parametrize(
    "change", [lambda x: x.sub_(1).div_(2), lambda x: x[:, 0].zero_() * x.flatten(1).mul_(2).sum(1)]
)
def test_a_module_that_changes_its_input_answers_the_same_twice(change: Callable[..., Any]) -> None:
    model = ready(_returning(change))
    given = torch.tensor([[3.0, 4.0, 5.0]])
    first, second = model.module(given)[0].tolist(), model.module(given)[0].tolist()
    assert first == second
    assert given.tolist() == [[3.0, 4.0, 5.0]]
    assert parity.reference(model).answers


def test_a_module_that_leaves_its_input_alone_gets_no_copy() -> None:
    model = ready(_returning(lambda x: (x, torch.relu_(x * 2))))
    given = torch.ones(1, 3)
    assert model.module(given)[0] is given


def _reason(make: Callable[..., Any]) -> str:
    with pytest.raises((ParityError, ContractError)) as fault:
        parity.reference(ready(_returning(make)))
    return str(fault.value)


def test_why_a_module_cannot_be_batched_is_the_true_reason() -> None:
    calls: list[None] = []

    def counting(numbers: torch.Tensor) -> torch.Tensor:
        calls.append(None)
        return numbers + len(calls)

    kept = "the same input gets another answer at each call: "
    assert _reason(lambda x: x - x.mean(0)).startswith(
        "output 'output' of an item depends on the other items of its batch"
    )
    assert _reason(torch.nn.functional.dropout).startswith(kept)
    assert _reason(counting).startswith(kept)
    assert _reason(lambda x: x[:1]) == (
        "output 'output' has the shape [1, 3] for a batch of 8: its first dimension has to be the batch"
    )
    assert _reason(lambda x: x[:, x[0] > 0]).startswith("output 'output' has another shape for each item (")
    assert _reason(lambda x: x.reshape(1, 3)).startswith("the module fails on 8 random items: RuntimeError: shape ")


def test_the_same_infinity_is_no_difference() -> None:
    """A model that masks its scores with it can be exported."""
    infinite = torch.tensor([float("inf"), -float("inf")])
    assert parity.difference(infinite, infinite) == 0.0
    assert parity.difference(infinite, -infinite) == float("inf")
    assert parity.difference(infinite, torch.zeros(2)) == float("inf")
    assert parity.difference(torch.zeros(2), infinite) == float("inf")
    assert parity.reference(ready(_returning(lambda x: x.masked_fill(x > 0, -float("inf")))))


class Both(torch.nn.Module):
    def forward(self, picture: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
        return picture.sum((1, 2, 3)) * number


def test_a_picture_may_have_other_inputs_beside_it() -> None:
    inputs = {"picture": torch.zeros(1, 4, 5, 3, dtype=torch.uint8), "number": torch.tensor([7])}
    asked = parity.reference(ready(Model(Both(), inputs, image=ImageSpec(4, 5, 6))))
    assert (asked.real, len(asked.questions)) == (8, 16)
    assert {number for _, number in asked.questions} == {(7).to_bytes(8, "little")}
