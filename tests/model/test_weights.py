"""Files of weights as people have them."""

import argparse
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model

from model import catalog
from model.catalog import CatalogError
from model.weights import WeightsError, load
from tests.support.models import tiny_module

WEIGHTS = {name: torch.full_like(value, 0.25) for name, value in tiny_module().state_dict().items()}


def _renamed(change: Any) -> dict[str, torch.Tensor]:
    return {change(name): value for name, value in WEIGHTS.items()}


def _is_filled(module: torch.nn.Module) -> bool:
    return all(torch.equal(module.state_dict()[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_safetensors_are_read_whatever_their_name(tmp_path: Path, name: str) -> None:
    save_file(WEIGHTS, tmp_path / name, {"format": "pt"})
    assert _is_filled(catalog.load("tests/support/models.py:tiny", str(tmp_path / name)).module)


@pytest.mark.parametrize(
    "held",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS},
        {"epoch": 3, "state_dict": WEIGHTS, "optimizer": {"state": {}}},
        {"model_state_dict": WEIGHTS},
        {"model": WEIGHTS, "epoch": 3},
        _renamed(lambda name: f"module.{name}"),
        _renamed(lambda name: f"model.{name}"),
        {"state_dict": _renamed(lambda name: f"model._orig_mod.{name}")},
        _renamed(lambda name: name.removeprefix("classifier.")),
        _renamed(lambda name: f"module.{name.removeprefix('classifier.')}"),
    ],
    ids=[
        "plain",
        "state_dict",
        "checkpoint",
        "model_state_dict",
        "model",
        "module.",
        "model.",
        "both",
        "net",
        "module.net",
    ],
)
@pytest.mark.parametrize("is_safetensors", [False, True], ids=["torch", "safetensors"])
def test_wrapped_and_prefixed_weights_are_read(tmp_path: Path, held: dict[str, Any], is_safetensors: bool) -> None:
    if is_safetensors:
        save_file(next((value for value in held.values() if isinstance(value, dict)), held), tmp_path / "w")
    else:
        torch.save(held, tmp_path / "w")
    module = tiny_module()
    load(module, tmp_path / "w")
    assert _is_filled(module)


class Versioned(torch.nn.Module):
    """As torchvision's MNASNet: it refuses weights that do not tell their version."""

    _version = 3

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 2))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any) -> None:
        if local_metadata.get("version") != self._version:
            raise ValueError(f"version should be 3 instead of {local_metadata.get('version')}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


@pytest.mark.parametrize("wrap", [lambda module: module, torch.nn.Sequential], ids=["plain", "prefixed"])
def test_the_version_of_weights_is_read_too(tmp_path: Path, wrap: Any) -> None:
    kept = Versioned()
    torch.save(wrap(kept).state_dict(), tmp_path / "w")
    for module in (Versioned(), torch.nn.Sequential(Versioned())):
        load(module, tmp_path / "w")
        values = zip(module.state_dict().values(), kept.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in values)


def test_weights_without_a_version_that_is_wanted_are_refused(tmp_path: Path) -> None:
    save_file(Versioned().state_dict(), tmp_path / "w")
    with pytest.raises(WeightsError, match=r"^do not fit: version should be 3 instead of None$"):
        load(Versioned(), tmp_path / "w")


class Tied(torch.nn.Module):
    """Its last layer is its first one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        self.last.weight = self.first.weight


def test_a_tensor_with_two_names_may_stand_there_once(tmp_path: Path) -> None:
    saved = Tied()
    save_model(saved, str(tmp_path / "w.safetensors"))
    module = Tied()
    load(module, tmp_path / "w.safetensors")
    assert torch.equal(module.last.weight, saved.last.weight)


def _reason(tmp_path: Path, held: Any) -> str:
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(CatalogError) as fault:
        catalog.load("tests/support/models.py:tiny", str(tmp_path / "w.pt"))
    told = str(fault.value)
    assert "\n" not in told
    assert told.startswith(f"the weights {tmp_path / 'w.pt'} ")
    return told.removeprefix(f"the weights {tmp_path / 'w.pt'} ")


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (
            {f"backbone.{index}": torch.ones(1) for index in range(3)},
            "'classifier.first.weight' is missing (and 5 more), 'backbone.0' is unexpected (and 2 more)",
        ),
        (
            {f"module.{name}": value for name, value in WEIGHTS.items() if "last.bias" not in name},
            "'classifier.last.bias' is missing",
        ),
        ({**WEIGHTS, "classifier.head": torch.ones(1)}, "'classifier.head' is unexpected"),
        (
            {**WEIGHTS, "classifier.last.bias": torch.ones(7)},
            (
                "size mismatch for classifier.last.bias: copying a param with shape torch.Size([7]) from checkpoint, "
                "the shape in current model is torch.Size([6])."
            ),
        ),
    ],
)
def test_weights_of_another_model_are_told_by_their_keys(tmp_path: Path, held: dict[str, Any], reason: str) -> None:
    assert _reason(tmp_path, held) == f"do not fit: {reason}"


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({"epoch": 3, "optimizer": {}}, "the file holds 'epoch', 'optimizer', wanted a state dict, or one in "),
        ({0: torch.ones(3)}, "the file holds 0, wanted a state dict"),
        ({}, "the file holds nothing, wanted a state dict"),
        ([1, 2], "the file holds a list, wanted a state dict"),
        (torch.ones(3), "the file holds a Tensor, wanted a state dict"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, held: Any, reason: str) -> None:
    assert _reason(tmp_path, held).startswith(f"cannot be used: {reason}")


@pytest.mark.parametrize("held", [tiny_module(), {"model": WEIGHTS, "args": argparse.Namespace(lr=1)}])
def test_what_would_run_code_is_not_read(tmp_path: Path, held: Any) -> None:
    reason = _reason(tmp_path, held)
    assert reason.startswith("cannot be read: it holds ")
    assert reason.endswith(", which is code; wanted safetensors or torch.save(model.state_dict(), FILE)")


@pytest.mark.parametrize("content", [b"", b"\x00", b"PK\x03\x04", b"weights", pickle.dumps({"a": 1})[:5]])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"^cannot be read: ") as fault:
        load(tiny_module(), tmp_path / "w.pt")
    assert "\n" not in str(fault.value)


def test_damaged_safetensors_are_told(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match=r"^cannot be read: .*header"):
        load(tiny_module(), tmp_path / "w.safetensors")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"^cannot be read: .*No such file or directory"):
        load(tiny_module(), tmp_path / "gone.pt")
