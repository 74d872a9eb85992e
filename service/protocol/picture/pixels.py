"""Decoded pixels -> upright, RGB, resized and cropped: strip by strip, so that only the source is in memory as a whole."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from model.artifact import ImageSpec
from service.protocol.picture.undecoded import Pixels, scaled

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
STRIP_PIXELS = 2**18
"""Of the source, or of what it is resized to: 1 MB of RGB as Pillow keeps it."""
WHOLE = 16_384
"""A side that is longer than that, before and after resizing together, is cut to what the crop needs before it is resized."""
_SUPPORT = 2  # pixels on each side that bicubic reads when it does not shrink


@dataclass(frozen=True)
class _Side:
    """One side of the upright picture: pixels `first` to `last` become `size`; `cropped` of them, from `start`, are kept.

    `box` is the part of those pixels that is resized.
    """

    first: int
    last: int
    box: tuple[float, float]
    size: int
    start: int
    cropped: int

    @classmethod
    def of(cls, length: int, resized: int, cropped: int) -> "_Side":
        # Half pixels are rounded as torchvision's center_crop() does.
        start = round((resized - cropped) / 2)
        if length + resized <= WHOLE or resized <= cropped:
            return cls(0, length, (0, length), resized, start, cropped)
        scale = length / resized
        low, high = start * scale, (start + cropped) * scale
        margin = _SUPPORT * max(1.0, scale) + 1
        first, last = max(0, math.floor(low - margin)), min(length, math.ceil(high + margin))
        # Pillow takes 32-bit floats; as distances from `first` they are precise enough.
        return cls(first, last, (low - first, high - first), cropped, 0, cropped)

    def resize(self, picture: Image.Image, across: int, how: Image.Resampling, is_height: bool) -> Image.Image:
        """Resize and crop this side of a picture, whose other side stays at `across` pixels."""
        (low, high), end = self.box, self.start + self.cropped
        if is_height:
            resized = picture.resize((across, self.size), how, (0, low, across, high))
            return resized.crop((0, self.start, across, end))
        resized = picture.resize((self.size, across), how, (low, 0, high, across))
        return resized.crop((self.start, 0, end, across))


@dataclass(frozen=True)
class _Sides:
    """Both sides of the upright picture, in the order in which they are resized; (x, y) unless `is_height_first`."""

    first: _Side
    second: _Side
    is_height_first: bool

    def as_size(self, first: int, second: int) -> tuple[int, int]:
        """Width and height, or left and top."""
        return (second, first) if self.is_height_first else (first, second)

    def strips(self) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
        """Boxes of the upright picture, whole along the first side; and where each begins in what the second side needs."""
        first, second = self.first, self.second
        step = max(1, STRIP_PIXELS // max(first.last - first.first, first.size))
        for begin in range(second.first, second.last, step):
            end = min(begin + step, second.last)
            box = *self.as_size(first.first, begin), *self.as_size(first.last, end)
            yield begin - second.first, box

    def resize_first(self, strip: Image.Image, how: Image.Resampling) -> Image.Image:
        across = strip.width if self.is_height_first else strip.height
        return self.first.resize(strip, across, how, self.is_height_first)

    def resize_second(self, halfway: Image.Image, how: Image.Resampling) -> Image.Image:
        return self.second.resize(halfway, self.first.cropped, how, not self.is_height_first)


def prepared(picture: Pixels, orientation: int, spec: ImageSpec) -> bytes:
    """`height * width * 3` bytes of RGB.

    Pillow resizes one side first and rounds to 8 bits, then the other. So the picture can come strip by strip, with
    the same values to the last bit.
    """
    width, height = picture.size if orientation < 5 else picture.size[::-1]
    resized = scaled((width, height), spec.resize_shorter)
    # Which side comes first changes values by up to 25 of 255: noise overshoots and is clipped in between. This is the rule
    # of Pillow 13; older versions do not have it. The tests compare.
    is_height_first = height > 2 * width and resized[1] < height
    x, y = _Side.of(width, resized[0], spec.width), _Side.of(height, resized[1], spec.height)
    sides = _Sides(*((y, x, True) if is_height_first else (x, y, False)))
    how = INTERPOLATIONS[spec.interpolation]
    halfway = Image.new("RGB", sides.as_size(sides.first.cropped, sides.second.last - sides.second.first))
    for begin, box in sides.strips():
        strip = picture.crop(_as_stored(box, orientation, picture.size))
        upright = strip.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else strip
        halfway.paste(sides.resize_first(_to_rgb(upright, spec.background), how), sides.as_size(0, begin))
    return sides.resize_second(halfway, how).tobytes()


def _as_stored(box: tuple[int, int, int, int], orientation: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a box of the upright picture is in the one that is stored, of that size."""
    width, height = size
    left, top, right, bottom = box
    if orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _to_rgb(strip: Image.Image, background: tuple[int, int, int] | None) -> Image.Image:
    if background is not None and strip.has_transparency_data:
        return _on_colour(strip, background)
    strip.info.pop("transparency", None)  # convert() would only warn of it
    if strip.mode.startswith("I"):  # 16 bits of grey, which convert() would clip at 255
        strip = strip.convert("I").point(lambda grey: grey * (1 / 257)).convert("L")
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _on_colour(strip: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    rgba = strip.convert("RGBA")
    below = Image.new("RGB", strip.size, colour)
    below.paste(rgba, mask=rgba.getchannel("A"))
    return below
