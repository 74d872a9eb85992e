"""Claim check: an event's data are fetched from where it is allowed, and nobody can have the service look elsewhere."""

import socket
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from service.errors import NotReady, Unprocessable
from service.events import dataref
from tests.conftest import Serve
from tests.support.events import COMPLETED, FAILED, MODES, assert_refused, event, replies, reply, send
from tests.support.pictures import png
from tests.support.serving import Server
from tests.support.web import Web, answer, web

PICTURE = png(40, 30)
MAX_BYTES = 100_000
LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.1", "0.0.0.0", "0", "2130706433", "0x7f000001", "0x7f.0x1", "0177.0.0.1", "017700000001",
    "localhost", "LOCALHOST", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]",
]  # fmt: skip
PRIVATE = [
    "10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254", "192.168.1.1", "169.254.169.254", "169.254.170.2",
    "100.64.0.1", "192.0.2.1", "198.18.0.1", "240.0.0.1", "255.255.255.255", "224.0.0.1", "0xa9fea9fe", "2852039166",
    "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[100::1]", "[2001:db8::1]",
    "[2001::1]", "[::ffff:169.254.169.254]", "[::ffff:a00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
]  # fmt: skip


@pytest.fixture(scope="module")
def everywhere() -> Iterator[Web]:
    with web(PICTURE, host="0.0.0.0") as found:
        yield found


@pytest.fixture
def shop(everywhere: Web) -> Web:
    """It answers on every IPv4 address of this machine, and nobody has come yet."""
    everywhere.came.clear()
    return everywhere


def _fetch(url: str, *allowed: str, private: bool = True, max_bytes: int = MAX_BYTES) -> bytes:
    return dataref.fetch(url, allowed, max_bytes, private=private)


class _Names:
    """Stands for the resolver: what a name means now, each time something else."""

    def __init__(self, *meanings: Sequence[str]) -> None:
        self.asked = 0
        self._meanings = meanings
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *how: Any, **options: Any) -> Any:
        if host != "pictures.example":
            return self._real(host, port, *how, **options)
        self.asked += 1
        return [found for each in self._meanings[self.asked - 1] for found in self._real(each, port, *how, **options)]


def test_what_is_allowed_is_fetched(shop: Web) -> None:
    asked = shop.url("/pictures/cat.png?version=2&sign=a%2Fb#top")
    assert _fetch(asked, "https://elsewhere.example/", shop.url("/pictures/")) == PICTURE
    assert shop.came == [("/pictures/cat.png?version=2&sign=a%2Fb", f"127.0.0.1:{shop.port}")]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_never_reached_whatever_it_is_called(shop: Web, host: str) -> None:
    with pytest.raises(Unprocessable, match=r"has an address that is not public, see DATAREF_ALLOW_PRIVATE$"):
        _fetch(shop.url(host=host), shop.url(host=host), private=False)
    assert shop.came == []


@pytest.mark.parametrize("host", PRIVATE)
def test_no_address_is_reached_that_is_not_public(host: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(Unprocessable, match="has an address that is not public"):
            _fetch(f"{scheme}://{host}/latest/meta-data", f"{scheme}://{host}/", private=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "100.128.0.1"])
def test_a_public_address_is_one(address: str) -> None:
    assert dataref._is_public(address)


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for among in (["8.8.8.8", "10.0.0.1"], ["169.254.169.254", "8.8.8.8"], ["2606:4700::1111", "::1"]):
        monkeypatch.setattr(socket, "getaddrinfo", _Names(among).getaddrinfo)
        with pytest.raises(Unprocessable, match=r"pictures\.example has an address that is not public"):
            _fetch("https://pictures.example/cat.png", "https://pictures.example/", private=False)


def test_a_name_that_means_something_else_a_moment_later_is_asked_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with web(b"public", host="127.0.0.1") as first, web(b"secret", host="127.0.0.2", port=first.port) as second:
        names = _Names(["127.0.0.1"], ["127.0.0.2"])
        monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
        url = first.url(host="pictures.example")
        assert _fetch(url, url) == b"public"
        assert (names.asked, second.came) == (1, [])
        assert first.came == [("/", f"pictures.example:{first.port}")]


