"""Jobs on the page: followed to their end, listed, cancelled, sent again, deleted."""

import re
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Locator, Page, expect

from tests.page.acting import answers, curl_line, drop, labels, sample
from tests.page.conftest import Visiting
from tests.support.jobs import finished, job_of_another_pod
from tests.support.models import LABELS
from tests.support.pictures import png
from tests.support.serving import Server

MANY = 8
MOST_STREAMS = 3


def _row(page: Page, job_id: str) -> Locator:
    return page.locator(f"#job-{job_id}")


def _id(card: Locator) -> str:
    return (card.get_by_role("link").get_attribute("href") or "").rpartition("/")[2]


def test_a_job_is_followed_to_its_end_by_events(visit: Visiting, keeping_server: Server) -> None:
    seen = visit(keeping_server)
    seen.page.get_by_label("Answer later, as a job").check()
    sample(seen.page)
    card = answers(seen.page).first
    assert {*labels(card)} < {*LABELS}
    expect(card.locator(".status")).to_have_text("succeeded")
    streams = [each.url for each in seen.requests if each.resource_type == "eventsource"]
    assert streams == [f"{seen.url}jobs/{_id(card)}"]
    assert "-H 'Prefer: respond-async'" in curl_line(card)
    expect(_row(seen.page, _id(card))).to_contain_text("succeeded")
    expect(seen.page.locator("#watching")).to_contain_text("asks nothing by itself")
    seen.check()


def test_a_job_of_another_pod_is_listed_followed_and_deleted(
    visit: Visiting, keeping_server: Server, sqlite_url: str
) -> None:
    with job_of_another_pod(sqlite_url) as (store, job):
        seen = visit(keeping_server)
        seen.page.get_by_role("button", name="Read the list").click()
        row = _row(seen.page, job.id)
        expect(row).to_contain_text("queued")
        with seen.page.expect_response(re.compile(f"/jobs/{job.id}$")):
            row.get_by_role("button", name="Follow").click()
        store.fail(job.id, 500, "the test ends it")
        expect(row).to_contain_text("failed")
        expect(row).to_contain_text("the test ends it")
        row.get_by_role("button", name="Delete").click()
        expect(row).to_have_count(0)
        assert keeping_server.call("GET", f"/jobs/{job.id}").status == 404
        expect(seen.page.get_by_role("button", name="Read it again")).to_be_focused()
        seen.check()


def test_a_queued_job_is_cancelled(visit: Visiting, keeping_server: Server, sqlite_url: str) -> None:
    with job_of_another_pod(sqlite_url) as (_, job):
        seen = visit(keeping_server)
        seen.page.get_by_role("button", name="Read the list").click()
        row = _row(seen.page, job.id)
        row.get_by_role("button", name="Cancel").click()
        expect(row).to_contain_text("cancelled")
        expect(row.get_by_role("button")).to_have_text(["Delete"])
        expect(row.get_by_role("button")).to_be_focused()
        assert finished(keeping_server, job.id)["status"] == "cancelled"
        seen.check()


def test_a_job_that_cannot_be_cancelled_any_more_says_so(
    visit: Visiting, keeping_server: Server, sqlite_url: str
) -> None:
    with job_of_another_pod(sqlite_url) as (store, job):
        seen = visit(keeping_server)
        seen.page.get_by_role("button", name="Read the list").click()
        expect(_row(seen.page, job.id)).to_contain_text("queued")
        store.fail(job.id, 500, "")
        store.delete(job.id)
        _row(seen.page, job.id).get_by_role("button", name="Cancel").click()
        error = keeping_server.call("DELETE", f"/jobs/{job.id}").error
        expect(seen.page.locator("#jobs-told")).to_have_text(error)
        seen.check(404)


def test_a_failed_job_tells_why_and_is_sent_again(visit: Visiting, keeping_server: Server, tmp_path: Path) -> None:
    file = tmp_path / f"{uuid4().hex}.txt"
    file.write_text("no picture")
    seen = visit(keeping_server)
    seen.page.get_by_label("Answer later, as a job").check()
    drop(seen.page, file)
    card = answers(seen.page).first
    expect(card.locator(".error")).to_contain_text("not a picture")
    row, before = _row(seen.page, _id(card)), finished(keeping_server, _id(card))
    with seen.page.expect_response(re.compile("/retry$")) as retried:
        row.get_by_role("button", name="Retry").click()
    assert retried.value.status == 202
    answers(seen.page)
    expect(row).to_contain_text("failed")
    assert finished(keeping_server, _id(card))["updated"] > before["updated"]
    seen.check()


def test_older_jobs_come_page_by_page(visit: Visiting, keeping_server: Server) -> None:
    for _ in range(25):
        keeping_server.call("POST", "/infer", png(20, 20), {"Prefer": "respond-async"})
    seen = visit(keeping_server)
    seen.page.get_by_role("button", name="Read the list").click()
    rows = seen.page.locator("#jobs-rows tr")
    expect(rows).to_have_count(20)
    seen.page.get_by_role("button", name="Older jobs").click()
    expect(seen.page.locator("#jobs-told")).not_to_contain_text("20 jobs")
    assert rows.count() > 20
    seen.check()


def test_many_jobs_are_followed_and_leave_connections_for_the_rest(
    visit: Visiting, keeping_server: Server, sqlite_url: str
) -> None:
    with ExitStack() as stack:
        found = [stack.enter_context(job_of_another_pod(sqlite_url)) for _ in range(MANY)]
        seen = visit(keeping_server)
        seen.page.get_by_role("button", name="Read the list").click()
        for _, job in found:
            with seen.page.expect_response(re.compile(f"/jobs/{job.id}$")):
                _row(seen.page, job.id).get_by_role("button", name="Follow").click()
        sample(seen.page)
        assert {*labels(answers(seen.page).first)} < {*LABELS}
        streamed = {each.url for each in seen.requests if each.resource_type == "eventsource"}
        assert len(streamed) == MOST_STREAMS
        for store, job in found:
            store.fail(job.id, 500, "")
        for _, job in found:
            expect(_row(seen.page, job.id)).to_contain_text("failed")
        seen.check()


def test_a_job_is_followed_where_no_events_come(visit: Visiting, keeping_server: Server) -> None:
    """As behind a proxy that holds streams back, or where a key is wanted, which an EventSource cannot send."""
    seen = visit(keeping_server)
    seen.page.route(
        "**/jobs/*",
        lambda route: route.fulfill(status=401) if route.request.resource_type == "eventsource" else route.continue_(),
    )
    seen.page.get_by_label("Answer later, as a job").check()
    sample(seen.page)
    assert {*labels(answers(seen.page).first)} < {*LABELS}
    seen.check(401)


def test_without_a_database_the_page_says_so_and_offers_none(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server)
    expect(seen.page.get_by_text("This service keeps no jobs")).to_be_visible()
    expect(seen.page.get_by_role("heading", name="Jobs")).to_be_hidden()
    expect(seen.page.get_by_role("radio")).to_have_count(0)
    assert not any(each.startswith("GET /jobs") for each in seen.asked)
    sample(seen.page)
    answers(seen.page)
    seen.check()
