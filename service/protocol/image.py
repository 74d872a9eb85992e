"""Pure: encoded picture -> UINT8 [H, W, 3], as the artifact prescribes; the formats are in the folder picture/."""

from collections.abc import Sequence

from PIL import Image

from model.artifact import ImageSpec
from service.errors import Unprocessable
from service.protocol import picture
from service.protocol.picture import jpeg, png
from service.protocol.picture.formats import DEFAULT, accepted_format
from service.protocol.picture.pixels import prepared
from service.protocol.picture.undecoded import Undecoded, check_size

# A picture is decoded at a fraction of its size if at least twice the wanted size remains, as in Pillow's thumbnail().
DRAFT_FACTOR = 2

# The limit on pixels is ours, and is checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


def decode(encoded: bytes, spec: ImageSpec, max_pixels: int, accepted: Sequence[str] = DEFAULT) -> bytes:
    """The picture as raw RGB, `height * width * 3` bytes; upright by its metadata, resized and cropped.

    May be called by many threads at once: Pillow decodes and resizes without the GIL. Takes at most `max_pixels` x 3 bytes
    + 64 MiB, whatever the picture's shape, besides `encoded` and one copy of it.

    Raises:
        Unprocessable: none of the accepted formats, damaged, or of more than `max_pixels` pixels.
    """
    if not encoded:
        raise Unprocessable("the picture is empty")
    kind = accepted_format(encoded, accepted)
    undecoded = _read(kind, encoded, spec)
    check_size(kind, undecoded, max_pixels)
    try:
        return prepared(undecoded.load(), undecoded.orientation, spec)
    except Unprocessable:
        raise
    except Exception as fault:
        raise Unprocessable(f"damaged {kind}: {fault}") from None


def _read(kind: str, encoded: bytes, spec: ImageSpec) -> Undecoded:
    if kind == "JPEG":
        return jpeg.read(encoded, spec.resize_shorter * DRAFT_FACTOR)
    if kind == "PNG":
        return png.read(encoded)
    # Imported late, because readiness does not need libwebp, nor libavif with its codecs.
    if kind == "WebP":
        return picture.webp.read(encoded)
    return picture.avif.read(encoded) if kind == "AVIF" else picture.plain.read(kind, encoded)
