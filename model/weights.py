"""A file of weights -> a module: safetensors or torch.save, with the module's own names or behind a prefix."""

import itertools
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from model.faults import summary

# What training code puts around a state dict: PyTorch Lightning and timm; PyTorch's own tutorial; torchvision's references.
WRAPPERS = ("state_dict", "model_state_dict", "model")


class WeightsError(Exception):
    """The file cannot be read, or its weights are not those of the module."""


def load(module: torch.nn.Module, file: Path) -> None:
    """Fill the module with the weights in `file`; nothing in it is executed.

    Raises:
        WeightsError: names the first key that is missing and the first key that the module does not have.
    """
    found = _state_dict(file)
    renamed = _names(found, module.state_dict())
    state = OrderedDict((renamed[key], value) for key, value in found.items())
    state._metadata = _versions(found, renamed)  # type: ignore[attr-defined]  # noqa: SLF001 - it has no public name
    try:
        faults = module.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as fault:
        lines = [line.strip() for line in str(fault).splitlines()]
        raise WeightsError(f"do not fit: {next((each for each in lines if 'mismatch' in each), lines[-1])}") from None
    missing = _without_tied(faults.missing_keys, renamed.values(), module)
    unexpected = [key for key in found if renamed[key] in faults.unexpected_keys]
    reasons = [*_told(missing, "is missing"), *_told(unexpected, "is unexpected")]
    if reasons:
        raise WeightsError(f"do not fit: {', '.join(reasons)}")


def _state_dict(file: Path) -> Mapping[str, torch.Tensor]:
    found = _read(file)
    if isinstance(found, Mapping):
        found = next((found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)), found)
    if not isinstance(found, Mapping):
        raise WeightsError(f"cannot be used: the file holds a {type(found).__name__}, wanted a state dict")
    is_named = all(isinstance(key, str) for key in found)
    if not is_named or not any(isinstance(value, torch.Tensor) for value in found.values()):
        held = ", ".join(repr(key) for key in list(found)[:5]) or "nothing"
        raise WeightsError(
            f"cannot be used: the file holds {held}, wanted a state dict, or one in {' or '.join(WRAPPERS)}"
        )
    return found


def _read(file: Path) -> Any:
    try:
        if _is_safetensors(file):
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as fault:
        named = re.search(r"Unsupported global: GLOBAL (\S+)", str(fault))
        what = f"it holds {named[1]}, which is code" if named else "it is no file of weights"
        raise WeightsError(
            f"cannot be read: {what}; wanted safetensors or torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as fault:
        raise WeightsError(f"cannot be read: {summary(fault)}") from None


def _is_safetensors(file: Path) -> bool:
    """Whether the file begins with the length of a header and the header's JSON; its name does not matter."""
    with file.open("rb") as opened:
        head = opened.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= file.stat().st_size - 8


def _names(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Each key of the file with the module's name for it, both without the prefix that all keys on their side share.

    DataParallel and torch.compile save a model behind `module.` and `_orig_mod.`, trainers behind `model.`; and the
    weights of a net inside `ImageClassifier` are behind `classifier.` here.
    """
    pairs = [(theirs, ours) for theirs in _prefixes(found) for ours in _prefixes(wanted)]
    renamings = [{key: ours + key.removeprefix(theirs) for key in found} for theirs, ours in pairs]
    return max(renamings, key=lambda each: len(wanted.keys() & set(each.values())))


def _versions(found: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """What torch.save keeps of each module beside its weights, its version above all, by the module's own path.

    MNASNet refuses weights without it; safetensors have none.
    """
    told = getattr(found, "_metadata", None)
    if not isinstance(told, Mapping):
        return {}
    pairs = (zip(_parents(theirs), _parents(ours), strict=False) for theirs, ours in renamed.items())
    return {ours: told[theirs] for theirs, ours in itertools.chain(*pairs) if isinstance(told.get(theirs), Mapping)}


def _parents(key: str) -> list[str]:
    """`a.b`, `a` and the empty path of `a.b.weight`."""
    parts = key.split(".")
    return [".".join(parts[:-count]) for count in range(1, len(parts) + 1)]


def _prefixes(keys: Iterable[str]) -> list[str]:
    """`""`, `a.` and `a.b.` when every key begins with `a.b.`."""
    shared = [set(each) for each in zip(*(key.split(".")[:-1] for key in keys), strict=False)]
    found = [""]
    for names in itertools.takewhile(lambda each: len(each) == 1, shared):
        found.append(f"{found[-1]}{names.pop()}.")
    return found


def _without_tied(missing: list[str], loaded: Iterable[str], module: torch.nn.Module) -> list[str]:
    """The missing keys, without those whose tensor was loaded under another name: safetensors stores each tensor once."""
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    places = {state[key].data_ptr() for key in loaded if key in state}
    return [key for key in missing if key not in state or state[key].data_ptr() not in places]


def _told(keys: list[str], what: str) -> list[str]:
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return [f"{keys[0]!r} {what}{more}"] if keys else []
