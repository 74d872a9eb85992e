"""Real pictures for parity and self-test: those in scikit-image's package data, read without importing it."""

import importlib.util
from pathlib import Path

from model.artifact import ImageSpec
from service.protocol.image import decode

# Photographs only, of public domain or CC0 (skimage/data/_fetchers.py names their sources). The first is the self-test.
NAMES = ("chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg", "camera.png", "hubble_deep_field.jpg", "coins.png",
         "motorcycle_left.png")  # fmt: skip


def folder() -> Path:
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise FileNotFoundError("scikit-image is not installed: its pictures are needed")
    return Path(found.origin).parent / "data"


def items(spec: ImageSpec) -> list[bytes]:
    """The pictures as items of the model's input: UINT8 [height, width, 3]."""
    return [decode((folder() / name).read_bytes(), spec, max_pixels=2**30) for name in NAMES]
