"""A service that wants a key: the page asks for it, sends it, and forgets it with its tab."""

from playwright.sync_api import Page, Route, expect

from tests.page.acting import answers, curl_line, labels, sample
from tests.page.conftest import Visiting
from tests.support.models import LABELS
from tests.support.serving import Server

KEY = "the key"
REFUSAL = '{"error": "a key is wanted"}'


def _want_a_key(page: Page) -> None:
    def check(route: Route) -> None:
        if route.request.headers.get("authorization") == f"Bearer {KEY}":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/json", body=REFUSAL)

    page.route("**/infer?top=5", check)


def test_a_key_is_asked_for_and_sent(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server)
    _want_a_key(seen.page)
    field = seen.page.get_by_label("Your key")
    expect(field).to_be_hidden()
    sample(seen.page)
    expect(answers(seen.page).first.locator(".error")).to_have_text("a key is wanted")
    expect(field).to_be_focused()
    field.fill(KEY)
    seen.page.keyboard.press("Enter")
    expect(field).to_be_hidden()
    sample(seen.page)
    card = answers(seen.page, 2).first
    assert {*labels(card)} < {*LABELS}
    assert '-H "Authorization: Bearer $KEY"' in curl_line(card)
    assert KEY not in seen.page.content()
    seen.page.reload()
    seen.page.wait_for_selector("html[data-ready]")
    sample(seen.page)
    assert {*labels(answers(seen.page).first)} < {*LABELS}
    assert seen.page.evaluate("localStorage.length") == 0
    seen.check(401)
