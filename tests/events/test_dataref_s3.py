"""Claim check with S3: an event's data come from the store that the SDK's environment names, within DATAREF_ALLOW."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.errors import NotReady, Unprocessable
from service.events import dataref, s3
from tests.conftest import Serve
from tests.support.events import COMPLETED, MODES, RETRIED, assert_refused, event, reply, send
from tests.support.pictures import png
from tests.support.s3 import CREDENTIALS, Store, store
from tests.support.serving import HOST, Server, free_port
from tests.support.web import Answering, answer, web

PICTURE = png(40, 30)
MAX_BYTES = 200_000
SOON_S = 30.0


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store(tmp_path_factory.mktemp("s3") / "log") as found:
        yield found


@pytest.fixture
def shop(moto: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of this process."""
    _use(monkeypatch, moto.environ)
    return moto


def _use(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    s3.close()


def _fetch(url: str, *allowed: str, max_bytes: int = MAX_BYTES) -> bytes:
    return dataref.fetch(url, allowed, max_bytes, private=False)


def test_an_object_that_is_allowed_is_fetched(shop: Store) -> None:
    url = shop.put("photos", "incoming/cat.png", PICTURE)
    for allowed in ("s3://photos", "s3://photos/", "s3://photos/incoming", "s3://photos/incoming/", url):
        assert _fetch(url, "https://elsewhere.example/", allowed) == PICTURE


def test_a_key_is_what_the_url_means(shop: Store) -> None:
    shop.put("photos", "a b/ü%+~.png", PICTURE)
    assert _fetch("s3://photos/a%20b/%C3%BC%25+~.png", "s3://photos/") == PICTURE


@pytest.mark.parametrize(
    "url",
    [
        "s3://photos/secret", "s3://photos/incoming2/x", "s3://photos/", "s3://photos", "s3://photos2/incoming/x",
        "s3://photos/incoming/../secret", "s3://photos/incoming/%2e%2e/secret", "s3://photos/incoming%2f..%2fsecret",
        "s3://photos/incoming/..%5csecret", "s3://photos/Incoming/x", "s3://photos//incoming/x",
        "https://photos/incoming/x", "http://photos/incoming/x",
    ],
)  # fmt: skip
def test_nothing_leads_out_of_what_is_allowed(url: str) -> None:
    """There is no store in this environment: whoever asked one would be told something else."""
    for allowed in ("s3://photos/incoming", "s3://photos/incoming/"):
        with pytest.raises(Unprocessable, match=r"is not in DATAREF_ALLOW$"):
            _fetch(url, allowed)


@pytest.mark.parametrize(
    "url",
    [
        "s3://", "s3:///photos/x", "s3:photos/x", "s3://Photos/x", "S3://photos/x", "s3://photos:9000/x", "s3://u@photos/x",
        "s3://photos/x?versionId=", "s3://photos/x?versionId=1&x=2", "s3://photos/x?x=1", "s3://photos/x?", "s3://photos/x#y",
        "s3://photos/x?versionId=1#y", "s3://photos/x?versionId=a/b", "s3://photos/x?versionId=1?versionId=2", "s3://photos/a b", "s3://photos/ä", "s3://photos/\r\nx",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x", "s3://photos\\@evil.example/x", "s3://[::1]/x", "s3://ab/x",
    ],
)  # fmt: skip
def test_what_names_no_object_is_refused(url: str) -> None:
    with pytest.raises(Unprocessable, match=r"^dataref: wanted http://HOST/PATH or .* or s3://BUCKET/KEY$"):
        _fetch(url, "s3://photos/")


def test_a_bucket_is_no_object() -> None:
    for url in ("s3://photos", "s3://photos/"):
        with pytest.raises(Unprocessable, match=r"^dataref: wanted s3://BUCKET/KEY$"):
            _fetch(url, "s3://photos/")


def test_what_is_not_there_is_not_asked_for_again(shop: Store) -> None:
    shop.put("photos", "x", b"x")
    for url, code in (("s3://photos/nothing", "NoSuchKey"), ("s3://nowhere/x", "NoSuchBucket")):
        with pytest.raises(Unprocessable, match=f"^dataref: the store of s3://{urlsplit(url).netloc} answers {code}$"):
            _fetch(url, "s3://photos/", "s3://nowhere/")


def test_a_version_of_an_object_is_fetched(shop: Store) -> None:
    url = shop.put("versioned", "cat.png", b"unversioned")
    shop.client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    first, second = (
        shop.client.put_object(Bucket="versioned", Key="cat.png", Body=body)["VersionId"] for body in (PICTURE, b"new")
    )
    assert _fetch(f"{url}?versionId={first}", url) == PICTURE
    assert _fetch(f"{url}?versionId={second}", url) == _fetch(url, url) == b"new"
    for unknown in ("nothing", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(Unprocessable, match=r"^dataref: the store of s3://versioned answers NoSuchVersion$"):
            _fetch(f"{url}?versionId={unknown}", url)


def test_a_version_is_allowed_where_its_object_is() -> None:
    with pytest.raises(Unprocessable, match=r"is not in DATAREF_ALLOW$"):
        _fetch("s3://photos/secret?versionId=1", "s3://photos/incoming/")


def test_who_may_not_read_versions_is_told_the_right_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with web(_error(403, "AccessDenied")) as found:
        _use(monkeypatch, {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": found.url()})
        with pytest.raises(Unprocessable, match=r"answers AccessDenied, as a version needs s3:GetObjectVersion$"):
            _fetch("s3://photos/x?versionId=a%2Bb", "s3://photos/")
        assert found.came == [("/photos/x?versionId=a%2Bb", f"{HOST}:{found.port}")]


def test_the_limit_is_of_bytes(shop: Store) -> None:
    url = shop.put("photos", "large", bytes(MAX_BYTES + 1))
    assert len(_fetch(url, url, max_bytes=MAX_BYTES + 1)) == MAX_BYTES + 1
    with pytest.raises(Unprocessable, match=f"^dataref: more than {MAX_BYTES} bytes$"):
        _fetch(url, url)
    assert _fetch(shop.put("photos", "empty", b""), "s3://photos/") == b""


def _error(status: int, code: str) -> Answering:
    return lambda handler: answer(handler, f"<Error><Code>{code}</Code><Message>x</Message></Error>".encode(), status)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", Unprocessable), (403, "InvalidObjectState", Unprocessable), (404, "NoSuchKey", Unprocessable),
        (403, "SignatureDoesNotMatch", NotReady), (403, "InvalidAccessKeyId", NotReady), (400, "ExpiredToken", NotReady),
        (503, "SlowDown", NotReady), (500, "InternalError", NotReady), (429, "TooManyRequests", NotReady),
    ],
)  # fmt: skip
def test_only_what_is_said_of_the_object_is_final(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[Exception]
) -> None:
    """Our own credentials and the store's troubles are not the sender's fault."""
    with web(_error(status, code)) as found:
        _use(monkeypatch, {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": found.url()})
        with pytest.raises(kind, match=f"^dataref: the store of s3://photos answers {code}$"):
            _fetch("s3://photos/x", "s3://photos/")
        assert found.came == [("/photos/x", f"{HOST}:{found.port}")]


def test_the_store_cannot_send_us_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with web(PICTURE) as secret:

        def lead(handler: BaseHTTPRequestHandler) -> None:
            answer(handler, b"", 307, {"Location": secret.url("/secret"), "Content-Length": "0"})

        with web(lead) as first:
            _use(monkeypatch, {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": first.url()})
            with pytest.raises(NotReady):
                _fetch("s3://photos/x", "s3://photos/")
        assert secret.came == []


def _short(handler: BaseHTTPRequestHandler) -> None:
    answer(handler, PICTURE, 200, {"Content-Length": str(len(PICTURE) + 1)})
    handler.close_connection = True


def _silent(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.rfile.read(1)


def _trickling(handler: BaseHTTPRequestHandler) -> None:
    """Never silent, and never done."""
    handler.close_connection = True
    answer(handler, b"", 200, {"Content-Length": str(MAX_BYTES)})
    with suppress(OSError):
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.05)


def test_a_store_that_sends_no_end_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataref, "TIMEOUT_S", 1.0)
    with web(_trickling) as found:
        _use(monkeypatch, {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": found.url()})
        with pytest.raises(NotReady, match=r"^dataref: the object store sent no end in time$"):
            _fetch("s3://photos/x", "s3://photos/")


@pytest.mark.parametrize(
    ("answering", "said"), [(_short, r"sent \d+ of \d+ bytes"), (_silent, r"does not answer \(\w+\)")]
)
def test_a_store_that_breaks_off_or_is_silent_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, answering: Answering, said: str
) -> None:
    monkeypatch.setattr(dataref, "TIMEOUT_S", 1.0)
    with web(answering) as found:
        _use(monkeypatch, {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": found.url()})
        with pytest.raises(NotReady, match=rf"^dataref: the store of s3://photos {said}$"):
            _fetch("s3://photos/x", "s3://photos/")


def test_nobody_to_ask_with_may_come_later(shop: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = shop.put("photos", "x", PICTURE)
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(NotReady, match=r"does not answer \(NoCredentialsError\)$"):
        _fetch(url, url)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert _fetch(url, url) == PICTURE


def test_a_closed_client_has_left_its_connection_and_forgotten_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, connections = [], []

    def keep(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = False
        keys.append(handler.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
        connections.append(threading.current_thread())
        answer(handler, PICTURE)

    with web(keep) as found:
        _use(monkeypatch, {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": found.url()})
        assert [_fetch("s3://photos/x", "s3://photos/") for _ in range(2)] == [PICTURE] * 2
        assert connections[0] is connections[1]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "new")
        s3.close()
        connections[0].join(SOON_S)
        assert not connections[0].is_alive()
        assert _fetch("s3://photos/x", "s3://photos/") == PICTURE
        s3.close()
    assert keys == ["kindling", "kindling", "new"]


def _serve(serve: Serve, artifact: Path, found: Store, **settings: str) -> Server:
    return serve(artifact, **found.environ, DATAREF_ALLOW="s3://photos/incoming/", **settings)


@pytest.mark.parametrize("mode", MODES)
def test_an_event_is_computed_from_an_object(serve: Serve, tiny_onnx: Path, moto: Store, mode: str) -> None:
    server = _serve(serve, tiny_onnx, moto)
    url = moto.put("photos", "incoming/cat.png", PICTURE)
    fetched = reply(server, mode, event(None, "image/png", dataref=url))
    carried = reply(server, mode, event(PICTURE, "image/png"))
    assert (fetched.get_type(), fetched.get_data()) == (COMPLETED, carried.get_data())


def test_an_event_is_told_what_became_of_its_claim(serve: Serve, tiny_onnx: Path, moto: Store) -> None:
    server = _serve(serve, tiny_onnx, moto, MAX_BODY_BYTES=str(len(PICTURE)))
    large = moto.put("photos", "incoming/large", PICTURE + b"x")
    for url in (large, "s3://photos/incoming/nothing", moto.put("photos", "secret", PICTURE)):
        assert_refused(send(server, "binary", event(None, "image/png", dataref=url)), 422)


def test_an_event_is_tried_again_when_there_is_no_store(serve: Serve, tiny_onnx: Path) -> None:
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{free_port()}"}
    server = serve(tiny_onnx, **environ, DATAREF_ALLOW="s3://photos/")
    told = send(server, "binary", event(None, "image/png", dataref="s3://photos/cat.png"))
    assert (told.status, told.status in RETRIED) == (503, True)
    assert told.error == "dataref: the store of s3://photos does not answer (EndpointConnectionError)"
