"""Which layers of a graph become our operators, with what they take along; the answers stay the same."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from model.kernels.rewrite import rewritten

aten = torch.ops.aten
OURS = ("packed_convolution", "packed_depthwise")


def _rewritten(module: nn.Module, *inputs: torch.Tensor) -> Counter[str]:
    """How many operators of each name there are afterwards, having compared the answers."""
    module.eval()
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.running_mean, each.running_var = (
                    torch.randn(each.num_features),
                    torch.rand(each.num_features) + 0.5,
                )
        wanted = module(*inputs)
        graph = rewritten(torch.export.export(module, inputs))
        torch.testing.assert_close(graph(*inputs), wanted, atol=1e-4, rtol=1e-4)
        again = torch.export.export(graph, inputs)
        torch.testing.assert_close(again.module()(*inputs), wanted, atol=1e-4, rtol=1e-4)
    calls = [node.target for node in again.graph.nodes if node.op == "call_function"]
    return Counter(getattr(each, "_opname", each.__name__) for each in calls)


class Block(nn.Module):
    """A convolution with a batch norm, a sum and an activation behind it."""

    def __init__(self, activation: nn.Module, *, is_first: bool = True, **convolution: Any) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(6, 6, 3, padding=1, **convolution)
        self.norm = nn.BatchNorm2d(6)
        self.activation = activation
        self.is_first = is_first

    def forward(self, pictures: torch.Tensor) -> Any:
        found = self.norm(self.convolution(pictures))
        return self.activation(found + pictures if self.is_first else pictures + found)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.3, 0.2), nn.Hardtanh()], ids=str)
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_block_is_one_operator(activation: nn.Module, is_first: bool, bias: bool) -> None:
    found = _rewritten(Block(activation, is_first=is_first, bias=bias), torch.randn(2, 6, 9, 8))
    assert found == {"packed_convolution": 1, "permute": 3}


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.Hardswish(), nn.GELU(), nn.Sigmoid()], ids=str)
def test_another_activation_stays_by_itself(activation: nn.Module) -> None:
    found = _rewritten(Block(activation), torch.randn(2, 6, 9, 8))
    assert found["packed_convolution"] == 1
    assert "add" not in found
    assert sum(found.values()) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": "same", "dilation": 2}, {"padding": "valid"}, {"stride": 2}, {"groups": 2}, {"groups": 6, "bias": False},
        {"kernel_size": (1, 5)}, {"kernel_size": (4, 2), "padding": "same"}, {"kernel_size": 1, "stride": 3},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_convolutions_of_every_kind(arguments: dict[str, Any]) -> None:
    found = _rewritten(nn.Conv2d(6, 12, **({"kernel_size": 3} | arguments)), torch.randn(3, 6, 11, 10))
    assert found == {"packed_convolution": 1, "permute": 2}


@pytest.mark.parametrize("channels", [16, 20])
def test_a_convolution_of_each_channel_by_itself(channels: int) -> None:
    module = nn.Sequential(
        nn.Conv2d(channels, channels, 5, 2, 2, groups=channels), nn.BatchNorm2d(channels), nn.ReLU6()
    )
    assert _rewritten(module, torch.randn(1, channels, 9, 9)) == {"packed_depthwise": 1, "permute": 2}


@pytest.mark.parametrize("amounts", [(1, 1, 1, 1), (0, 1, 0, 1), (2, 0, 3, 1), (0, 0, 1, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_zeros_around_the_picture_are_taken_along(amounts: tuple[int, int, int, int], stride: int) -> None:
    module = nn.Sequential(nn.ZeroPad2d(amounts), nn.Conv2d(3, 8, 3, stride, 1))
    assert _rewritten(module, torch.randn(1, 3, 10, 11)) == {"packed_convolution": 1, "permute": 2}


@pytest.mark.parametrize(
    "before", [nn.ConstantPad2d(1, 0.5), nn.ReflectionPad2d(1), nn.ZeroPad2d((-1, 1, 1, 1))], ids=str
)
def test_other_padding_stays(before: nn.Module) -> None:
    found = _rewritten(nn.Sequential(before, nn.Conv2d(3, 8, 3)), torch.randn(1, 3, 10, 11))
    assert found["packed_convolution"] == 1
    assert sum(found.values()) == 4


@pytest.mark.parametrize("shape", [(6,), (2, 6), (2, 5, 6), (1, 2, 3, 6)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_of_any_rank(shape: tuple[int, ...], bias: bool) -> None:
    found = _rewritten(nn.Sequential(nn.Linear(6, 10, bias), nn.ReLU()), torch.randn(shape))
    assert found["packed_convolution"] == 1
    assert set(found) <= {"packed_convolution", "reshape", "view"}


class TwoUsers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 1)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.convolution(pictures)
        return torch.relu(found), found + self.convolution(found)


def test_a_result_that_two_nodes_use_is_computed_as_it_is() -> None:
    found = _rewritten(TwoUsers(), torch.randn(1, 4, 5, 5))
    assert found["packed_convolution"] == 2
    assert found["relu"] == 1
    assert "add" not in found


class Sum(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3, padding=1)
        self.kind = kind

    def forward(self, pictures: torch.Tensor) -> Any:
        found = self.convolution(pictures)
        if self.kind == "broadcast":
            return found + pictures.mean((2, 3), keepdim=True)
        if self.kind == "scaled":
            return torch.add(found, pictures, alpha=2)
        if self.kind == "number":
            return found + 1
        return found + found


@pytest.mark.parametrize("kind", ["broadcast", "scaled", "number", "itself"])
def test_another_sum_stays_by_itself(kind: str) -> None:
    found = _rewritten(Sum(kind), torch.randn(2, 4, 5, 6))
    assert found["packed_convolution"] == 1
    assert found["add"] == 1


@pytest.mark.parametrize(
    ("module", "inputs", "left"),
    [
        (nn.Conv1d(3, 4, 3), torch.randn(1, 3, 8), "conv1d"),
        (nn.Conv3d(3, 4, 3), torch.randn(1, 3, 5, 5, 5), "conv3d"),
        (nn.ConvTranspose2d(3, 4, 3), torch.randn(1, 3, 5, 5), "conv_transpose2d"),
        (nn.Conv2d(3, 4, 3), torch.randn(3, 5, 5), "conv2d"),
        (nn.Conv2d(3, 4, 3).double(), torch.randn(1, 3, 5, 5).double(), "conv2d"),
        (nn.Linear(3, 4).bfloat16(), torch.randn(1, 3).bfloat16(), "linear"),
    ],
    ids=["conv1d", "conv3d", "transposed", "without a batch", "float64", "bfloat16"],
)
def test_what_the_operators_cannot_do_stays(module: nn.Module, inputs: torch.Tensor, left: str) -> None:
    found = _rewritten(module, inputs)
    assert found[left] == 1
    assert not set(OURS) & set(found)


class Inverted(nn.Module):
    """As the blocks of MobileNet V2: `between` channels, convolved each by itself."""

    def __init__(self, between: int, kernel: int = 1, *, is_returned: bool = False) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(8, between, kernel), nn.BatchNorm2d(between), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(between, between, 3, 2, 1, groups=between), nn.BatchNorm2d(between), nn.ReLU6()
        )
        self.is_returned = is_returned

    def forward(self, pictures: torch.Tensor) -> Any:
        found = self.expand(pictures)
        return (self.depthwise(found), found) if self.is_returned else self.depthwise(found)


def test_an_expansion_is_computed_by_the_convolution_behind_it() -> None:
    assert _rewritten(Inverted(96), torch.randn(2, 8, 60, 50)) == {"packed_expanded": 1, "permute": 2}


@pytest.mark.parametrize(
    ("module", "side"),
    [(Inverted(96), 20), (Inverted(96, 3), 60), (Inverted(96, is_returned=True), 60)],
    ids=["small", "with more taps", "with a second user"],
)
def test_another_expansion_is_computed_by_itself(module: nn.Module, side: int) -> None:
    found = _rewritten(module, torch.randn(1, 8, side, side))
    assert (found["packed_convolution"], found["packed_depthwise"]) == (1, 1)


class Attention(nn.Module):
    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.how = how

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> Any:
        return nn.functional.scaled_dot_product_attention(query, key, key * 2, **self.how)


@pytest.mark.parametrize("how", [{}, {"scale": 0.3}, {"dropout_p": 0.0, "is_causal": False}], ids=str)
def test_attention_is_one_operator(how: dict[str, Any]) -> None:
    found = _rewritten(Attention(**how), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 9, 8))
    assert found == {"attention": 1, "mul": 1, "permute": 5, "contiguous": 1}


@pytest.mark.parametrize(
    ("how", "query", "key"),
    [
        ({"is_causal": True}, torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)),
        ({"attn_mask": torch.randn(7, 9)}, torch.randn(2, 3, 7, 8), torch.randn(2, 3, 9, 8)),
        ({"enable_gqa": True}, torch.randn(2, 6, 7, 8), torch.randn(2, 3, 9, 8)),
        ({"scale": -0.5}, torch.randn(2, 3, 7, 8), torch.randn(2, 3, 9, 8)),
        ({}, torch.randn(3, 7, 8), torch.randn(3, 9, 8)),
        ({}, torch.randn(2, 3, 7, 8), torch.randn(1, 3, 9, 8)),
        ({}, torch.randn(2, 3, 7, 8).double(), torch.randn(2, 3, 9, 8).double()),
    ],
    ids=["causal", "with a mask", "of groups", "negative scale", "without heads", "broadcast", "float64"],
)
def test_other_attention_stays(how: dict[str, Any], query: torch.Tensor, key: torch.Tensor) -> None:
    found = _rewritten(Attention(**how), query, key)
    assert found["scaled_dot_product_attention"] == 1


def test_the_attention_of_a_transformer_is_one_operator() -> None:
    """As torchvision's vision transformers have it: the result lies in memory with its tokens first."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(24, 3, batch_first=True)

        def forward(self, tokens: torch.Tensor) -> Any:
            return self.attention(tokens, tokens, tokens, need_weights=False)[0]

    found = _rewritten(Block(), torch.randn(2, 10, 24))
    assert (found["attention"], found["packed_convolution"]) == (1, 2)
