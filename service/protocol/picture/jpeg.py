"""JPEG (ITU-T T.81): headers, scans, and pictures without their end.

Pillow never sees the metadata: neither Exif nor ICC, XMP or multi-picture tables can make it refuse a picture.
"""

import functools
import io
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile

from service.errors import Unprocessable
from service.protocol.picture import orientation
from service.protocol.picture.undecoded import TOLERATED, Undecoded, percent, scaled, stored_bytes

SCANS = 32
"""libjpeg goes through the whole picture once for each scan, be it empty; progressive files of photographs have ten, of CMYK eighteen."""
TOLERATED_DETAILS = 1 / 3
"""Of the last scan of several. Half a file always lacks more: half of its last scan, or whole scans."""
END = b"\xff\xd9"
_SCAN = b"\xff\xda"
_APP0, _APP1, _APP14, _COMMENT = 0xE0, 0xE1, 0xEE, 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ANYTHING = bytes(37 * number % 251 for number in range(64))
_MORE = _ANYTHING + b"".join(bytes((0xFF, restart)) + _ANYTHING for restart in range(0xD0, 0xD8))
"""Enough to be seen, with every restart marker, as libjpeg waits for the next one if there are any."""


@dataclass(frozen=True)
class _Frame:
    """The frame header: `components` are (identifier, horizontal and vertical sampling factor)."""

    size: tuple[int, int]
    is_progressive: bool
    components: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class _File:
    """A JPEG without its metadata; its pixels are from `scan`, where the first scan begins, to `end`.

    Anything after that, such as a phone's second picture, is left out.
    """

    bytes: bytes
    frame: _Frame
    orientation: int
    scan: int

    @functools.cached_property
    def end(self) -> int:
        # Within a scan, FF is followed by 00, a restart marker or the next segment, so this finds only segments.
        found = self.bytes.find(END, self.scan)
        return found if found >= 0 else len(self.bytes)

    @property
    def is_ended(self) -> bool:
        return self.end < len(self.bytes)

    @functools.cached_property
    def scans(self) -> int:
        return self.bytes.count(_SCAN, self.scan, self.end)

    @property
    def is_kept_as_coefficients(self) -> bool:
        return self.frame.is_progressive or self.scans > 1


def read(encoded: bytes, shorter: int) -> Undecoded:
    """The picture, to be decoded at a fraction of its size if its shorter side keeps at least `shorter` pixels."""
    file = _without_metadata(encoded)
    least = scaled(file.frame.size, shorter)
    if file.scans > SCANS:
        raise Unprocessable(f"a JPEG of {file.scans} scans, more than {SCANS}: save it as a baseline JPEG")
    return Undecoded(file.frame.size, file.orientation, _peak_bytes(file, least), lambda: _load(file, least))


def _load(file: _File, least: tuple[int, int]) -> Image.Image:
    try:
        return _decoded(file.bytes, "RGB", least)
    except OSError as fault:
        if file.is_ended:
            raise Unprocessable(f"damaged JPEG: {fault}") from None
    _check_what_is_there(file)
    return _decoded(file.bytes + END, "RGB", least)


def _decoded(encoded: bytes, mode: str, least: tuple[int, int]) -> Image.Image:
    picture = JpegImageFile(io.BytesIO(encoded))
    picture.draft(mode, least)
    picture.load()
    return picture


