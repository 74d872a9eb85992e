"""A picture before any pixel is decoded, and the limit on the memory that decoding may take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from service.errors import Unprocessable

SPARE_BYTES = 40 * 2**20
"""What decoding may take besides 3 bytes for each pixel of MAX_IMAGE_PIXELS. Pillow keeps a pixel of RGB in 4 bytes."""
TOLERATED = 1 / 8
"""The share of its rows that a picture without its end may lack: at the edge, where most of it is cropped away."""
_ROW_BYTES = 8  # Pillow keeps a pointer to each row
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}


class Pixels(Protocol):
    """Decoded pixels as they are stored: a PIL.Image, or bytes that lend their rows."""

    @property
    def size(self) -> tuple[int, int]: ...

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image: ...


@dataclass(frozen=True)
class Undecoded:
    """What is known before a pixel is decoded.

    Args:
        size: width and height as stored.
        orientation: as in Exif, 1 to 8: how to turn what is stored.
        peak_bytes: what `load` takes at most, its result included.
        load: decodes.
    """

    size: tuple[int, int]
    orientation: int
    peak_bytes: int
    load: Callable[[], Pixels]


def check_size(kind: str, picture: Undecoded, max_pixels: int) -> None:
    """Raise Unprocessable if it has more than `max_pixels`, or takes more memory than these may."""
    width, height = picture.size
    if width * height > max_pixels:
        raise Unprocessable(f"the picture has {width}x{height} pixels, more than the limit of {max_pixels}")
    allowed = 3 * max_pixels + SPARE_BYTES
    if picture.peak_bytes > allowed:
        raise Unprocessable(
            f"decoding this {kind} of {width}x{height} pixels takes {picture.peak_bytes / 1e6:.0f} MB, more than the "
            f"{allowed / 1e6:.0f} MB that go with the limit of {max_pixels} pixels: make it smaller, or a baseline JPEG"
        )


def stored_bytes(mode: str, size: tuple[int, int]) -> int:
    """The bytes in which Pillow keeps a picture of this mode."""
    width, height = size
    return height * (_ROW_BYTES + (width * _PIXEL_BYTES.get(mode, 4) + 3) // 4 * 4)


def scaled(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """The size with its shorter side at `shorter`, the longer one rounded down as torchvision's resize() does."""
    width, height = size
    if width <= height:
        return shorter, max(1, int(shorter * height / width))
    return max(1, int(shorter * width / height)), shorter


def percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share < 1 else "all"
