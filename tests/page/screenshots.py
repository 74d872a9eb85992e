"""`python -m tests.page.screenshots`: the page with an answer and its wake, light and dark, as the README shows it."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from tests.conftest import DEFAULT_ARTIFACT
from tests.page.acting import answers, sample
from tests.support.browser import browsing, url_of, visiting
from tests.support.serving import ROOT, serving

WIDTH, MARGIN = 880, 20
COLOURS = 128


def main() -> int:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("there is no Chromium: apt-get install chromium", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, browsing(program) as browser:
        for scheme in ("light", "dark"):
            _take(browser, Path(folder), scheme, ROOT / "docs" / f"page-{scheme}.png")
    return 0


def _take(browser: Browser, folder: Path, scheme: str, target: Path) -> None:
    """A picture of the page after a wake; a service of its own for each, so that there is one."""
    database = f"sqlite:///{folder}/{scheme}.sqlite"
    with (
        serving(ROOT / DEFAULT_ARTIFACT, folder / f"{scheme}.log", DATABASE_URL=database) as server,
        visiting(browser, url_of(server), color_scheme=scheme, viewport={"width": WIDTH, "height": 800}) as seen,
    ):
        sample(seen.page)
        box = answers(seen.page).first.bounding_box()
        assert box is not None
        seen.page.mouse.move(0, 0)
        seen.page.set_viewport_size({"width": WIDTH, "height": int(box["y"] + box["height"]) + MARGIN})
        png = seen.page.screenshot(animations="disabled")
        taken = Image.open(io.BytesIO(png)).convert("RGB")
    # Few colours are enough for what is mostly text, and keep the file small.
    taken.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
