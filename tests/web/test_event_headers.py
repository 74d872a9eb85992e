"""Attributes in HTTP headers, byte by byte: what SDKs send, what they read of our replies, and what is refused."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from cloudevents.core.bindings import http

from service.events import codec
from service.events.codec import Event
from tests.conftest import OnLambda, Serve
from tests.support.aws import VERSIONS
from tests.support.broker import listening
from tests.support.events import assert_refused, replies
from tests.support.pictures import png
from tests.support.sdks import RESPONSE, SDKS, Sdk
from tests.support.serving import Server

PICTURE = png(40, 30)
HEADERS = {"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/tests", "Ce-Type": "t", "Content-Type": "image/png"}

each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=[each.name for each in SDKS])


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path) -> Server:
    return serve(tiny_onnx)


def _latin_1(raw: bytes) -> str:
    """As http.client sends it: byte by byte."""
    return raw.decode("latin-1")


def _structured(sdk: Sdk, **changed: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "a b",
        "source": "/tests",
        "type": "t",
        "subject": sdk.meant["subject"],
        **changed,
    }


@each_sdk
def test_what_an_sdk_sends_is_what_was_meant(sdk: Sdk) -> None:
    mode, (event,) = codec.decode(sdk.headers, PICTURE)
    assert (mode, event.data) == (codec.BINARY, PICTURE)
    assert event.attributes == sdk.meant | {"datacontenttype": "image/png"}


@each_sdk
def test_an_event_of_an_sdk_is_the_same_one_in_structured_mode(server: Server, sdk: Sdk) -> None:
    """Its id and subject come back in the reply, and the reply's own id is made of the request's."""
    answer = server.call("POST", "/events", PICTURE, sdk.headers)
    (found,) = replies(answer)
    assert (found.get_extension("requestid"), found.get_subject()) == ("a b", sdk.meant["subject"])
    told = json.dumps(_structured(sdk, datacontenttype="image/png")).encode()
    _, (same,) = codec.decode({"Content-Type": codec.JSON_TYPE}, told)
    structured = codec.encode(codec.STRUCTURED, [Event(same.attributes, PICTURE)])
    (other,) = replies(server.call("POST", "/events", structured.body, structured.headers))
    assert (other.get_id(), other.get_subject()) == (found.get_id(), found.get_subject())


@each_sdk
def test_what_a_reply_has_in_headers_is_what_sdks_were_seen_to_read(sdk: Sdk) -> None:
    """Most do not decode; what they then send of it, as it is, is read here as what it was."""
    values: dict[str, str] = {name: unquote(value) for name, value in RESPONSE.items()}
    required = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    sent = codec.encode(codec.BINARY, [Event(required | values, b"")])
    assert {name: sent.headers[f"Ce-{name.title()}"] for name in values} == RESPONSE
    read = values if sdk.is_decoding else {name: sent.headers[f"Ce-{name.title()}"] for name in values}
    assert read == sdk.read
    if not sdk.is_decoding:
        _, (again,) = codec.decode({f"ce-{name}": value for name, value in (required | read).items()}, b"")
        assert again.attributes == required | values
    else:
        library = http.from_http_event(http.HTTPMessage(sent.headers, sent.body)).get_attributes()
        assert {name: library[name] for name in values} == sdk.read


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"\xe7\x8c\xab", "猫"), (b"\xc3\xa9", "é"), (b"\xe9", "é"), (b"caf\xe9 \xfc", "café ü"), (b"%C3%A9", "é"),
        (b"\xe7\x8c\xab%20%C3%A9", "猫 é"), (b"\xe9%20%E7%8C%AB", "é 猫"), (b'"a \xe7\x8c\xab"', "a 猫"),
        (b'"\\\xe7\x8c\xab\\""', '猫"'), (b"100%", "100%"), (b"%zz%4", "%zz%4"), (b"%F0%9F%98%80", "😀"), (b"%f0%9f%98%80", "😀"),
        (b"\xf0\x9f\x98\x80", "😀"), (b"a+b", "a+b"), (b"%2541", "%41"),
    ],
)  # fmt: skip
def test_a_header_is_utf_8_where_it_can_be_and_else_latin_1(server: Server, raw: bytes, subject: str) -> None:
    answer = server.call("POST", "/", PICTURE, HEADERS | {"Ce-Subject": _latin_1(raw)})
    (found,) = replies(answer)
    assert found.get_subject() == subject
    assert all(value.isascii() for _, value in answer.headers)


# A lone byte, one of the middle, overlong forms, half a pair of UTF-16, beyond Unicode, a character cut off; and C1's controls.
NOT_UTF_8 = [b"%FF", b"%FE", b"%80", b"%C0%A0", b"%E0%80%AF", b"%ED%A0%80", b"%F4%90%80%80", b"%E7%8C", b"%E9"]


@pytest.mark.parametrize(
    "name", ["Id", "Source", "Type", "Subject", "Time", "Specversion", "Dataschema", "Mine", "Traceparent"]
)
def test_what_is_percent_encoded_and_not_utf_8_is_refused_in_every_attribute(server: Server, name: str) -> None:
    for value in NOT_UTF_8:
        for raw in (value, b"a" + value + b"z", b"%C3%A9" + value, b"\xe7\x8c\xab" + value, b"\xe9" + value, value * 2):
            answer = server.call("POST", "/events", PICTURE, HEADERS | {f"Ce-{name}": _latin_1(raw)})
            assert_refused(answer, 400)
            assert answer.error == f"no valid CloudEvent: ce-{name.lower()} is percent-encoded, but not as UTF-8", raw


def test_two_ids_that_are_none_have_no_answer_in_common(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    """%FF and %FE were one id: the second picture got the first one's labels."""
    server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite")
    for seed, event_id in enumerate(("%FF", "%FE", "a%FFb", "a%FEb")):
        assert_refused(server.call("POST", "/events", png(40, 30, seed), HEADERS | {"Ce-Id": event_id}), 400)
    assert server.call("GET", "/jobs").json["jobs"] == []


