"""A graph rewrite: convolutions, linear layers and attention of float32 become the operators of operators.py.

What cannot be rewritten stays as it is: the compiled library then asks for a kernel of libtorch.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from model.kernels.expansion import join_expansions
from model.kernels.layer import Layer, arguments, constant, is_float32, with_neighbours
from model.kernels.operators import PANEL, Geometry, pack, pack_bias, pack_depthwise

aten = torch.ops.aten
_CONVOLUTION = (None, None, None, [1, 1], [0, 0], [1, 1], 1)
"""What aten.conv2d is called with when the graph does not say: stride, padding, dilation, groups."""
_HEADS_LAST = [0, 2, 1, 3]
"""[N, heads, tokens, width] -> [N, tokens, heads, width], and back."""


def rewritten(program: ExportedProgram) -> GraphModule:
    """The program's module with our operators; `program` is left as it is."""
    with warnings.catch_warnings():
        # torch copies its own tree specifications in a way that it calls deprecated.
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec", FutureWarning)
        # Without decompositions the graph only becomes functional: a batch norm stays one node.
        graph_module: GraphModule = program.run_decompositions({}).module()
    rewriter = _Rewriter(graph_module)
    for node in [*graph_module.graph.nodes]:
        if node.target in (aten.conv2d.default, aten.conv2d.padding):
            rewriter.rewrite_convolution(node)
        elif node.target is aten.linear.default:
            rewriter.rewrite_linear(node)
        elif node.target is aten.scaled_dot_product_attention.default:
            rewriter.rewrite_attention(node)
    graph_module.graph.eliminate_dead_code()
    join_expansions(graph_module)
    graph_module.recompile()
    return graph_module


