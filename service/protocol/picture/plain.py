"""GIF, BMP and TIFF, accepted only if IMAGE_FORMATS names them: Pillow reads them, only the first picture or page."""

import io
from importlib import import_module

from PIL import Image

from service.errors import Unprocessable
from service.protocol.picture import orientation
from service.protocol.picture.undecoded import Undecoded

_PLUGINS = {
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
}
# TIFF: libtiff's strip of up to 8 bytes a pixel, beside the picture or its turned copy.
_PIXEL_BYTES = {"GIF": 5, "BMP": 5, "TIFF": 12}


def read(kind: str, encoded: bytes) -> Undecoded:
    """The picture. Pillow itself turns a TIFF upright."""
    module, name = _PLUGINS[kind]
    opened = getattr(import_module(module), name)
    try:
        picture: Image.Image = opened(io.BytesIO(encoded))
    except Exception as fault:
        raise Unprocessable(f"damaged {kind}: {fault}") from None
    width, height = picture.size
    return Undecoded(
        picture.size,
        orientation.UPRIGHT,
        height * (8 + width * _PIXEL_BYTES[kind]),
        lambda: _load(kind, picture),
    )


def _load(kind: str, picture: Image.Image) -> Image.Image:
    try:
        picture.load()
    except Exception as fault:
        raise Unprocessable(f"damaged {kind}: {fault}") from None
    return picture
