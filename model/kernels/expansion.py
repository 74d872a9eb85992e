"""A graph rewrite: a convolution with one tap becomes part of the depthwise one behind it, `packed_expanded`.

So "inverted residual" blocks never write their widest tensor to memory: its rows are computed as they are needed.
"""

import torch
from torch.fx import GraphModule, Node

from model.kernels.layer import arguments
from model.kernels.operators import Geometry

aten, ours = torch.ops.aten, torch.ops.kindling

WORTH_BYTES = 2**20
"""A tensor in between that is smaller stays in the cache as it is, and products of many rows at once are faster."""


def join_expansions(graph_module: GraphModule) -> None:
    """Rewrite `graph_module` in place; it has the operators of operators.py."""
    for node in graph_module.graph.find_nodes(op="call_function", target=ours.packed_depthwise.default):
        expansion, *rest = arguments(node)
        while expansion.target is aten.permute.default and len(expansion.users) == 1:
            expansion = expansion.args[0]
        if expansion.target is ours.packed_convolution.default and _is_worth(expansion):
            picture, weight, bias, _, geometry, low, high = arguments(expansion)
            joined = (picture, weight, bias, geometry, low, high, *rest)
            with graph_module.graph.inserting_before(node):
                found = graph_module.graph.call_function(ours.packed_expanded.default, joined)
            node.replace_all_uses_with(found)
    graph_module.graph.eliminate_dead_code()


def _is_worth(expansion: Node) -> bool:
    _, _, _, other, numbers, _, _ = arguments(expansion)
    g = Geometry.of(numbers)
    has_one_tap = (g.kernel, g.stride, g.padding, g.groups) == ((1, 1), (1, 1), (0, 0), 1)
    height, width = g.out_size
    is_large = 4 * height * width * g.out_channels >= WORTH_BYTES
    return has_one_tap and is_large and other is None and len(expansion.users) == 1
