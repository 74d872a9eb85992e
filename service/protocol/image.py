"""Pure: encoded picture -> UINT8 [H, W, 3], as the artifact prescribes."""

import io

from PIL import Image, UnidentifiedImageError

from model.artifact import ImageSpec
from service.errors import Unprocessable

FORMATS = ("JPEG", "PNG", "WEBP")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
# A JPEG is decoded at a fraction of its size where at least twice the wanted size is left, as Pillow's thumbnail() does.
DRAFT_FACTOR = 2
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The limit on pixels is ours, and is checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


def warm_up() -> None:
    """Import what the first picture would: Pillow looks for its formats when it opens one (20 ms)."""
    Image.preinit()


def decode(encoded: bytes | memoryview, spec: ImageSpec, max_pixels: int) -> bytes:
    """The picture as raw RGB, `height * width * 3` bytes; upright as its EXIF says, resized and cropped.

    May be called by many threads at once: Pillow decodes and resizes without the GIL.

    Raises:
        Unprocessable: not a JPEG, PNG or WebP, damaged, or of more than `max_pixels` pixels.
    """
    if not encoded:
        raise Unprocessable("the picture is empty")
    try:
        picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError:
        raise Unprocessable("not a picture: wanted a JPEG, PNG or WebP") from None
    except Exception as fault:
        raise Unprocessable(f"damaged picture: {fault}") from None
    width, height = picture.size
    if width * height > max_pixels:
        raise Unprocessable(f"the picture has {width}x{height} pixels, more than the limit of {max_pixels}")
    try:
        return _prepare(picture, spec)
    except Exception as fault:
        raise Unprocessable(f"damaged picture: {fault}") from None


def _prepare(picture: Image.Image, spec: ImageSpec) -> bytes:
    orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
    picture.draft("RGB", _scaled(picture.size, spec.resize_shorter * DRAFT_FACTOR))
    upright = picture if picture.mode == "RGB" else _to_rgb(picture)
    if orientation in UPRIGHT:
        upright = upright.transpose(UPRIGHT[orientation])
    resized = upright.resize(_scaled(upright.size, spec.resize_shorter), INTERPOLATIONS[spec.interpolation])
    # Half pixels are rounded as torchvision's center_crop() does.
    left = round((resized.width - spec.width) / 2)
    top = round((resized.height - spec.height) / 2)
    return resized.crop((left, top, left + spec.width, top + spec.height)).tobytes()


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits of grey, which convert() would cut off at 255
        picture = picture.convert("I").point(lambda grey: grey * (1 / 257)).convert("L")
    return picture.convert("RGB")


def _scaled(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """The size with its shorter side at `shorter`, the longer one rounded down as torchvision's resize() does."""
    width, height = size
    if width <= height:
        return shorter, max(1, int(shorter * height / width))
    return max(1, int(shorter * width / height)), shorter
