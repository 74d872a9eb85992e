"""A picture, however it comes to the page, and what its answer shows."""

import json
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import Serve
from tests.page.acting import answers, curl_line, drop, labels, sample
from tests.page.conftest import CAT, Visiting
from tests.support.browser import visiting
from tests.support.models import LABELS
from tests.support.pictures import png
from tests.support.serving import Server, serving
from tests.support.web import answer, web
from tests.web.test_metrics import COLD

CATS = {"Egyptian cat", "tiger cat", "tabby"}
MANY = 9
AT_ONCE = 4
# Counts the requests that are on their way at the same time.
COUNT = """() => {
    const ask = window.fetch;
    window.now = window.most = 0;
    window.fetch = async (...given) => {
        window.most = Math.max(window.most, ++window.now);
        try { return await ask(...given); } finally { window.now -= 1; }
    };
}"""


def test_a_dropped_photo_gets_its_label(visit: Visiting, serve: Serve, default_artifact: Path) -> None:
    seen = visit(serve(default_artifact))
    drop(seen.page, CAT)
    card = answers(seen.page).first
    assert labels(card)[0] in CATS
    expect(card.get_by_role("heading")).to_have_text("chelsea.png")
    expect(card.get_by_role("listitem").first).to_contain_text("%")
    expect(seen.page.get_by_role("status")).to_contain_text("chelsea.png: ")
    assert seen.asked[-1] == "POST /infer?top=5"
    assert seen.page.url == seen.url
    seen.check()


def test_a_pasted_picture_gets_its_label(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server, permissions=["clipboard-read", "clipboard-write"])
    copy = "async (url) => navigator.clipboard.write([new ClipboardItem({'image/png': (await fetch(url)).blob()})])"
    seen.page.route("**/test.png", lambda route: route.fulfill(body=png(30, 20), content_type="image/png"))
    seen.page.evaluate(copy, f"{seen.url}test.png")
    seen.page.keyboard.press("Control+V")
    assert {*labels(answers(seen.page).first)} < {*LABELS}
    seen.check()


def test_many_chosen_pictures_are_all_answered_a_few_at_a_time(
    visit: Visiting, tiny_page_server: Server, tmp_path: Path
) -> None:
    seen = visit(tiny_page_server)
    seen.page.evaluate(COUNT)
    files = [tmp_path / f"{number}.png" for number in range(MANY)]
    for number, file in enumerate(files):
        file.write_bytes(png(40, 30, number))
    seen.page.get_by_label("Choose pictures").set_input_files(files)
    cards = answers(seen.page, MANY)
    assert cards.get_by_role("heading").all_inner_texts() == [file.name for file in reversed(files)]
    assert all(len(labels(card)) == 5 for card in cards.all())
    assert seen.asked.count("POST /infer?top=5") == MANY
    assert seen.page.evaluate("window.most") <= AT_ONCE
    seen.check()


def test_a_broken_file_shows_the_sentence_of_the_service(
    visit: Visiting, tiny_page_server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no picture")
    seen = visit(tiny_page_server)
    drop(seen.page, file)
    error = tiny_page_server.call("POST", "/infer", file.read_bytes()).error
    expect(answers(seen.page).first.locator(".error")).to_have_text(error)
    expect(seen.page.get_by_role("status")).to_have_text(f"notes.txt: {error}")
    seen.check(422)


def test_the_camera_is_asked_for_at_the_click_and_let_go(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server, permissions=["camera"])
    assert seen.page.evaluate("document.querySelector('video').srcObject") is None
    seen.page.get_by_role("button", name="Use the camera").click()
    dialog = seen.page.get_by_role("dialog", name="Camera")
    expect(dialog).to_be_visible()
    seen.page.wait_for_function("() => document.querySelector('video').videoWidth > 0")
    seen.page.evaluate("window.tracks = document.querySelector('video').srcObject.getTracks()")
    dialog.get_by_role("button", name="Take the picture").click()
    assert {*labels(answers(seen.page).first)} < {*LABELS}
    expect(dialog).to_be_hidden()
    assert seen.page.evaluate("tracks.map((each) => each.readyState)") == ["ended"]
    seen.check()


def test_a_camera_that_is_not_allowed_is_told(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server)
    seen.page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('Permission denied'); }; }"
    )
    seen.page.get_by_role("button", name="Use the camera").click()
    expect(seen.page.locator("#fault")).to_have_text("The camera cannot be used: Permission denied")


def test_the_time_is_told_phase_by_phase(visit: Visiting, tiny_page_server: Server) -> None:
    tiny_page_server.call("POST", "/infer", png(20, 20))
    seen = visit(tiny_page_server)
    sample(seen.page)
    card = answers(seen.page).first
    card.get_by_text("Where the").click()
    rows = card.get_by_role("rowheader").all_inner_texts()
    assert rows == ["decode", "wait in the queue", "run the model", "encode"]
    assert "wake" not in card.inner_text()


