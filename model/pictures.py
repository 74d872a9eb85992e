"""Real pictures for parity and self-test: those in scikit-image's package data, read without importing it."""

from pathlib import Path

from model.artifact import ImageSpec
from service.protocol.image import decode
from service.runtime.engine import installed

# Photographs only, of public domain or CC0 (skimage/data/_fetchers.py names their sources). The first is the self-test.
NAMES = ("chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg", "camera.png", "hubble_deep_field.jpg", "coins.png",
         "motorcycle_left.png")  # fmt: skip


def folder() -> Path:
    package = installed.folder("skimage")
    if package is None:
        raise FileNotFoundError("scikit-image is not installed: its pictures are needed")
    return package / "data"


def items(spec: ImageSpec) -> list[bytes]:
    """The pictures as items of the model's input: UINT8 [height, width, 3]."""
    return [decode((folder() / name).read_bytes(), spec, max_pixels=2**30) for name in NAMES]
