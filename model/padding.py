"""A graph rewrite: zero padding becomes part of the convolution behind it.

Models ported from TensorFlow pad in a layer of its own ("same" padding, uneven at stride 2), and AOTInductor then
copies every activation once more. oneDNN pads for free, but only evenly: if the right side has one pixel more than the
left, a zero row and column are added at the front of the kernel, which moves that pixel to the other side.
"""

from typing import Any

import torch
from torch.fx import GraphModule, Node

_conv2d = torch.ops.aten.conv2d.default
_pad = torch.ops.aten.pad.default


def fold_padding(graph_module: GraphModule) -> int:
    """Rewrite `graph_module` (of `torch.export`) in place; returns how many paddings are gone."""
    folded = 0
    for conv in graph_module.graph.find_nodes(op="call_function", target=_conv2d):
        pad = conv.args[0]
        if isinstance(pad, Node) and pad.target is _pad and (amounts := _foldable(pad)):
            folded += _fold(graph_module, conv, pad, amounts, f"padded_weight_{folded}")
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return folded


def _foldable(pad: Node) -> tuple[int, int, int, int] | None:
    """(left, right, top, bottom), if these are zeros and no side exceeds its opposite by more than one."""
    defaults: list[Any] = [None, None, "constant", None]
    _, amounts, mode, value = list(pad.args) + defaults[len(pad.args) :]
    if mode != "constant" or value or not isinstance(amounts, (list, tuple)) or len(amounts) != 4:
        return None
    left, right, top, bottom = amounts
    even = right - left in (0, 1) and bottom - top in (0, 1) and min(left, top) >= 0
    return (left, right, top, bottom) if even else None


def _fold(graph_module: GraphModule, conv: Node, pad: Node, amounts: tuple[int, int, int, int], name: str) -> bool:
    left, right, top, bottom = amounts
    _, weight, bias, stride, padding, dilation, groups = _conv_arguments(conv)
    if (right, bottom) != (left, top):
        if dilation != [1, 1] or weight.op != "get_attr":
            return False
        values = torch.nn.functional.pad(_parameter(graph_module, weight), (right - left, 0, bottom - top, 0))
        graph_module.register_parameter(name, torch.nn.Parameter(values, requires_grad=False))
        with graph_module.graph.inserting_before(conv):
            weight = graph_module.graph.get_attr(name)
    padding = [padding[0] + bottom, padding[1] + right]
    conv.args = (pad.args[0], weight, bias, stride, padding, dilation, groups)
    return True


def _conv_arguments(conv: Node) -> list[Any]:
    defaults: list[Any] = [None, None, None, [1, 1], [0, 0], [1, 1], 1]
    return [*conv.args, *defaults[len(conv.args) :]]


def _parameter(graph_module: GraphModule, weight: Node) -> torch.Tensor:
    value: Any = graph_module
    for part in str(weight.target).split("."):
        value = getattr(value, part)
    return value.detach()  # type: ignore[no-any-return]
