"""Your own module behind one contract: tensors in by position, a tuple of tensors out, a name for each."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch

from model.catalog import Model
from model.faults import told

DATATYPES = {
    torch.bool: "BOOL", torch.uint8: "UINT8", torch.uint16: "UINT16", torch.uint32: "UINT32", torch.uint64: "UINT64",
    torch.int8: "INT8", torch.int16: "INT16", torch.int32: "INT32", torch.int64: "INT64",
    torch.float16: "FP16", torch.bfloat16: "BF16", torch.float32: "FP32", torch.float64: "FP64",
}  # fmt: skip

Tensors = tuple[torch.Tensor, ...]


class ContractError(Exception):
    """The module cannot be exported, or is not what `Model` says."""


class Positional(torch.nn.Module):
    """Takes the inputs in the order of `Model.inputs`, and returns a tuple with one tensor for each output.

    `ready` sets `keys`, which of the module's outputs those are, and whether it `copies_inputs` before the module runs.
    """

    def __init__(self, module: torch.nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.keys: tuple[str, ...] = ()
        self.copies_inputs = False
        self._keywords = _keywords(module, inputs)
        self._positions = [index for index, name in enumerate(inputs) if name not in self._keywords]

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        if self.copies_inputs:
            inputs = tuple(each.clone() for each in inputs)
        found, _ = _by_name(self.call(*inputs))
        return tuple(found[key] for key in self.keys)

    def call(self, *inputs: torch.Tensor) -> Any:
        """What the module itself returns. The module may change the inputs."""
        arguments, keywords = self.arranged(inputs)
        return self.module(*arguments, **keywords)

    def arranged(self, inputs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """The inputs as arguments of `forward`: by position, or by name if it takes them by keyword only."""
        keywords = {name: inputs[index] for name, index in self._keywords.items()}
        return [inputs[index] for index in self._positions], keywords


def ready(model: Model) -> Model:
    """The model with a `Positional` module and with the names of its outputs, after one run of its examples.

    Raises:
        ContractError: names what the module does, or what `Model` says, that cannot be served.
    """
    _check_inputs(model)
    module = Positional(model.module.eval(), tuple(model.inputs)).eval()
    arguments, keywords = module.arranged(tuple(model.inputs))
    try:
        inspect.signature(model.module.forward).bind(*arguments, **keywords)
    except TypeError as fault:
        raise ContractError(f"the module's forward cannot take the inputs {_list(model.inputs)}: {fault}") from None
    examples = tuple(each.clone() for each in model.inputs.values())
    try:
        with torch.no_grad():
            results = module.call(*examples)
    except Exception as fault:
        raise ContractError(f"the module fails on its example inputs: {told(fault)}") from fault
    # This counts every operation in place, also on a view of the input. Compiled, it would write into the request's own
    # bytes, which the next run reads.
    module.copies_inputs = any(each._version for each in examples)  # noqa: SLF001 - it has no public name
    found, is_named = _by_name(results)
    module.keys = _keys(found, model.outputs, is_named=is_named)
    outputs = tuple(model.outputs) or module.keys
    tensors = tuple(found[key] for key in module.keys)
    check_outputs(outputs, tensors, 1)
    if model.labels and tensors[0].shape != (1, len(model.labels)):
        raise ContractError(
            f"there are {len(model.labels)} labels, but an item of output {outputs[0]!r} has the shape "
            f"{list(tensors[0].shape[1:])}: wanted one score for each label"
        )
    return replace(model, module=module, outputs=outputs)


def check_outputs(names: Sequence[str], tensors: Tensors, batch: int) -> None:
    """Raise ContractError unless each is a tensor of `batch` items, of a datatype that the protocol has."""
    for name, tensor in zip(names, tensors, strict=True):
        if not isinstance(tensor, torch.Tensor):
            raise ContractError(f"output {name!r} is of type {type(tensor).__name__}, wanted a tensor")
        _check_datatype(f"output {name!r}", tensor)
        if not tensor.dim():
            raise ContractError(f"output {name!r} is a scalar: the first dimension of every output has to be the batch")
        if len(tensor) != batch:
            raise ContractError(
                f"output {name!r} has the shape {list(tensor.shape)} for a batch of {batch}: "
                "its first dimension has to be the batch"
            )


def _check_inputs(model: Model) -> None:
    if not isinstance(model.module, torch.nn.Module):
        raise ContractError(f"Model.module is of type {type(model.module).__name__}, wanted torch.nn.Module")
    if not isinstance(model.inputs, Mapping) or not model.inputs:
        raise ContractError("Model.inputs is empty or no dict: wanted an example tensor of one item for each input")
    if isinstance(model.outputs, str):
        raise ContractError(f"Model.outputs is a string: wanted a tuple of names, ({model.outputs!r},)")
    for name, example in model.inputs.items():
        if not isinstance(name, str) or not isinstance(example, torch.Tensor):
            raise ContractError(f"input {name!r} is of type {type(example).__name__}, wanted a name and a tensor")
        _check_datatype(f"input {name!r}", example)
        if not example.dim() or len(example) != 1:
            raise ContractError(f"the example of input {name!r} has the shape {list(example.shape)}, wanted [1, ...]")
    first = next(iter(model.inputs.values()))
    spec = model.image
    if spec and (first.dtype != torch.uint8 or first.shape != (1, spec.height, spec.width, 3)):
        raise ContractError(
            f"the example of the first input is {_plain(first.dtype)} {list(first.shape)}, but with `image` it has to "
            f"be uint8 [1, {spec.height}, {spec.width}, 3]"
        )


def _check_datatype(what: str, tensor: torch.Tensor) -> None:
    kind = tensor.dtype if tensor.layout == torch.strided else tensor.layout
    if kind not in DATATYPES:
        raise ContractError(f"{what} is {_plain(kind)}, which the Open Inference Protocol does not have")


def _keywords(module: torch.nn.Module, inputs: Sequence[str]) -> dict[str, int]:
    """Which inputs `forward` takes by keyword only, and their places in the request."""
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = [each.kind for each in parameters]
    only = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    rest = [name for name in inputs if name not in only]
    if inspect.Parameter.VAR_KEYWORD in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        positions = sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters)
        only |= set(rest[positions:])
    return {name: index for index, name in enumerate(inputs) if name in only}


def _by_name(results: Any) -> tuple[dict[str, Any], bool]:
    """The outputs by name, and whether the names are the module's own; outputs that are None are left out."""
    is_named = True
    if isinstance(results, Mapping):
        found = {str(key): value for key, value in results.items()}
    elif is_dataclass(results):
        found = {each.name: getattr(results, each.name) for each in fields(results)}
    elif hasattr(results, "_asdict"):
        found = results._asdict()
    elif isinstance(results, (tuple, list)):
        is_named = False
        several = len(results) > 1
        found = {f"output_{index}" if several else "output": each for index, each in enumerate(results)}
    else:
        is_named = False
        found = {"output": results}
    return {name: value for name, value in found.items() if value is not None}, is_named


def _keys(found: Mapping[str, Any], wanted: Sequence[str], *, is_named: bool) -> tuple[str, ...]:
    """Which of the module's outputs to take, in order: those that `Model.outputs` names, or else all."""
    if not found:
        raise ContractError("the module returns nothing: wanted a tensor, or a tuple or dict of tensors")
    if len(set(wanted)) < len(wanted):
        raise ContractError(f"Model.outputs names one output twice: {_list(wanted)}")
    if not wanted:
        return tuple(found)
    if is_named:
        if missing := [name for name in wanted if name not in found]:
            raise ContractError(f"the module returns {_list(found)}, but Model.outputs names {missing[0]!r}")
        return tuple(wanted)
    if len(found) != len(wanted):
        raise ContractError(
            f"the module returns {len(found)} tensor{'s' * (len(found) > 1)}, "
            f"but Model.outputs names {len(wanted)}: {_list(wanted)}"
        )
    return tuple(found)


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _plain(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")
