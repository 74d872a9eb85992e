"""An encoded picture in the body of a request to the real service."""

import gzip
import zlib
from typing import Any

import pytest
from PIL import Image

from tests.support import eager
from tests.support.models import LABELS
from tests.support.pictures import encoded, photo, png
from tests.support.serving import Answer, Server

BOUNDARY = "a-boundary"


def _assert_labels(answer: Answer, picture: bytes, count: int = 5) -> None:
    assert answer.status == 200, answer.body
    assert answer.json.keys() == {"model", "labels"}
    assert answer.json["model"] == "tiny"
    got = answer.json["labels"]
    wanted = eager.labels(picture, count)
    assert [(each["label"], each["index"]) for each in got] == [(label, index) for label, index, _ in wanted]
    assert [each["probability"] for each in got] == pytest.approx([score for *_, score in wanted], abs=2e-5)
    assert all(each.keys() == {"label", "index", "probability"} for each in got)
    assert answer.headers["Content-Length"] == str(len(answer.body))


def _form(*files: bytes, field: bool = False) -> tuple[bytes, dict[str, str]]:
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n%s\r\n'
        % (BOUNDARY.encode(), file)
        for file in files
    ]
    if field:
        parts.append(b'--%s\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n' % BOUNDARY.encode())
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"
    }


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_gets_the_labels_that_eager_pytorch_gives_it(tiny_server: Server, method: str, kind: str) -> None:
    picture = encoded(photo(60, 40, seed=len(kind)), kind)
    _assert_labels(tiny_server.call(method, "/infer", picture), picture)


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/jpeg", "application/x-www-form-urlencoded", "application/json", "nonsense", ""]
)
def test_the_bytes_count_and_not_the_content_type(tiny_server: Server, content_type: str) -> None:
    picture = png(30, 30)
    _assert_labels(tiny_server.call("POST", "/infer", picture, {"Content-Type": content_type}), picture)


def test_a_form_with_one_file(tiny_server: Server) -> None:
    picture = png(33, 44)
    body, headers = _form(picture, field=True)
    _assert_labels(tiny_server.call("POST", "/infer", body, headers), picture)


def _part(disposition: bytes, body: bytes, *headers: bytes) -> tuple[bytes, dict[str, str]]:
    """A form with a note and one part more, as clients send it that do not call it a file."""
    lines = [b"--" + BOUNDARY.encode(), b"Content-Disposition: form-data; " + disposition, *headers, b"", body]
    form, content_type = _form(field=True)
    return b"\r\n".join(lines) + b"\r\n" + form, content_type


@pytest.mark.parametrize("size", [300, 100_000, 2_000_000, 9_900_000])
@pytest.mark.parametrize(
    ("disposition", "headers"),
    [
        (b'name="image"', (b"Content-Type: image/jpeg",)),
        (b'name="picture"', (b"Content-Type: image/png",)),
        (b'name="x"', (b"content-type: application/octet-stream", b"Content-Transfer-Encoding: binary")),
        (b'name="image"', ()),
        (b'name="x"; filename=""', ()),
        (b'name="x"; filename="a.txt"', (b"Content-Type: text/plain",)),
    ],
)
def test_a_part_without_a_file_name_is_a_picture_all_the_same(
    tiny_server: Server, disposition: bytes, headers: tuple[bytes, ...], size: int
) -> None:
    picture = png(20, 20)
    padded = picture + bytes(max(0, size - len(picture)))
    body, content_type = _part(disposition, padded, *headers)
    _assert_labels(tiny_server.call("POST", "/infer", body, content_type), picture)


@pytest.mark.parametrize("headers", [(), (b"Content-Type: image/jpeg",)])
def test_a_form_over_the_limit_gets_the_413_that_every_body_gets(
    tiny_server: Server, headers: tuple[bytes, ...]
) -> None:
    body, content_type = _part(b'name="image"', bytes(10 * 2**20), *headers)
    for each, kind in ((body, content_type), (bytes(10 * 2**20 + 1), {})):
        answer = tiny_server.call("POST", "/infer", each, kind)
        assert (answer.status, answer.error) == (413, "the body is more than 10485760 bytes (MAX_BODY_BYTES)")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "Invalid form-data cannot parse beyond State.PREAMBLE"),
        (b"nonsense", "Invalid form-data cannot parse beyond State.PREAMBLE"),
        (b"--a-boundary\r\nX: y\r\n\r\nz\r\n--a-boundary--\r\n", "Missing Content-Disposition header"),
        (_form(png(20, 20))[0][:-20], "Invalid form-data cannot parse beyond State.DATA"),
    ],
)
def test_a_malformed_form_is_a_bad_request(tiny_server: Server, body: bytes, error: str) -> None:
    answer = tiny_server.call("POST", "/infer", body, _form()[1])
    assert (answer.status, answer.error) == (400, f"the form is malformed: {error}")


