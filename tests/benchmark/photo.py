"""The picture that every side is sent, and the answer that counts as correct."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from model import pictures

ESPRESSO = 967


@dataclass(frozen=True)
class Body:
    """A request body in a file, where wrk finds it too; `headers` are whole lines, besides its type."""

    path: Path
    content_type: str
    headers: tuple[str, ...] = ()

    def read(self) -> bytes:
        return self.path.read_bytes()


def make(folder: Path) -> tuple[Body, Body]:
    """scikit-image's cup of coffee as a JPEG of 600x400: bare, and in base64 as `{"image_data": ...}`."""
    jpeg, wrapped = folder / "coffee.jpg", folder / "coffee.json"
    with Image.open(pictures.folder() / "coffee.png") as picture:
        picture.convert("RGB").save(jpeg, quality=90)
    wrapped.write_text(json.dumps({"image_data": base64.b64encode(jpeg.read_bytes()).decode()}))
    return Body(jpeg, "image/jpeg"), Body(wrapped, "application/json")


def is_espresso(answer: bytes) -> bool:
    """Whether a side's JSON has espresso as its first label."""
    try:
        return bool(json.loads(answer)["labels"][0]["index"] == ESPRESSO)
    except (ValueError, KeyError, IndexError, TypeError):
        return False