def _peak_bytes(file: _File, least: tuple[int, int]) -> int:
    width, height = file.frame.size
    mode = "L" if len(file.frame.components) == 1 else "RGB"
    fraction = min(width // least[0], height // least[1])
    divisor = next(each for each in (8, 4, 2, 1) if fraction >= each or each == 1)
    pixels = stored_bytes(mode, (-(-width // divisor), -(-height // divisor)))
    if not file.is_kept_as_coefficients:
        return pixels
    if not file.is_ended:  # _missing() compares two pictures of full size
        pixels = max(pixels, 3 * stored_bytes("CMYK" if len(file.frame.components) == 4 else "L", (width, height)))
    widest = max(across for _, across, _ in file.frame.components)
    tallest = max(down for _, _, down in file.frame.components)
    # 16 bits each, for blocks of 8x8
    samples = sum(
        -(-width * across // widest // 8) * 8 * -(-height * down // tallest // 8) * 8
        for _, across, down in file.frame.components
    )
    return 2 * samples + pixels


def _without_metadata(encoded: bytes) -> _File:
    """The file without comments, and without application segments that do not affect the pixels."""
    kept, frame, up, written = [], None, orientation.UPRIGHT, 0
    scan = len(encoded)
    for marker, start, end in _segments(encoded):
        if marker == _SCAN[1]:
            scan = start
            break
        if marker in _FRAMES:
            frame = _frame(marker, encoded[start + 4 : end])
        elif marker == _COMMENT or (_APP0 < marker <= 0xEF and marker != _APP14):
            if marker == _APP1 and up == orientation.UPRIGHT:
                up = _orientation(encoded[start + 4 : end])
            kept.append(encoded[written:start])
            written = end
    if frame is None or scan == len(encoded):
        raise Unprocessable("truncated JPEG: it ends before its pixels")
    if not kept:
        return _File(encoded, frame, up, scan)
    bare = b"".join((*kept, encoded[written:]))
    return _File(bare, frame, up, scan - len(encoded) + len(bare))


def _segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where it starts, where the next one does), up to the first scan."""
    at = 2
    while (at := encoded.find(b"\xff", at)) >= 0:
        marker = encoded[at + 1] if at + 1 < len(encoded) else 0xFF
        if marker == 0xFF and at + 1 < len(encoded):  # a fill byte
            at += 1
        elif marker in (0x00, 0x01, *range(0xD0, 0xD9)):  # no segments
            at += 2
        else:
            end = at + 2 + int.from_bytes(encoded[at + 2 : at + 4])
            if end > len(encoded):
                return
            yield marker, at, end
            at = end


def _frame(marker: int, header: bytes) -> _Frame:
    if len(header) < 6 or len(header) < 6 + 3 * header[5]:
        raise Unprocessable("damaged JPEG: its frame header is too short")
    size = int.from_bytes(header[3:5]), int.from_bytes(header[1:3])
    components = tuple(
        (header[at], header[at + 1] >> 4 or 1, header[at + 1] & 15 or 1) for at in range(6, 6 + 3 * header[5], 3)
    )
    if not all(size) or not components:
        raise Unprocessable(f"damaged JPEG: {size[0]}x{size[1]} pixels of {len(components)} components")
    return _Frame(size, marker in _PROGRESSIVE, components)


def _orientation(app1: bytes) -> int:
    if app1.startswith(orientation.EXIF):
        return orientation.of_exif(app1)
    return orientation.of_xmp(app1) if app1.startswith(_XMP) else orientation.UPRIGHT


def _check_what_is_there(file: _File) -> None:
    """Raise Unprocessable, and say how much is missing, if a truncated picture lacks more than its last rows."""
    if not _is_covered(file):
        raise Unprocessable("truncated JPEG: whole scans are missing, each a part of all its pixels")
    missing = _missing(file)
    tolerated, where = TOLERATED, "its rows"
    if file.is_kept_as_coefficients:
        tolerated, where = TOLERATED_DETAILS, "the details of its last scan"
    if missing > tolerated:
        raise Unprocessable(f"truncated JPEG: {percent(missing)} of {where} are missing")


def _is_covered(file: _File) -> bool:
    """Whether every bit of every coefficient is in a scan that has at least begun (T.81, B.2.3 and G.1.1.1)."""
    left = {component: set(range(64)) for component, _, _ in file.frame.components}
    at = file.scan
    while at >= 0:
        count = file.bytes[at + 4] if at + 4 < len(file.bytes) else 0
        header = file.bytes[at + 5 : at + 8 + 2 * count]
        if len(header) == 3 + 2 * count and header[-1] & 15 == 0:
            for component in header[: 2 * count : 2]:
                left.get(component, set()).difference_update(range(header[-3], header[-2] + 1))
        at = file.bytes.find(_SCAN, at + 2)
    return not any(left.values())


def _missing(file: _File) -> float:
    """The share of rows that the last scan does not reach. These rows change when more bytes are added at the end.

    libjpeg does not say how far it came: it fills the missing part of a baseline picture with grey, and of a progressive
    one with the scans before. It skips what follows a complete scan.
    """
    # At an eighth of its size, each block of a baseline picture shows, but not the details that the last scan adds.
    size = file.frame.size if file.is_kept_as_coefficients else scaled(file.frame.size, min(file.frame.size) // 8 or 1)
    as_it_is = _decoded(file.bytes + END, "L", size)
    changed = ImageChops.difference(as_it_is, _decoded(file.bytes + _MORE + END, "L", size))
    box = changed.getbbox()
    if box is None:
        return 0.0
    # Blocks come row by row: the row of the first change has begun, and is there to the left of that change.
    row = 1 if size != file.frame.size else 8
    begun = changed.crop((0, box[1], changed.width, box[1] + row)).getbbox()
    there = box[1] + row * (begun[0] if begun else 0) / changed.width
    return 1 - there / changed.height
