"""A model in bfloat16, behind the datatypes of the original."""

from typing import Any

import torch

from model.catalog import ImageClassifier, Model


def in_precision(model: Model, precision: str) -> torch.nn.Module:
    """The model's module in `fp32`, or converted in place to `bf16`."""
    if precision == "fp32":
        return model.module
    if isinstance(model.module, ImageClassifier):
        return model.module.bfloat16()
    return _Bfloat16(model.module)


class _Bfloat16(torch.nn.Module):
    """A module in bfloat16 behind the datatypes of the original."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module.bfloat16()

    def forward(self, *inputs: torch.Tensor) -> Any:
        halved = [each.bfloat16() if each.is_floating_point() else each for each in inputs]
        results = self.module(*halved)
        several = results if isinstance(results, (tuple, list)) else (results,)
        return tuple(each.float() if each.dtype == torch.bfloat16 else each for each in several)
