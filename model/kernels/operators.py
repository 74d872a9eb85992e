"""The operators of convolution.h and attention.h for PyTorch.

How weights are packed, what is computed, and how Inductor calls the kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import conv2d, pad, scaled_dot_product_attention

PANEL = 16
"""The channels that a tile of dense.cpp computes at once."""

_LAYER = "Tensor weight, Tensor bias, Tensor? other, int[] geometry, float low, float high"
_EXPAND = "Tensor expand_weight, Tensor expand_bias, int[] expand_geometry, float expand_low, float expand_high"
_IN_C = {
    "Tensor": "AtenTensorHandle {0}",
    "Optional[Tensor]": "AtenTensorHandle* {0}",
    "List[int]": "const int64_t* {0}, int64_t {0}_len_",
    "float": "double {0}",
}
"""How Inductor passes an argument; as aoti_torch/generated/c_shim_cpu.h."""
# The kernels read their pictures as they lie in memory: Inductor copies one that is a part of a wider tensor.
_TAGS = (torch.Tag.needs_contiguous_strides,)


@dataclass(frozen=True)
class Geometry:
    """A convolution but its weights. `padding` is (top, left); beyond the other two sides there are zeros too."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    out_size: tuple[int, int]
    out_channels: int

    @property
    def numbers(self) -> list[int]:
        """As convolution.h reads them."""
        pairs = (self.kernel, self.stride, self.padding, self.dilation)
        return [*(each for pair in pairs for each in pair), self.groups, *self.out_size, self.out_channels]

    @classmethod
    def of(cls, numbers: Sequence[int]) -> "Geometry":
        kernel, stride, padding, dilation = ((numbers[each], numbers[each + 1]) for each in (0, 2, 4, 6))
        return cls(kernel, stride, padding, dilation, numbers[8], (numbers[9], numbers[10]), numbers[11])


def pack(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """[out, depth, height, width] -> [groups, panels, height * width, depth, PANEL], zeros beyond the last channel."""
    out, depth = weight.shape[:2]
    rows = weight.reshape(groups, out // groups, depth, -1)
    rows = pad(rows, (0, 0, 0, 0, 0, -(out // groups) % PANEL))
    return rows.view(groups, -1, PANEL, depth, rows.shape[-1]).permute(0, 1, 4, 3, 2).contiguous()


def pack_bias(bias: torch.Tensor, groups: int) -> torch.Tensor:
    """[out] -> [groups, panels, PANEL], zeros beyond the last channel."""
    rows = bias.reshape(groups, -1)
    return pad(rows, (0, -rows.shape[1] % PANEL)).view(groups, -1, PANEL).contiguous()


def pack_depthwise(weight: torch.Tensor) -> torch.Tensor:
    """[channels, 1, height, width] -> [height * width, channels]."""
    return weight.flatten(1).t().contiguous()


@torch.library.custom_op(
    "kindling::packed_convolution", mutates_args=(), schema=f"(Tensor picture, {_LAYER}) -> Tensor", tags=_TAGS
)
def packed_convolution(  # noqa: PLR0913, PLR0917 - the schema
    picture: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    other: torch.Tensor | None,
    geometry: Sequence[int],
    low: float,
    high: float,
) -> torch.Tensor:
    """FP32 [N, H, W, C] -> [N, out_height, out_width, out_channels], clamped to `low` and `high` after `other` is added."""
    g = Geometry.of(geometry)
    there = g.out_channels // g.groups
    plain = weight.permute(0, 1, 4, 3, 2).flatten(1, 2)[:, :there].reshape(g.out_channels, -1, *g.kernel)
    return _convolved(picture, plain, bias.flatten(1)[:, :there].reshape(-1), other, g).clamp(low, high)


@torch.library.custom_op(
    "kindling::packed_depthwise", mutates_args=(), schema=f"(Tensor picture, {_LAYER}) -> Tensor", tags=_TAGS
)
def packed_depthwise(  # noqa: PLR0913, PLR0917 - the schema
    picture: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    other: torch.Tensor | None,
    geometry: Sequence[int],
    low: float,
    high: float,
) -> torch.Tensor:
    """The same where each channel is convolved by itself."""
    g = Geometry.of(geometry)
    return _convolved(picture, weight.t().reshape(-1, 1, *g.kernel), bias, other, g).clamp(low, high)


@torch.library.custom_op(
    "kindling::packed_expanded", mutates_args=(), schema=f"(Tensor picture, {_EXPAND}, {_LAYER}) -> Tensor", tags=_TAGS
)
def packed_expanded(  # noqa: PLR0913, PLR0917 - the schema
    picture: torch.Tensor,
    expand_weight: torch.Tensor,
    expand_bias: torch.Tensor,
    expand_geometry: Sequence[int],
    expand_low: float,
    expand_high: float,
    weight: torch.Tensor,
    bias: torch.Tensor,
    other: torch.Tensor | None,
    geometry: Sequence[int],
    low: float,
    high: float,
) -> torch.Tensor:
    """`packed_depthwise` of what `packed_convolution` with one tap gives, which is never whole in memory."""
    between = packed_convolution(picture, expand_weight, expand_bias, None, expand_geometry, expand_low, expand_high)
    found: torch.Tensor = packed_depthwise(between, weight, bias, other, geometry, low, high)
    return found


@torch.library.custom_op(
    "kindling::attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, float scale) -> Tensor",
    tags=_TAGS,
)
def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """FP32 [N, queries, heads, depth], [N, keys, heads, depth], [N, keys, heads, width] -> [N, queries, heads, width]."""
    by_head = [each.transpose(1, 2) for each in (query, key, value)]
    found = scaled_dot_product_attention(by_head[0], by_head[1], by_head[2], scale=scale)
    return found.transpose(1, 2).contiguous()


@attention.register_fake
def _attended(query: torch.Tensor, _: torch.Tensor, value: torch.Tensor, __: float) -> torch.Tensor:
    return query.new_empty(*query.shape[:-1], value.shape[-1])


@packed_convolution.register_fake
@packed_depthwise.register_fake
@packed_expanded.register_fake
def _shaped(picture: torch.Tensor, *rest: Any) -> torch.Tensor:
    g = Geometry.of(rest[-3])
    return picture.new_empty(picture.shape[0], *g.out_size, g.out_channels)


def _convolved(
    picture: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, other: torch.Tensor | None, g: Geometry
) -> torch.Tensor:
    sides = []
    for axis in (1, 0):
        reach = (g.out_size[axis] - 1) * g.stride[axis] + (g.kernel[axis] - 1) * g.dilation[axis] + 1
        sides += [g.padding[axis], reach - g.padding[axis] - picture.shape[1 + axis]]
    padded = pad(picture.permute(0, 3, 1, 2), sides)
    found = conv2d(padded, weight, bias, g.stride, 0, g.dilation, g.groups).permute(0, 2, 3, 1).contiguous()
    return found if other is None else found + other


def _declared(operator: Any) -> list[str]:
    schema = operator._schema  # noqa: SLF001 - it has no public name
    arguments = (_IN_C[str(each.type)].format(each.name) for each in schema.arguments)
    name = schema.name.partition("::")[2]
    return [f"AOTITorchError aoti_torch_cpu_{name}({', '.join(arguments)}, AtenTensorHandle* ret0)"]


_ours = torch.ops.kindling
SHIMS = {
    each.default: _declared(each.default)
    for each in (_ours.packed_convolution, _ours.packed_depthwise, _ours.packed_expanded, _ours.attention)
}
"""The C function of each operator, for Inductor's option `aot_inductor.custom_ops_to_c_shims`."""