def test_an_answer_after_a_wake_tells_the_phases_of_the_wake(visit: Visiting, tiny_onnx: Path, tmp_path: Path) -> None:
    with serving(tiny_onnx, tmp_path / "log") as server:
        seen = visit(server)
        sample(seen.page)
        card = answers(seen.page).first
        wake, request = card.get_by_role("table").all()
        expect(wake).to_be_visible()
        expect(wake.get_by_role("row")).to_have_count(len(COLD) - 1)
        expect(wake).to_contain_text("Python starts")
        expect(wake.get_by_role("caption")).to_contain_text("until ready")
        expect(request.get_by_role("row")).to_have_count(4)
        expect(card).to_contain_text("before this request came")
        sample(seen.page, "A rocket")
        expect(answers(seen.page, 2).first.get_by_role("table")).to_have_count(0, timeout=1000)
        seen.check()


@pytest.mark.parametrize(("since_ready_ms", "told"), [(0, "This request woke"), (600_000, "was ready 600.0 s before")])
def test_the_request_that_woke_the_service_is_told_from_a_later_one(
    visit: Visiting, tiny_page_server: Server, since_ready_ms: int, told: str
) -> None:
    seen = visit(tiny_page_server)
    timing = (
        f"cold-python;dur=80.0, cold-ready;dur=1.0, cold-request;dur={since_ready_ms}.0, run;dur=0.1, total;dur=0.1"
    )
    headers = {"Server-Timing": timing, "Content-Type": "application/json"}
    seen.page.route("**/infer?top=5", lambda route: route.fulfill(headers=headers, body='{"labels": []}'))
    sample(seen.page)
    expect(answers(seen.page).first).to_contain_text(told)
    seen.check()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("name", ["plain.png", "it's a <b>$PATH & more.png"])
def test_the_curl_line_gives_the_same_answer(
    visit: Visiting, tiny_page_server: Server, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_bytes(png(60, 40, 3))
    seen = visit(tiny_page_server)
    drop(seen.page, file)
    dropped = answers(seen.page).first
    expect(dropped.get_by_role("heading")).to_have_text(name)
    sample(seen.page)
    clicked = answers(seen.page, 2).first
    for card in (dropped, clicked):
        done = subprocess.run(["bash", "-c", curl_line(card)], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert [each["label"] for each in json.loads(done.stdout)["labels"]] == labels(card)


def test_the_curl_line_is_copied(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server, permissions=["clipboard-read", "clipboard-write"])
    sample(seen.page)
    card = answers(seen.page).first
    card.get_by_role("button", name="Copy").click()
    expect(seen.page.get_by_role("status")).to_have_text("Copied.")
    assert seen.page.evaluate("navigator.clipboard.readText()") == curl_line(card)


def test_what_a_proxy_says_is_told(visit: Visiting, tiny_page_server: Server) -> None:
    seen = visit(tiny_page_server)
    seen.page.route("**/infer?top=5", lambda route: route.fulfill(status=503, body="no healthy upstream"))
    sample(seen.page)
    expect(answers(seen.page).first.locator(".error")).to_have_text("503 no healthy upstream")


def test_a_service_that_is_gone_is_told(visit: Visiting, tiny_onnx: Path, tmp_path: Path) -> None:
    with serving(tiny_onnx, tmp_path / "log") as server:
        seen = visit(server)
        server.stop()
        sample(seen.page)
        expect(answers(seen.page).first.locator(".error")).to_contain_text("The service did not answer.")


def test_everything_works_behind_a_prefix(browser: Browser, tiny_page_server: Server) -> None:
    """A proxy that takes it off and tells nobody: the page asks below the address that it came from."""

    def forward(proxy: BaseHTTPRequestHandler) -> None:
        assert proxy.path.startswith("/some/where/")
        path = proxy.path.removeprefix("/some/where")
        body = proxy.rfile.read(int(proxy.headers.get("Content-Length", 0)))
        answered = tiny_page_server.call(proxy.command, path, body, dict(proxy.headers))
        headers = {**dict(answered.headers), "Connection": "close"}
        answer(proxy, answered.body, answered.status, headers)

    with web(forward) as proxy, visiting(browser, proxy.url("/some/where/")) as seen:
        sample(seen.page)
        card = answers(seen.page).first
        assert {*labels(card)} < {*LABELS}
        assert f"{seen.url}infer?top=5" in curl_line(card)
        metrics = seen.page.get_by_role("navigation").get_by_role("link", name="metrics")
        assert metrics.evaluate("(link) => link.href") == f"{seen.url}metrics"
        seen.check()
