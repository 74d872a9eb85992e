"""A model in bfloat16, behind the datatypes of the original."""

import torch

from model.catalog import ImageClassifier, Model
from model.contract import Positional, Tensors


def in_precision(model: Model, precision: str) -> torch.nn.Module:
    """The module of a model that is `ready`, in `fp32`, or converted in place to `bf16`."""
    module = model.module
    if precision == "fp32":
        return module
    assert isinstance(module, Positional)
    if isinstance(module.module, ImageClassifier):
        module.module.bfloat16()
        return module
    return _Bfloat16(module)


class _Bfloat16(torch.nn.Module):
    """A module in bfloat16 behind the datatypes of the original."""

    def __init__(self, module: Positional) -> None:
        super().__init__()
        self.module = module.bfloat16()

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        halved = [each.bfloat16() if each.is_floating_point() else each for each in inputs]
        return tuple(each.float() if each.dtype == torch.bfloat16 else each for each in self.module(*halved))
