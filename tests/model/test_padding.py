"""Zero padding in front of a convolution becomes part of it, where that gives the same answers."""

from typing import Any

import pytest
import torch

from model.padding import fold_padding

pad = torch.nn.functional.pad


class Padded(torch.nn.Module):
    def __init__(
        self, amounts: tuple[int, ...], mode: str = "constant", value: float = 0.0, **convolution: Any
    ) -> None:
        super().__init__()
        self.amounts, self.mode, self.value = amounts, mode, value
        self.convolution = torch.nn.Conv2d(4, 8, **({"kernel_size": 3} | convolution))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        padded = pad(pictures, self.amounts, self.mode, self.value if self.mode == "constant" else None)
        return torch.relu(self.convolution(padded))


def _fold(module: torch.nn.Module, side: int = 11) -> int:
    """How many paddings went, having checked that the answers are the same ones."""
    torch.manual_seed(1)
    pictures = torch.randn(2, 4, side, side + 2)
    with torch.no_grad():
        wanted = module.eval()(pictures)
        graph = torch.export.export(module, (pictures,)).module()
        folded = fold_padding(graph)
        torch.testing.assert_close(graph(pictures), wanted, atol=1e-5, rtol=1e-5)
        again = torch.export.export(graph, (pictures,)).module()
        torch.testing.assert_close(again(pictures), wanted, atol=1e-5, rtol=1e-5)
    left = [node for node in graph.graph.nodes if node.target is torch.ops.aten.pad.default]
    assert len(left) == (0 if folded else len([each for each in module.modules() if isinstance(each, Padded)]))
    return folded


@pytest.mark.parametrize("amounts", [(1, 1, 1, 1), (2, 2, 2, 2), (1, 1, 0, 0), (0, 0, 3, 3)])
@pytest.mark.parametrize(
    "convolution", [{}, {"stride": 2}, {"groups": 4}, {"bias": False}, {"padding": 1}, {"dilation": 2}], ids=str
)
def test_even_padding_is_folded(amounts: tuple[int, ...], convolution: dict[str, Any]) -> None:
    assert _fold(Padded(amounts, **convolution)) == 1


@pytest.mark.parametrize("amounts", [(0, 1, 0, 1), (1, 2, 1, 2), (0, 1, 1, 1), (1, 1, 0, 1), (2, 3, 0, 0)])
@pytest.mark.parametrize(
    "convolution",
    [{}, {"stride": 2}, {"groups": 4}, {"bias": False}, {"kernel_size": 5, "stride": 2}, {"kernel_size": 1}],
    ids=str,
)
@pytest.mark.parametrize("side", [10, 11])
def test_padding_with_one_pixel_more_behind_is_folded(
    amounts: tuple[int, ...], convolution: dict[str, Any], side: int
) -> None:
    assert _fold(Padded(amounts, **convolution), side) == 1


@pytest.mark.parametrize(
    "amounts", [(1, 0, 1, 0), (0, 2, 0, 2), (2, 1, 1, 1), (0, 0, 0, 2), (-1, -1, 0, 0), (-1, 0, 0, 0), (1, 1)]
)
def test_other_amounts_are_left(amounts: tuple[int, ...]) -> None:
    assert _fold(Padded(amounts)) == 0


@pytest.mark.parametrize(
    "module", [Padded((1, 1, 1, 1), "reflect"), Padded((1, 1, 1, 1), "replicate"), Padded((1, 1, 1, 1), value=1.0)]
)
def test_what_is_not_zero_is_left(module: torch.nn.Module) -> None:
    assert _fold(module) == 0


def test_uneven_padding_of_a_dilated_convolution_is_left() -> None:
    assert _fold(Padded((0, 1, 0, 1), dilation=2)) == 0


class Computed(Padded):
    """Its weights are the answer of another operation."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(pad(pictures, self.amounts), self.convolution.weight * 2)


def test_uneven_padding_of_computed_weights_is_left() -> None:
    assert _fold(Computed((0, 1, 0, 1))) == 0
    assert _fold(Computed((1, 1, 1, 1))) == 1


def test_several_are_folded_at_once() -> None:
    first, second = Padded((0, 1, 0, 1), stride=2), Padded((1, 1, 1, 1))
    second.convolution = torch.nn.Conv2d(8, 8, 3)
    assert _fold(torch.nn.Sequential(first, second), side=21) == 2


class Shared(torch.nn.Module):
    """The padded tensor goes to two convolutions, and out."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(4, 8, 3)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        padded = pad(pictures, (0, 1, 0, 1))
        return self.one(padded), self.two(padded), padded


def test_padding_that_others_use_too_stays_for_them() -> None:
    torch.manual_seed(1)
    module, pictures = Shared().eval(), torch.randn(1, 4, 9, 9)
    with torch.no_grad():
        graph = torch.export.export(module, (pictures,)).module()
        assert fold_padding(graph) == 2
        torch.testing.assert_close(graph(pictures), module(pictures), atol=1e-5, rtol=1e-5)
