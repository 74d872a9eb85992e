"""What decoding a picture takes, measured in a process of its own: `python -m tests.support.decoding FILE` prints it as JSON."""

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, ImageOps

from model.artifact import ImageSpec
from service.errors import Unprocessable
from service.protocol import image
from service.settings import Settings
from tests.support.pictures import encoded, exif, jpeg, noise, png_of_zeros
from tests.support.serving import ROOT

SPEC = ImageSpec(224, 224, 256)
MOST_BYTES = 3 * Settings().max_image_pixels + 64 * 2**20
"""What docs/reference.md says that one picture takes."""


def _flat(kind: str, width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
    return encoded(Image.new(mode, (width, height), 99 if mode == "L" else (99,) * len(mode)), kind, **options)


SHAPES: dict[str, Callable[[], bytes]] = {
    "JPEG, grey noise, 65500x16": lambda: encoded(noise(65500, 16, "L"), "JPEG"),
    "JPEG, 16x65500": lambda: encoded(noise(16, 65500), "JPEG"),
    "JPEG, 5000x5000": partial(_flat, "JPEG", 5000, 5000),
    "JPEG, 1000x25000, lying": partial(_flat, "JPEG", 1000, 25000, exif=exif(6)),
    "JPEG, CMYK, 25000x1000, lying": partial(_flat, "JPEG", 25000, 1000, "CMYK", exif=exif(8)),
    "JPEG, progressive, 5000x5000": partial(_flat, "JPEG", 5000, 5000, progressive=True),
    "PNG, 1x1000000": partial(png_of_zeros, 1, 1_000_000),
    "PNG, 1000000x1": partial(png_of_zeros, 1_000_000, 1),
    "PNG, 5000x5000": partial(png_of_zeros, 5000, 5000),
    "PNG, RGBA of 16 bits, interlaced, 5000x5000": partial(png_of_zeros, 5000, 5000, 16, 6, interlaced=True),
    "PNG, grey of 16 bits, 5000x5000": partial(png_of_zeros, 5000, 5000, 16, 0),
    "PNG, grey and alpha, 25000x1000": partial(png_of_zeros, 25000, 1000, 8, 4),
    "PNG, palette, 1000x25000": partial(png_of_zeros, 1000, 25000, 8, 3),
    "WebP, 5000x5000": partial(_flat, "WEBP", 5000, 5000, method=0),
    "WebP, lossless, 3700x3700": partial(_flat, "WEBP", 3700, 3700, lossless=True, quality=0, method=0),
    "AVIF, 4000x3000": partial(_flat, "AVIF", 4000, 3000, speed=10),
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "PNG, 1x25000000": partial(png_of_zeros, 1, 25_000_000),
    "PNG, 25000000x1": partial(png_of_zeros, 25_000_000, 1),
    "JPEG, progressive, all colours, 5000x5000": partial(_flat, "JPEG", 5000, 5000, progressive=True, subsampling=0),
    "WebP, lossless, 5000x5000": partial(_flat, "WEBP", 5000, 5000, lossless=True, quality=0, method=0),
    "AVIF, 5000x5000": partial(_flat, "AVIF", 5000, 5000, speed=10),
}
"""No more pixels than are allowed, but more memory."""


@dataclass(frozen=True)
class Decoded:
    """`peak_bytes` is the growth of the resident memory; `refused` is empty where there were pixels."""

    peak_bytes: int
    seconds: float
    refused: str


def measure(picture: bytes, folder: Path, side: str = "ours") -> Decoded:
    """Decode it once, where nothing else happens; `side` is "ours", or "pillow" for what a script would do."""
    path = folder / "picture"
    path.write_bytes(picture)
    command = [sys.executable, "-m", "tests.support.decoding", str(path), side]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Decoded(**json.loads(done.stdout))


def main(path: str, side: str) -> None:
    decode = {"ours": _ours, "pillow": _pillow}[side]
    picture = Path(path).read_bytes()
    for small in (png_of_zeros(16, 16), jpeg(16, 16)):  # what is imported then is no picture's
        decode(small)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew: proc_pid_clear_refs(5)
    began, refused = time.perf_counter(), ""
    try:
        decode(picture)
    except (Unprocessable, MemoryError) as fault:  # Pillow would resize 1x1000000 to 262 GB
        refused = str(fault) or "out of memory"
    seconds = time.perf_counter() - began
    print(json.dumps({"peak_bytes": _memory("VmHWM") - before, "seconds": seconds, "refused": refused}))


def _ours(picture: bytes) -> None:
    image.decode(picture, SPEC, Settings().max_image_pixels)


def _pillow(picture: bytes) -> None:
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(picture)))
    width, height = upright.size
    scale = SPEC.resize_shorter / min(width, height)
    resized = upright.convert("RGB").resize((int(width * scale), int(height * scale)), Image.Resampling.BICUBIC)
    left, top = (resized.width - SPEC.width) // 2, (resized.height - SPEC.height) // 2
    resized.crop((left, top, left + SPEC.width, top + SPEC.height)).tobytes()


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