class _Rewriter:
    def __init__(self, graph_module: GraphModule) -> None:
        self._module, self._graph = graph_module, graph_module.graph
        self._constants = 0

    def rewrite_convolution(self, node: Node) -> None:
        layer = self._layer(node)
        if layer is None or node.meta["val"].dim() != 4:
            return
        picture, _, _, stride, padding, dilation, groups = arguments(node, *_CONVOLUTION)
        kernel = layer.weight.shape[2:]
        top, left = _before(padding, kernel, dilation)
        if zeros := _zeros_around(picture):
            left, top = left + zeros[0], top + zeros[2]
            picture = picture.args[0]
        size, channels = node.meta["val"].shape[2:], len(layer.bias)
        geometry = Geometry((*kernel,), (*stride,), (top, left), (*dilation,), groups, (*size,), channels)
        is_depthwise = groups == channels == picture.meta["val"].shape[1] >= PANEL
        with self._graph.inserting_before(layer.last):
            rows = self._call(aten.permute.default, picture, [0, 2, 3, 1])
            other = layer.other and self._call(aten.permute.default, layer.other, [0, 2, 3, 1])
            found = self._operator(layer, rows, other, geometry, is_depthwise=is_depthwise)
            self._replace(layer, self._call(aten.permute.default, found, [0, 3, 1, 2]))

    def rewrite_linear(self, node: Node) -> None:
        """As a convolution with one tap, of a picture with one row."""
        layer = self._layer(node)
        if layer is None:
            return
        inputs, *_ = arguments(node)
        shape = [*node.meta["val"].shape]
        pixels = node.meta["val"].numel() // shape[-1]
        geometry = Geometry((1, 1), (1, 1), (0, 0), (1, 1), 1, (1, pixels), shape[-1])
        with self._graph.inserting_before(layer.last):
            rows = self._call(aten.reshape.default, inputs, [1, 1, pixels, -1])
            other = layer.other and self._call(aten.reshape.default, layer.other, [1, 1, pixels, -1])
            found = self._operator(layer, rows, other, geometry, is_depthwise=False)
            self._replace(layer, self._call(aten.reshape.default, found, shape))

    def rewrite_attention(self, node: Node) -> None:
        attended = _attended(node)
        if attended is None:
            return
        tensors, scale = attended
        with self._graph.inserting_before(node):
            rows = [self._call(aten.permute.default, each, _HEADS_LAST) for each in tensors]
            found = self._call(torch.ops.kindling.attention.default, *rows, scale)
            # The graph may view the result as it lies in memory, which is as the queries do.
            order = sorted(range(4), key=node.meta["val"].stride().__getitem__, reverse=True)
            found = self._call(aten.permute.default, found, [_HEADS_LAST[each] for each in order])
            found = self._call(aten.contiguous.default, found)
            found = self._call(aten.permute.default, found, [order.index(each) for each in range(4)])
        found.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(found)
        # It might draw random numbers, so that torch does not take it for dead code.
        self._graph.erase_node(node)

    def _layer(self, node: Node) -> Layer | None:
        """The layer and its neighbours, if it is of float32 and its weights are constants."""
        inputs, weight, bias, *_ = arguments(node, None, None, None)
        values = [constant(self._module, each) for each in (weight, bias)]
        if values[0] is None or (bias is not None and values[1] is None):
            return None
        if not all(is_float32(each) for each in (inputs, weight, node)):
            return None
        zeros = torch.zeros(len(values[0]))
        return with_neighbours(self._module, Layer(values[0], zeros if values[1] is None else values[1], node))

    def _operator(
        self, layer: Layer, rows: Node, other: Node | None, geometry: Geometry, *, is_depthwise: bool
    ) -> Node:
        if is_depthwise:
            operator = torch.ops.kindling.packed_depthwise.default
            weight, bias = pack_depthwise(layer.weight), layer.bias
        else:
            operator = torch.ops.kindling.packed_convolution.default
            taps = layer.weight.view(*layer.weight.shape[:2], *geometry.kernel)
            weight, bias = pack(taps, geometry.groups), pack_bias(layer.bias, geometry.groups)
        values = (self._constant(weight), self._constant(bias), other, geometry.numbers, layer.low, layer.high)
        return self._call(operator, rows, *values)

    def _constant(self, value: torch.Tensor) -> Node:
        self._constants += 1
        name = f"packed_{self._constants}"
        self._module.register_buffer(name, value)
        return self._graph.get_attr(name)

    def _call(self, target: Any, *arguments: Any) -> Node:
        return self._graph.call_function(target, arguments)

    def _replace(self, layer: Layer, found: Node) -> None:
        found.meta["val"] = layer.last.meta["val"]
        layer.last.replace_all_uses_with(found)


def _attended(node: Node) -> tuple[list[Node], float] | None:
    """Queries, keys, values and the scale, if every head has its own ones and attends to all of its keys."""
    *tensors, mask, dropout, is_causal = arguments(node, None, None, None, None, 0.0, False)
    options: dict[str, Any] = {"scale": None, "enable_gqa": False, **node.kwargs}
    is_plain = mask is None and not (dropout or is_causal or options["enable_gqa"])
    if not is_plain or not all(is_float32(each) for each in tensors):
        return None
    shapes = [each.meta["val"].shape for each in tensors]
    has_heads = len(shapes[0]) == 4 and len({each[:2] for each in shapes}) == 1
    scale: float = shapes[0][-1] ** -0.5 if options["scale"] is None else options["scale"]
    return (tensors, scale) if has_heads and scale > 0 else None


def _before(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, int]:
    """The zeros above and left of the picture; `padding` may be "same" or "valid"."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        return dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2
    return padding[0], padding[1]


def _zeros_around(node: Node) -> list[int] | None:
    """(left, right, top, bottom), if the node lays zeros around a picture."""
    if node.target is not aten.pad.default:
        return None
    _, amounts, mode, value = arguments(node, None, None, "constant", None)
    is_plain = mode == "constant" and not value and len(amounts) == 4 and min(amounts) >= 0
    return [*amounts] if is_plain else None
