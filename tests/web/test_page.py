"""What `GET /` answers to browsers and to others, and how the page's files are sent."""

import gzip
import os
import re
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from flask import Flask

from service.web import page
from tests.conftest import OnLambda, Serve
from tests.project.test_imports import _modules
from tests.support.exporting import Exports
from tests.support.serving import Answer, Server

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
# Set by the first request for the page, and by nothing before it.
OPENED = """
import sys
opened = set()
sys.addaudithook(lambda event, args: event == "open" and "service/page/" in str(args[0]) and opened.add(str(args[0])))
from service.settings import Settings
from service.web.app import create_app
app = create_app(Settings.from_env({"MODEL_DIR": sys.argv[1]}))
runtime = app.extensions["runtime"]
runtime.wait_until_ready(60)
assert app.test_client().get("/", headers={"Accept": "application/json"}).json["status"] == "alive"
assert not opened, opened
assert app.test_client().get("/", headers={"Accept": "text/html"}).status_code == 200
assert [each.rpartition("/")[2] for each in opened] == ["index.html"]
opened.clear()
assert app.test_client().get("/", headers={"Accept": "text/html"}).status_code == 200
assert not opened, opened
runtime.close()
"""


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path) -> Server:
    return serve(tiny_onnx)


def _get(server: Server, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    return server.call(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [(BROWSER, True), ("text/html", True), ("text/*", True), ("text/html, application/json", True), ("*/*", False),
     ("application/json", False), ("application/json, text/html;q=0.9, */*;q=0.1", False), ("text/html;q=0", False),
     ("image/png", False)],
)  # fmt: skip
def test_who_accepts_html_gets_the_page(server: Server, accept: str, is_page: bool) -> None:
    answer = _get(server, Accept=accept)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == ("text/html; charset=utf-8" if is_page else "application/json")
    assert "Accept" in answer.headers["Vary"].split(", ")
    assert answer.body.startswith(b"<!doctype html>") == is_page


def test_everybody_else_is_told_what_is_there(server: Server) -> None:
    """KServe's V1 client reads `status`."""
    told = _get(server).json
    assert told == {
        "status": "alive", "name": "kindling", "version": "0.1.0",
        "model": "tiny", "engine": "onnx", "precision": "fp32",
        "links": {"model": "/v2/models/tiny", "infer": "/v2/models/tiny/infer", "picture": "/infer",
                  "ready": "/v2/health/ready", "metrics": "/metrics", "events": "/events/schema"},
    }  # fmt: skip
    for name in ("model", "ready", "metrics", "events"):
        assert _get(server, told["links"][name]).status == 200


def test_links_say_whether_jobs_are_kept_and_pictures_taken(serve: Serve, exports: Exports, tmp_path: Path) -> None:
    server = serve(exports.artifact("types-onnx"), DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite")
    links: dict[str, Any] = _get(server).json["links"]
    assert links["jobs"] == "/jobs"
    assert "picture" not in links


def test_links_keep_the_prefix_that_a_trusted_proxy_took_off(serve: Serve, tiny_onnx: Path) -> None:
    told = _get(serve(tiny_onnx, TRUST_FORWARDED_PREFIX="true"), X_Forwarded_Prefix="/ai").json
    assert told["links"]["picture"] == "/ai/infer"


def test_the_line_at_the_start_leads_to_the_page(server: Server) -> None:
    found = re.search(r"^tiny on (http://\S+)$", server.log, re.MULTILINE)
    assert found is not None
    with urlopen(Request(found[1], headers={"Accept": BROWSER}), timeout=60) as answer:
        assert answer.read().startswith(b"<!doctype html>")


def test_posts_to_the_same_address_are_events(server: Server) -> None:
    assert server.call("POST", "/", b"").error.startswith("no CloudEvent")
    allowed = server.call("OPTIONS", "/").headers["Allow"]
    assert {*allowed.split(", ")} == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/style.css", "/page/favicon.svg", "/page/chelsea.jpg"])
def test_a_file_is_sent_once(server: Server, path: str) -> None:
    answer = _get(server, path, Accept=BROWSER)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "Accept-Encoding" in answer.headers["Vary"].split(", ")
    again = _get(server, path, Accept=BROWSER, If_None_Match=f'"other", {answer.headers["ETag"]}')
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", answer.headers["ETag"])
    assert _get(server, path, Accept=BROWSER, If_None_Match='"other"').body == answer.body
    head = _get(server, path, "HEAD", Accept=BROWSER)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(answer.body))


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/style.css", "/page/favicon.svg"])
def test_text_is_compressed_for_who_takes_that(server: Server, path: str) -> None:
    plain = _get(server, path, Accept=BROWSER)
    assert "Content-Encoding" not in plain.headers
    assert _get(server, path, Accept=BROWSER, Accept_Encoding="gzip;q=0, br").body == plain.body
    packed = _get(server, path, Accept=BROWSER, Accept_Encoding="gzip, deflate, br")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < 0.8 * len(plain.body)
    assert packed.headers["ETag"] == plain.headers["ETag"]


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/coffee.jpg"])
def test_a_browser_is_told_to_trust_nobody_else(server: Server, path: str) -> None:
    headers = _get(server, path, Accept=BROWSER).headers
    policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' blob:",
        "connect-src": "'self'", "form-action": "'none'", "base-uri": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["none.js", "..", "%2e%2e", "..%2fweb%2fpage.py", "a" * 300, "%00", ".", "page.py"])
def test_nothing_but_the_pages_files_is_sent(server: Server, name: str) -> None:
    answer = _get(server, f"/page/{name}")
    assert answer.status == 404
    assert answer.error


def test_the_page_is_read_when_it_is_first_asked_for(tiny_onnx: Path) -> None:
    _modules(OPENED, str(tiny_onnx))


def test_an_edit_is_served_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    app = Flask("page", static_folder=None)
    app.register_blueprint(page.routes)
    file, tags = tmp_path / "app.js", set()
    for number, text in enumerate(("one", "two")):
        file.write_text(text)
        os.utime(file, (number, number))
        answer = app.test_client().get("/page/app.js")
        assert answer.text == text
        tags.add(answer.headers["ETag"])
    assert len(tags) == 2


def test_the_page_comes_through_lambda(on_lambda: OnLambda, tiny_onnx: Path) -> None:
    """In base64, because it is compressed."""
    function = on_lambda(tiny_onnx)
    for version in ("1.0", "2.0"):
        answer = function.http(version, "GET", "/", headers={"Accept": BROWSER, "Accept-Encoding": "gzip"})
        assert answer.status == 200
        assert gzip.decompress(answer.body).startswith(b"<!doctype html>")
