"""For everybody: the keyboard alone, a screen reader, a phone, a dark screen, a slow line."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.page.acting import answers, labels, sample
from tests.page.conftest import CAT, Visiting
from tests.support.browser import Visit
from tests.support.models import LABELS
from tests.support.serving import Server

WIDTH = 375
PHONE = {"viewport": {"width": WIDTH, "height": 812}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
MOST_BYTES = 100_000


def _fill(seen: Visit) -> None:
    """Every part of the page has something to show."""
    page = seen.page
    sample(page)
    answers(page)
    page.get_by_text("Where the").first.click()
    page.get_by_label("Choose pictures").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"no"})
    answers(page, 2)
    page.get_by_label("Answer later, as a job").check()
    sample(page, "A rocket")
    answers(page, 3)
    page.get_by_role("button", name="Watch").click()
    expect(page.locator("#state")).to_contain_text("runners")


def _violations(page: Page) -> list[Any]:
    found = Axe().run(page, options={"resultTypes": ["violations", "incomplete"]}).response
    unsure = [each for each in found["incomplete"] if each["id"] == "color-contrast"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in (*found["violations"], *unsure)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visiting, keeping_server: Server, scheme: str) -> None:
    seen = visit(keeping_server, color_scheme=scheme)
    assert _violations(seen.page) == []
    _fill(seen)
    assert _violations(seen.page) == []
    seen.page.get_by_role("button", name="Use the camera").click()
    expect(seen.page.get_by_role("dialog")).to_be_visible()
    assert _violations(seen.page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_form_of_tensors(visit: Visiting, tensor_server: Server, scheme: str) -> None:
    seen = visit(tensor_server, color_scheme=scheme)
    seen.page.get_by_role("textbox", name="float32").fill("[")
    seen.page.get_by_role("button", name="Infer").click()
    assert _violations(seen.page) == []
    seen.page.get_by_role("textbox", name="float32").fill("1")
    seen.page.get_by_role("button", name="Infer").click()
    answers(seen.page)
    assert _violations(seen.page) == []


def test_dark_is_dark(visit: Visiting, tiny_page_server: Server) -> None:
    lights = []
    for scheme in ("light", "dark"):
        page = visit(tiny_page_server, color_scheme=scheme).page
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        lights.append(sum(colour) / 3)
    assert lights[0] > 220
    assert lights[1] < 40


def test_nothing_moves_for_who_wants_that(visit: Visiting, tiny_page_server: Server) -> None:
    page = visit(tiny_page_server, reduced_motion="reduce").page
    assert page.evaluate("getComputedStyle(document.querySelector('#drop')).transitionDuration") == "0s"


def test_a_phone_shows_all_of_it_in_its_width(visit: Visiting, keeping_server: Server) -> None:
    seen = visit(keeping_server, **PHONE)
    _fill(seen)
    assert seen.page.evaluate("document.documentElement.scrollWidth") == WIDTH
    assert _violations(seen.page) == []
    for button in seen.page.locator("button, label.button").all():
        box = button.bounding_box()
        assert box is None or box["height"] >= 24
    seen.check(422)


def test_everything_is_reached_by_the_keyboard(visit: Visiting, keeping_server: Server) -> None:
    seen = visit(keeping_server)
    focused = "document.activeElement.id || document.activeElement.dataset.sample || document.activeElement.textContent.trim()"
    reached = []
    for _ in range(14):
        seen.page.keyboard.press("Tab")
        reached.append(seen.page.evaluate(focused))
        if reached[-1] in ("chelsea.jpg", "files"):
            outlined = "files + .button" if reached[-1] == "files" else "samples button"
            assert seen.page.evaluate(f"getComputedStyle(document.querySelector('#{outlined}')).outlineWidth") == "3px"
    assert reached[:5] == ["files", "camera", "chelsea.jpg", "coffee.jpg", "rocket.jpg"]
    assert {"jobs-read", "state-read", "metrics"} <= {*reached}


def test_a_picture_is_asked_about_by_the_keyboard(visit: Visiting, keeping_server: Server) -> None:
    seen = visit(keeping_server)
    seen.page.keyboard.press("Tab")
    with seen.page.expect_file_chooser() as chooser:
        seen.page.keyboard.press("Space")
    chooser.value.set_files(CAT)
    card = answers(seen.page).first
    assert {*labels(card)} < {*LABELS}
    for _ in range(2):
        seen.page.keyboard.press("Tab")
    expect(seen.page.get_by_role("button", name="A cat")).to_be_focused()
    seen.page.keyboard.press("Space")
    answers(seen.page, 2)
    for _ in range(3):
        seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("ArrowDown")
    expect(seen.page.get_by_label("Answer later, as a job")).to_be_checked()
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("details").first).to_have_attribute("open", "")
    seen.check()


def test_the_camera_is_left_by_escape(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server, permissions=["camera"])
    button = seen.page.get_by_role("button", name="Use the camera")
    button.press("Enter")
    expect(seen.page.get_by_role("dialog")).to_be_visible()
    seen.page.keyboard.press("Escape")
    expect(seen.page.get_by_role("dialog")).to_be_hidden()
    expect(button).to_be_focused()
    assert seen.page.evaluate("document.querySelector('video').srcObject") is None


def test_the_first_paint_is_small(browser: Browser, keeping_server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    sizes: list[int] = []
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(f"http://{keeping_server.address}/", wait_until="networkidle")
    page.wait_for_selector("html[data-ready]")
    assert len(sizes) > 10
    assert sum(sizes) <= MOST_BYTES
    context.close()
