"""Every page can be followed: its links lead somewhere, and the README stays a face."""

import re
from pathlib import Path

import pytest

from tests.support.serving import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("findings/*.md")])
MAX_README_LINES = 200


def _text(page: Path) -> str:
    """Without its code, in which a bracket is no link and a # no heading."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Those that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", _text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_ours_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _text(page)):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else page.parent / path
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pictures_of_the_page_are_small(scheme: str) -> None:
    """`python -m tests.page.screenshots` makes them."""
    assert (ROOT / "docs" / f"page-{scheme}.png").stat().st_size < 150_000


def test_every_page_is_found_from_the_readme() -> None:
    named = re.findall(r"\]\(([^)#\s]+)", _text(ROOT / "README.md"))
    pages = {str(page.relative_to(ROOT)) for page in PAGES if page.name not in ("README.md", "CHANGELOG.md")}
    assert pages <= {*named}