def test_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with web(PICTURE) as found:
        names = _Names(["127.0.0.2", "::1", "127.0.0.1", "127.0.0.3"])
        monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
        url = found.url(host="pictures.example")
        assert _fetch(url, url) == PICTURE


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 64 + ".example"])
def test_a_name_without_an_address_may_have_one_later(host: str) -> None:
    with pytest.raises(NotReady, match="has no address"):
        _fetch(f"http://{host}/", f"http://{host}/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(shop: Web, status: int) -> None:
    def lead(handler: BaseHTTPRequestHandler) -> None:
        answer(handler, PICTURE, status, {"Location": shop.url("/secret")})

    with web(lead) as first, pytest.raises(Unprocessable, match=f"answers {status}$"):
        _fetch(first.url("/cat.png"), first.url(), shop.url())
    assert shop.came == []


@pytest.mark.parametrize("allowed", ["/pictures", "/pictures/", "/", "", "/pictures/cat.png", "/pictures/cat.png/"])
def test_an_allowed_path_is_that_one_and_all_below(shop: Web, allowed: str) -> None:
    below = "/pictures/cat.png" if allowed != "/pictures/cat.png/" else "/pictures/cat.png/1"
    for path in (below, below + "?a=..", below + "/..cat/.../c..t;a=..", below + "//x"):
        assert _fetch(shop.url(path), shop.url(allowed)) == PICTURE
    if allowed in ("", "/"):
        assert _fetch(shop.url(""), shop.url(allowed)) == PICTURE


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/pictures2/cat.png", "/picturescat.png", "/Pictures/cat.png", "/other/pictures/cat.png", "//pictures/cat",
        "/pictures/../secret", "/pictures/..", "/pictures/a/../../secret", "/pictures/%2e%2e/secret", "/pictures/.%2E/secret",
        "/pictures/..%2fsecret", "/pictures%2f..%2fsecret", "/pictures/..%5csecret", "/pictures/..\\secret",
        "/pictures/%252e%252e/secret", "/pictures/..;/secret", "/pictures/..;a=1/secret", "/pictures/%2e%2e%3b/secret",
        "/pictures%2fcat.png", "/%70ictures/cat.png", "?/pictures/cat.png", "#/pictures/cat.png",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_allowed_one(shop: Web, path: str) -> None:
    for allowed in ("/pictures", "/pictures/"):
        with pytest.raises(Unprocessable, match=r"is not in DATAREF_ALLOW$"):
            _fetch(shop.url(path), shop.url(allowed))
    assert shop.came == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{port}/", "http://127.0.0.1/", "http://127.0.0.1:{other}/", "http://localhost:{port}/",
        "http://127.0.0.1.:{port}/", "http://127.0.0.1.example:{port}/", "http://127.1:{port}/", "http://2130706433:{port}/",
        "http://user@127.0.0.1:{port}/", "http://user:word@127.0.0.1:{port}/", "http://:@127.0.0.1:{port}/",
        "http://@127.0.0.1:{port}/", "http://127.0.0.1:{port}@evil.example/", "http://evil.example#@127.0.0.1:{port}/",
        "http://evil.example\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\.evil.example/", "http:127.0.0.1:{port}/",
        "http:///127.0.0.1:{port}/", "http://[127.0.0.1]:{port}/", "http://127.0.0.1:0/", "http://127.0.0.1:99999/",
        "http://127.0.0.1:{port}x/", "http://127.0.0.1:-{port}/", "http://127.0.0.1:{port}/ HTTP/1.1", "http://[::1/",
        "http://127.0.0.1:{port}/\r\nX: y", "http://127.0.0.1:{port}/ä", "http://127.0.0.1:{port}/\0", "//127.0.0.1:{port}/",
        "\thttp://127.0.0.1:{port}/", "/cat.png", "file:///etc/passwd", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/",
        "data:image/png;base64,AAAA", "unix:///run/x.sock", "jar:http://127.0.0.1:{port}/!/", "http", "http://", "", " ",
    ],
)  # fmt: skip
def test_only_scheme_host_and_port_that_are_allowed_are_asked(shop: Web, url: str) -> None:
    asked = url.format(port=shop.port, other=shop.port + 1)
    with pytest.raises(Unprocessable, match=r"^dataref: "):
        _fetch(asked, shop.url())
    assert shop.came == []


def test_the_usual_port_need_not_be_said() -> None:
    for allowed, url in (
        ("https://a.example", "https://A.example:443/x"),
        ("http://a.example:80/", "HTTP://a.example/x"),
    ):
        assert dataref._begins(dataref._split(url), dataref._split(allowed))
        assert not dataref._begins(dataref._split(url.replace(":443", ":444")), dataref._split("https://a.example:80/"))


def test_nothing_is_allowed_when_nothing_is_said(shop: Web) -> None:
    with pytest.raises(Unprocessable, match="is not in DATAREF_ALLOW"):
        _fetch(shop.url())
    assert shop.came == []


def _serve(serve: Serve, artifact: Path, shop: Web, **settings: str) -> Server:
    allowed = f"https://elsewhere.example/a,, {shop.url('/pictures')} ,"
    return serve(artifact, **{"DATAREF_ALLOW": allowed, "DATAREF_ALLOW_PRIVATE": "true"} | settings)


@pytest.mark.parametrize("mode", MODES)
def test_an_event_is_computed_from_what_its_dataref_holds(serve: Serve, tiny_onnx: Path, shop: Web, mode: str) -> None:
    server = _serve(serve, tiny_onnx, shop)
    fetched = reply(server, mode, event(None, "image/png", dataref=shop.url("/pictures/cat.png")))
    carried = reply(server, mode, event(PICTURE, "image/png", dataref=shop.url("/pictures/cat.png")))
    assert (fetched.get_type(), fetched.get_data()) == (COMPLETED, carried.get_data())
    assert shop.came == [("/pictures/cat.png", f"127.0.0.1:{shop.port}")]


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [
        ({}, {"DATAREF_ALLOW": ""}), ({}, {"DATAREF_ALLOW_PRIVATE": "false"}), ({"infermodel": "huge"}, {}),
        ({"type": COMPLETED}, {}), ({"inferprotocol": "v3"}, {}),
    ],
)  # fmt: skip
def test_a_refused_event_has_nothing_fetched(
    serve: Serve, tiny_onnx: Path, shop: Web, attributes: dict[str, str], settings: dict[str, str]
) -> None:
    server = _serve(serve, tiny_onnx, shop, **settings)
    asked = event(None, "image/png", dataref=shop.url("/pictures/cat.png"), **attributes)
    assert_refused(send(server, "binary", asked), 422)
    assert shop.came == []


def test_a_claim_that_cannot_be_redeemed_spoils_no_other(serve: Serve, tiny_onnx: Path, shop: Web) -> None:
    server = _serve(serve, tiny_onnx, shop)
    good, bad = (event(None, "image/png", dataref=shop.url(path)) for path in ("/pictures/cat.png", "/secret"))
    first, second = replies(send(server, "batched", bad, good))
    assert (first.get_type(), second.get_type()) == (FAILED, COMPLETED)
    told = f"dataref: {shop.url('/secret')} is not in DATAREF_ALLOW"
    assert first.get_data() == {"error": told, "status": 422}
