"""What a person does with the page, and what it shows then."""

import base64
import mimetypes
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

# Files as a desktop hands them over, dropped or pasted.
TRANSFER = """(files) => {
    const transfer = new DataTransfer();
    for (const [name, type, text] of files)
        transfer.items.add(new File([Uint8Array.from(atob(text), (each) => each.charCodeAt(0))], name, {type}));
    return transfer;
}"""


def drop(page: Page, *files: Path) -> None:
    kinds = [mimetypes.guess_type(each)[0] or "" for each in files]
    sent = [
        [each.name, kind, base64.b64encode(each.read_bytes()).decode()] for each, kind in zip(files, kinds, strict=True)
    ]
    transfer = page.evaluate_handle(TRANSFER, sent)
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def sample(page: Page, name: str = "A cat") -> None:
    page.get_by_role("button", name=name, exact=True).click()


def answers(page: Page, count: int = 1) -> Locator:
    """The cards, the newest first, once there are so many and none waits."""
    cards = page.get_by_role("article")
    expect(cards).to_have_count(count)
    expect(page.locator("article[aria-busy=true]")).to_have_count(0)
    return cards


def labels(card: Locator) -> list[str]:
    return card.locator(".labels .label").all_inner_texts()


def curl_line(card: Locator) -> str:
    return card.get_by_role("group", name="curl line").inner_text()
