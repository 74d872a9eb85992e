"""One convolution or linear layer of a graph, with the neighbours that its operator computes too.

pad -> conv2d -> batch norm -> add(other) -> relu
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten


@dataclass(frozen=True)
class Layer:
    """`last` is the node whose value is clamp(layer + other)."""

    weight: torch.Tensor
    bias: torch.Tensor
    last: Node
    other: Node | None = None
    low: float = -inf
    high: float = inf

    @property
    def user(self) -> Node | None:
        """Who uses the result, if it is one node."""
        return next(iter(self.last.users)) if len(self.last.users) == 1 else None


def with_neighbours(graph_module: GraphModule, layer: Layer) -> Layer:
    """The layer with the batch norm, the sum and the bounds behind it, as far as they are there, in this order."""
    return _bounded(_summed(_normalised(graph_module, layer)))


def arguments(node: Node, *defaults: Any) -> list[Any]:
    """The node's arguments by position; a call leaves those at the end out that equal the operator's defaults."""
    return [*node.args, *defaults[len(node.args) :]]


def constant(graph_module: GraphModule, node: Any) -> torch.Tensor | None:
    """The value of a parameter or buffer; None for every other node."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    value: Any = graph_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value.detach() if isinstance(value, torch.Tensor) else None


def is_float32(node: Any) -> bool:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _normalised(graph_module: GraphModule, layer: Layer) -> Layer:
    norm = layer.user
    if norm is None or norm.target is not aten._native_batch_norm_legit_no_training.default or len(norm.users) != 1:  # noqa: SLF001
        return layer
    _, *tensors, _, epsilon = arguments(norm)
    values = [constant(graph_module, each) for each in tensors]
    if any(value is None and each is not None for each, value in zip(tensors, values, strict=True)):
        return layer
    gain, shift, mean, variance = values
    assert mean is not None
    assert variance is not None
    scale: torch.Tensor = (variance.double() + epsilon).rsqrt() * (1 if gain is None else gain)
    bias = (layer.bias - mean) * scale + (0 if shift is None else shift)
    weight = layer.weight * scale.view(-1, *[1] * (layer.weight.dim() - 1))
    return replace(layer, weight=weight.float(), bias=bias.float(), last=next(iter(norm.users)))


def _summed(layer: Layer) -> Layer:
    add = layer.user
    if add is None or add.target is not aten.add.Tensor or add.kwargs:
        return layer
    one, other = arguments(add)
    if other is layer.last:
        one, other = other, one
    if one is other or not is_float32(other) or other.meta["val"].shape != layer.last.meta["val"].shape:
        return layer
    return replace(layer, other=other, last=add)


def _bounded(layer: Layer) -> Layer:
    node = layer.user
    if node is None or any(isinstance(each, Node) for each in node.args[1:]):
        return layer
    if node.target is aten.relu.default:
        low, high = 0.0, inf
    elif node.target is aten.hardtanh.default:
        _, low, high = arguments(node, None, -1.0, 1.0)
    elif node.target is aten.clamp.default:
        _, low, high = arguments(node, None, None, None)
    else:
        return layer
    return replace(layer, low=-inf if low is None else low, high=inf if high is None else high, last=node)
