"""Pictures, format by format. image.py beside this folder is the entry; a picture goes through the files in this order.

formats.py      what the first bytes say: which format, whether it is accepted, what to do if not
undecoded.py    what is known before a pixel is decoded, and the limit on the memory that decoding may take
orientation.py  which way is up, from Exif or XMP that may be broken
jpeg.py         JPEG: headers, scans, and pictures without their end
png.py          PNG: chunks, and pictures without their end
webp.py         WebP: libwebp called directly
avif.py         AVIF: Pillow's decoder called directly
plain.py        GIF, BMP, TIFF: left to Pillow
pixels.py       decoded pixels -> upright, RGB, resized and cropped
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.protocol.picture import avif, formats, jpeg, orientation, pixels, plain, png, undecoded, webp

__all__ = ["avif", "formats", "jpeg", "orientation", "pixels", "plain", "png", "undecoded", "webp"]
__getattr__ = files_of(__name__)