def test_a_form_of_thousands_of_parts_is_a_bad_request(tiny_server: Server) -> None:
    answer = tiny_server.call("POST", "/infer", *_form(*[b"x"] * 1001))
    assert (answer.status, answer.error) == (400, "the form has more than 1000 parts")


@pytest.mark.parametrize("count", [0, 2])
def test_a_form_without_exactly_one_file_is_refused(tiny_server: Server, count: int) -> None:
    body, headers = _form(*[png(20, 20)] * count, field=True)
    answer = tiny_server.call("POST", "/infer", body, headers)
    assert (answer.status, answer.error) == (400, f"the form has {count} files, wanted one picture")


@pytest.mark.parametrize(("top", "count"), [("1", 1), ("2", 2), ("6", 6), ("999999", 6)])
def test_top_says_how_many_labels(tiny_server: Server, top: str, count: int) -> None:
    picture = png(20, 25)
    answer = tiny_server.call("POST", f"/infer?top={top}", picture)
    assert len(answer.json["labels"]) == count
    _assert_labels(answer, picture, count)


@pytest.mark.parametrize("top", ["0", "-1", "many", "", "1.5", "%C2%B2", "1000001", "9" * 400])
def test_a_malformed_top_is_refused(tiny_server: Server, top: str) -> None:
    answer = tiny_server.call("POST", f"/infer?top={top}", png(20, 20))
    assert answer.status == 400
    assert answer.error.startswith("top=")
    assert answer.error.endswith(": wanted a whole number from 1 to 999999")


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
def test_a_compressed_body_is_inflated(tiny_server: Server, encoding: str, pack: Any) -> None:
    picture = png(20, 20)
    _assert_labels(tiny_server.call("POST", "/infer", pack(picture), {"Content-Encoding": encoding}), picture)


def test_a_body_that_inflates_over_the_limit_is_refused(tiny_server: Server) -> None:
    bomb = gzip.compress(bytes(200 * 2**20), 9)
    answer = tiny_server.call("POST", "/infer", bomb, {"Content-Encoding": "gzip"})
    assert (answer.status, answer.error) == (413, "the body is more than 10485760 bytes when inflated (MAX_BODY_BYTES)")


@pytest.mark.parametrize(
    ("encoding", "body", "error"),
    [
        ("br", b"x", "Content-Encoding 'br': wanted gzip, deflate or none"),
        ("gzip", b"not gzip", "the body is not gzip: Error -3 while decompressing data: incorrect header check"),
        ("gzip", gzip.compress(png(20, 20))[:-20], "the body is not gzip: it ends too early"),
    ],
)
def test_a_body_that_cannot_be_inflated_is_refused(tiny_server: Server, encoding: str, body: bytes, error: str) -> None:
    answer = tiny_server.call("POST", "/infer", body, {"Content-Encoding": encoding})
    assert (answer.status, answer.error) == (400, error)


def test_an_empty_body_is_refused(tiny_server: Server) -> None:
    answer = tiny_server.call("POST", "/infer", b"")
    assert (answer.status, answer.error) == (400, "the body is empty, wanted a picture")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.8])
def test_a_truncated_picture_is_unprocessable(tiny_server: Server, kind: str, kept: float) -> None:
    noise = Image.effect_noise((200, 200), 100).convert("RGB")
    picture = encoded(noise, kind)
    answer = tiny_server.call("POST", "/infer", picture[: int(len(picture) * kept)])
    assert answer.status == 422
    assert answer.error


@pytest.mark.parametrize(
    ("body", "error"),
    [(b"hello", "not a picture: wanted JPEG"), (bytes(1000), "not a picture: wanted JPEG"), (b'{"a": 1}', "JSON: wanted JPEG"),
     (b"\xff\xd8\xff", "truncated JPEG: it ends before its pixels"), (b"GIF89a" + bytes(50), "GIF: wanted JPEG")],
)  # fmt: skip
def test_what_is_no_picture_is_unprocessable(tiny_server: Server, body: bytes, error: str) -> None:
    answer = tiny_server.call("POST", "/infer", body)
    assert answer.status == 422
    assert answer.error.startswith(error)


def test_a_model_without_pictures_says_so(types_server: Server) -> None:
    answer = types_server.call("POST", "/infer", png(20, 20))
    assert answer.status == 422
    assert answer.error == "this model takes no pictures, only tensors: POST /v2/models/NAME/infer"


def test_every_label_can_win(tiny_server: Server) -> None:
    """The model tells pictures apart: a service that mixed up its requests would not pass these tests."""
    winners = {
        tiny_server.call("POST", "/infer?top=1", png(20, 20, seed)).json["labels"][0]["label"] for seed in range(12)
    }
    assert len(winners) >= 3
    assert winners <= set(LABELS)