def test_an_id_is_the_same_in_every_form_that_it_can_have(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite")
    for raw in (b"\xc3\xa9", b"\xe9", b"%C3%A9", b"%c3%a9", b'"\xc3\xa9"'):
        assert replies(server.call("POST", "/events", PICTURE, HEADERS | {"Ce-Id": _latin_1(raw)}))
    structured = {"specversion": "1.0", "id": "é", "source": "/tests", "type": "t", "datacontenttype": "image/png"}
    assert replies(server.call("POST", "/", structured, {"Content-Type": codec.JSON_TYPE}))
    (job,) = server.call("GET", "/jobs").json["jobs"]
    assert job["event"] == {"source": "/tests", "id": "é"}


@pytest.mark.parametrize(
    ("value", "subject"),
    [
        ("猫", "猫"),
        ("é", "é"),
        ("Ã©", "Ã©"),
        ("%E7%8C%AB", "猫"),
        ("Ã© %C3%A9", "Ã© é"),
        ("%FF", None),
        ("Ã©%FF", None),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_on_lambda_headers_are_text_already(
    on_lambda: OnLambda, tiny_onnx: Path, version: str, value: str, subject: str | None
) -> None:
    answer = on_lambda(tiny_onnx).http(version, "POST", "/events", PICTURE, HEADERS | {"Ce-Subject": value})
    if subject is None:
        assert_refused(answer, 400)
    else:
        assert replies(answer)[0].get_subject() == subject


def test_a_content_type_comes_back_as_it_was() -> None:
    for raw in (b"image/png; name=\xc3\xa9", b"image/png; name=\xe9", b"image/png; name=%C3%A9"):
        _, (event,) = codec.decode(HEADERS | {"Content-Type": _latin_1(raw)}, b"")
        sent = codec.encode(codec.BINARY, [event])
        assert codec.decode(sent.headers, sent.body)[1] == [event]


# What JSON tells apart, and headers do not; a time finer than Python's.
TYPED: dict[str, Any] = {
    "specversion": "1.0", "id": "typed", "source": "/tests", "type": "t", "datacontenttype": "image/png", "flag": True,
    "off": False, "number": 7, "negative": -2147483648, "word": "True", "digits": "007", "subject": "猫 100%",
    "time": "2026-11-23T10:00:00.123456789Z",
}  # fmt: skip
AS_HEADERS = {
    "ce-specversion": "1.0", "ce-id": "typed", "ce-source": "/tests", "ce-type": "t", "content-type": "image/png",
    "ce-flag": "true", "ce-off": "false", "ce-number": "7", "ce-negative": "-2147483648", "ce-word": "True",
    "ce-digits": "007", "ce-subject": "%E7%8C%AB%20100%25", "ce-time": "2026-11-23T10:00:00.123456789Z",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["binary", "structured", "batched"])
def test_an_event_that_is_buried_and_sent_again_is_the_same_value_by_value(
    serve: Serve, tiny_onnx: Path, tmp_path: Path, mode: str
) -> None:
    buried = codec.encode(mode, [Event(TYPED | {"knativeerrorcode": "503"}, PICTURE)])
    with listening() as broker:
        server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/{mode}.sqlite", K_SINK=broker.url)
        assert server.call("POST", "/dead-letters", buried.body, buried.headers).status == 204
        (job,) = server.call("GET", "/jobs").json["jobs"]
        assert server.call("POST", f"/jobs/{job['id']}/retry").status == 202
    (sent,) = broker.received
    told = {name: value for name, value in sent.headers.items() if name.startswith("ce-") or name == "content-type"}
    assert (told, sent.body) == (AS_HEADERS, PICTURE)


@pytest.mark.parametrize(
    "time",
    ["2026-11-23T10:00:00.123456789Z", "2026-11-23T10:00:00.1234567+00:00", "2026-11-23t10:00:00z", "2026-12-31T23:59:60Z",
     "2026-11-23T10:00:00.000Z", "2026-11-23T12:00:00+02:00"],
)  # fmt: skip
def test_values_stay_as_they_were_given(time: str) -> None:
    """From JSON, typed; from headers, text; in the store and out of it."""
    told = TYPED | {"time": time}
    _, (structured,) = codec.decode({"Content-Type": codec.JSON_TYPE}, json.dumps(told).encode())
    assert structured.attributes == told
    kept = codec.from_json(codec.to_json(structured))
    assert [(name, type(value)) for name, value in kept.attributes.items()] == [(n, type(v)) for n, v in told.items()]
    assert kept == structured
    sent = codec.encode(codec.BINARY, [kept])
    _, (binary,) = codec.decode(sent.headers, sent.body)
    assert binary.attributes == told | {"flag": "true", "off": "false", "number": "7", "negative": "-2147483648"}
    assert codec.from_json(codec.to_json(binary)) == binary
