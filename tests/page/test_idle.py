"""A page that is left alone asks nothing, so that no pod stays awake for it; and it says so."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.acting import answers, sample
from tests.page.conftest import Visiting
from tests.support.browser import Visit
from tests.support.jobs import job_of_another_pod
from tests.support.serving import Server
from tests.web.test_metrics import samples

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
# The browser without a window always shows its pages.
SHOW = """(isHidden) => {
    Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def _watching(page: Page) -> Any:
    return expect(page.locator("#watching"))


def _metrics(seen: Visit) -> int:
    return seen.asked.count("GET /metrics")


def test_the_page_asks_for_nothing_by_itself(visit: Visiting, keeping_server: Server) -> None:
    seen = visit(keeping_server, clock=True)
    sample(seen.page)
    answers(seen.page)
    before = len(seen.asked)
    seen.page.clock.run_for(HOUR_MS)
    assert len(seen.asked) == before
    _watching(seen.page).to_contain_text("asks nothing by itself")
    assert not any(each.startswith(("GET /metrics", "GET /jobs")) for each in seen.asked)
    seen.check()


def test_the_state_is_read_while_somebody_watches(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server, clock=True)
    button = seen.page.get_by_role("button", name="Watch")
    button.click()
    tiles = seen.page.locator("#state > div")
    expect(tiles.filter(has_text="runners")).to_contain_text(str(int(samples(tiny_page_server)["kindling_runners",])))
    expect(tiles.filter(has_text="requests a second")).to_contain_text("...")
    for _ in range(3):
        sample(seen.page)
    answers(seen.page, 3)
    seen.page.clock.run_for(2000)
    expect(tiles.filter(has_text="requests a second")).to_contain_text(re.compile(r"\d+\.\d$"))
    expect(tiles.filter(has_text="runs of the model")).to_contain_text("of 1")
    button.click()
    before = _metrics(seen)
    seen.page.clock.run_for(MINUTE_MS)
    assert _metrics(seen) == before
    _watching(seen.page).to_contain_text("asks nothing by itself")
    seen.check()


def test_watching_stops_a_minute_after_the_last_action(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server, clock=True)
    seen.page.get_by_role("button", name="Watch").click()
    _watching(seen.page).to_contain_text("asks for news now")
    seen.page.clock.run_for(MINUTE_MS)
    _watching(seen.page).to_contain_text("Stopped: nothing was done for a minute")
    expect(seen.page.get_by_role("status")).to_contain_text("Stopped")
    before = _metrics(seen)
    assert 25 <= before <= 35
    seen.page.clock.run_for(HOUR_MS)
    assert _metrics(seen) == before
    with seen.page.expect_response("**/metrics"):
        seen.page.keyboard.press("Shift")
    _watching(seen.page).to_contain_text("asks for news now")
    seen.check()


def test_nothing_is_asked_while_nobody_sees_the_page(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server, clock=True)
    with seen.page.expect_response("**/metrics"):
        seen.page.get_by_role("button", name="Watch").click()
    seen.page.evaluate(SHOW, True)
    before = _metrics(seen)
    seen.page.clock.run_for(HOUR_MS)
    assert _metrics(seen) == before
    with seen.page.expect_response("**/metrics"):
        seen.page.evaluate(SHOW, False)
    seen.check()


@pytest.mark.parametrize("leave", ["idle", "hidden"])
def test_a_job_is_not_followed_without_anybody(
    visit: Visiting, keeping_server: Server, sqlite_url: str, leave: str
) -> None:
    """The stream is closed, not only ignored: an open one is a request in flight, which keeps the pod."""
    with job_of_another_pod(sqlite_url) as (store, job):
        seen = visit(keeping_server, clock=True)
        seen.page.get_by_role("button", name="Read the list").click()
        row = seen.page.locator(f"#job-{job.id}")
        with seen.page.expect_response(re.compile(f"/jobs/{job.id}$")):
            row.get_by_role("button", name="Follow").click()
        with seen.page.expect_event("requestfailed", lambda each: each.url.endswith(f"/jobs/{job.id}")):
            if leave == "idle":
                seen.page.clock.run_for(MINUTE_MS)
            else:
                seen.page.evaluate(SHOW, True)
        store.fail(job.id, 500, "meanwhile")
        if leave == "idle":
            seen.page.keyboard.press("Shift")
        else:
            seen.page.evaluate(SHOW, False)
        expect(row).to_contain_text("meanwhile")
        _watching(seen.page).to_contain_text("asks nothing by itself")
        seen.check()
