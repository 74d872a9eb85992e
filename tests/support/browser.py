"""A real browser, Chromium, and what it noted while the page was open."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.support.serving import Server

WAIT_MS = 30_000
# A camera that shows a moving test picture, and nobody who has to allow it.
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
# Set before the page's own scripts, so that no violation is missed.
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));
"""


@contextmanager
def browsing(executable: str, *flags: str) -> Iterator[Browser]:
    """Chromium, without a window, as long as the block."""
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*CAMERA, *flags])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """The page at `url`, and what happened there: errors in the console, and every request as (method, URL)."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        """The requests since the page was there: "POST /infer?top=5"."""
        return [f"{each.method} {_path(each.url)}" for each in self.requests if not each.url.startswith("blob:")]

    def check(self, *expected: int) -> None:
        """No error but answers of these statuses, no request to another host, no violation of the policy."""
        statuses = tuple(f"status of {each} " for each in expected)
        assert [each for each in self.errors if not any(status in each for status in statuses)] == []
        here = urlsplit(self.url).netloc
        hosts = {urlsplit(each.url).netloc for each in self.requests if not each.url.startswith("blob:")}
        assert hosts <= {here}
        assert self.page.evaluate("window.violations") == []


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@contextmanager
def visiting(browser: Browser, url: str, *, clock: bool = False, **options: Any) -> Iterator[Visit]:
    """The page, once it has shown what the service is; `clock`: with a clock that the test moves."""
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    visit = Visit(page, url)

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            visit.errors.append(f"{message.text} {message.location['url']}")

    page.on("console", note)
    page.on("pageerror", lambda fault: visit.errors.append(str(fault)))
    page.on("request", lambda request: visit.requests.append(request))  # noqa: PLW0108 - Playwright takes no built-in function
    page.add_init_script(NOTE_VIOLATIONS)
    try:
        if clock:
            page.clock.install()
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        yield visit
    finally:
        context.close()


def url_of(server: Server) -> str:
    return f"http://{server.address}/"
