"""CloudEvents without a server: what the library would invent, change or let pass, and the way there and back."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat

from service.call import IMAGE, V2, Call, Result
from service.errors import BadRequest, Unprocessable
from service.events import codec
from service.events.codec import BATCH_TYPE, JSON_TYPE, Event
from tests.support.events import REQUEST
from tests.support.pictures import encoded, photo, png

GOOD: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "t"}
STRUCTURED = {"Content-Type": JSON_TYPE}


def _structured(**members: Any) -> Event:
    mode, (event,) = codec.decode(STRUCTURED, json.dumps(GOOD | members).encode())
    assert mode == codec.STRUCTURED
    return event


def _binary(body: bytes = b"", **headers: str) -> Event:
    named = {f"Ce-{name}": value for name, value in GOOD.items()}
    mode, (event,) = codec.decode(named | {name.replace("_", "-"): value for name, value in headers.items()}, body)
    assert mode == codec.BINARY
    return event


def test_nothing_is_invented() -> None:
    assert _structured() == _binary() == Event(GOOD, b"")
    assert json.loads(codec.to_json(_binary())) == GOOD | {"data_base64": ""}
    for name in ("id", "specversion"):
        lacking = {key: value for key, value in GOOD.items() if key != name}
        with pytest.raises(BadRequest, match=f"it has no {name}"):
            codec.decode(STRUCTURED, json.dumps(lacking).encode())
        with pytest.raises(BadRequest, match=f"it has no {name}"):
            codec.decode({f"ce-{key}": value for key, value in lacking.items()}, b"")


@pytest.mark.parametrize("content_type", ["image/jpeg", "text/plain", "application/json", "application/octet-stream"])
@pytest.mark.parametrize(
    "data", [b"", b"plain ASCII", b'{"a": 1}', b'"text"', b"1e400", b"\xff\xd8\xff", bytes(range(256))]
)
def test_data_are_the_bytes_that_came(data: bytes, content_type: str) -> None:
    """The library gives text for bytes that happen to be UTF-8, and values for those that are JSON."""
    binary = _binary(data, Content_Type=content_type)
    assert (binary.data, binary.content_type) == (data, content_type)
    encoded = base64.b64encode(data).decode()
    assert _structured(data_base64=encoded, datacontenttype=content_type).data == data
    assert codec.from_json(codec.to_json(binary)) == binary


@pytest.mark.parametrize("value", ["text", '{"a": 1}', "", 0, 1.5, True, False, [], [1, None], {}, {"a": {"b": "日"}}])
@pytest.mark.parametrize("content_type", [None, "application/json", "Text/JSON; charset=utf-8", "application/a+json"])
def test_any_json_value_may_be_data(value: Any, content_type: str | None) -> None:
    """A string, too: of JSON it is one in quotes, of any other type it is the data."""
    assert json.loads(_structured(data=value, datacontenttype=content_type).data) == value
    if isinstance(value, str):
        assert _structured(data=value, datacontenttype="text/plain").data == value.encode()


def test_null_is_as_good_as_nothing() -> None:
    event = _structured(data=None, data_base64=None, subject=None, time=None, datacontenttype=None, infertop=None)
    assert event == Event(GOOD, b"")
    assert _structured(data=None, data_base64="AAAA").data == b"\0\0\0"


@pytest.mark.parametrize(
    "members",
    [
        {"data_base64": "%%%%"}, {"data_base64": "AAA"}, {"data_base64": "é"}, {"data_base64": 5}, {"data_base64": []},
        {"data": 1, "data_base64": "AAAA"}, {"data": "\ud800", "datacontenttype": "text/plain"},
    ],
)  # fmt: skip
def test_data_that_cannot_be_read_are_a_bad_request(members: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="no valid CloudEvent: its data"):
        _structured(**members)


def test_nesting_never_ends_in_anything_but_a_bad_request() -> None:
    """Near the interpreter's limit reading succeeds and writing does not."""
    refused = 0
    for depth in range(850, 1010):
        event = json.dumps(GOOD)[:-1].encode() + b', "data": ' + b"[" * depth + b"]" * depth + b"}"
        for content_type, body in ((JSON_TYPE, event), (BATCH_TYPE, b"[" + event + b"]")):
            try:
                codec.decode({"content-type": content_type}, body)
            except BadRequest:
                refused += 1
    assert refused


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T10:00:00Z",
        "2026-11-23t10:00:00.25z",
        "2026-11-23T12:00:00.123456789+02:00",
        "2026-12-31T23:59:60.5Z",
    ],
)
def test_a_time_stays_as_it_was_given(text: str) -> None:
    """Python's datetime has no nanoseconds, and no leap seconds."""
    for event in (_structured(time=text), _binary(ce_time=text), _binary(ce_time=text.replace(":", "%3A"))):
        assert event.attributes["time"] == text
        assert codec.from_json(codec.to_json(event)) == event
        assert codec.encode(codec.BINARY, [event]).headers["Ce-Time"] == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-23",
        "2026-11-23T10:00:00",
        "2026-13-01T00:00:00Z",
        "9999-12-31T24:00:00Z",
        "2026-11-23T10:00:61Z",
    ],
)
def test_a_wrong_time_is_a_bad_request(text: str) -> None:
    with pytest.raises(BadRequest, match=r"no valid CloudEvent: .*time"):
        _structured(time=text)
    with pytest.raises(BadRequest, match=r"no valid CloudEvent: .*time"):
        _binary(ce_time=text)


@pytest.mark.parametrize("time", [0, 1.5, True, [], {}])
def test_a_time_that_is_no_text_is_a_bad_request(time: Any) -> None:
    with pytest.raises(BadRequest, match="no valid CloudEvent"):
        _structured(time=time)


@pytest.mark.parametrize("name", ["Upper", "with-dash", "with_underscore", "with.dot", "ä", "", " ", "data_base65"])
def test_an_extension_of_a_wrong_name_is_a_bad_request(name: str) -> None:
    with pytest.raises(BadRequest, match="no valid CloudEvent"):
        _structured(**{name: "x"})


@pytest.mark.parametrize("value", [1.5, [], {}, ["a"], {"a": 1}, "a\nb", "\0", "\x7f", "\x85", "\ud800", "\ufffe"])
def test_a_value_that_no_attribute_can_have_is_a_bad_request(value: Any) -> None:
    for name in ("myextension", "subject", "traceparent", "infertop", "id", "source", "type", "datacontenttype"):
        with pytest.raises(BadRequest, match="no valid CloudEvent"):
            _structured(**{name: value})


@pytest.mark.parametrize("name", ["id", "source"])
def test_names_have_a_length_that_the_store_can_index(name: str) -> None:
    assert _structured(**{name: "é" * 512}).get(name) == "é" * 512
    with pytest.raises(BadRequest, match=f"^{name} has more than 1024 bytes$"):
        _structured(**{name: "é" * 513})


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("plain", "plain"), ("a%20b", "a b"), ("a+b", "a+b"), ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"), ("%25", "%"),
        ("%2525", "%25"), ("100%", "100%"), ('"a b"', "a b"), (r'"a \"b\" \\"', r'a "b" \ '[:-1]),
        ('"', '"'), ('""x', '""x'),
    ],
)  # fmt: skip
def test_a_header_is_decoded_once(header: str, value: str) -> None:
    assert _binary(ce_subject=header).get("subject") == value


@pytest.mark.parametrize("value", ["a b", '"', "100 % 日 😀", "ü", "%41", r"a\b", "a,b;c=d"])
def test_a_value_comes_back_from_a_header_as_it_was(value: str) -> None:
    sent = codec.encode(codec.BINARY, [Event({**GOOD, "subject": value}, b"")])
    assert sent.headers["Ce-Subject"].isascii()
    assert codec.decode(sent.headers, sent.body)[1][0].get("subject") == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (7, "7"), (-(2**31), "-2147483648"), (0, "0"), ("True", "True")],
)
def test_a_value_of_json_is_a_header_as_the_specification_writes_it(value: Any, text: str) -> None:
    event = _structured(mine=value)
    assert event.get("mine") == text
    assert codec.encode(codec.BINARY, [event]).headers["Ce-Mine"] == text
    kept = codec.from_json(codec.to_json(event))
    assert (kept, type(kept.attributes["mine"])) == (event, type(value))


def test_an_empty_batch_is_one() -> None:
    """http-protocol-binding.md, 3.3.2: "The batch MAY be empty"."""
    for body in (b"[]", b" [ ]\n"):
        assert codec.decode({"Content-Type": BATCH_TYPE}, body) == (codec.BATCHED, [])


# What tells nothing of the data: nothing, the type for bytes, that of S3, that which curl sends with --data-binary.
UNTOLD = [
    "",
    "application/octet-stream",
    "Application/Octet-Stream; x=y",
    "binary/octet-stream",
    "application/x-www-form-urlencoded",
]


@pytest.mark.parametrize("content_type", UNTOLD)
@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        *((encoded(photo(30, 20), kind), IMAGE) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")),
        (b"\0\0\0\x20ftypavif\0\0\0\0", IMAGE), (b"\0\0\0\x20ftypheic\0\0\0\0", IMAGE), (b'{"inputs": []}', V2), (b"[1]", V2),
        (b'\r\n\t {"id": "instances", "inputs": [{"name": "instances"}]}', V2), (b'{"instances": [{"inputs": []}]}', "v1"), (b"3", V2),
    ],
)  # fmt: skip
def test_data_of_which_nobody_says_what_they_are_are_told_by_how_they_begin(
    content_type: str, data: bytes, protocol: str
) -> None:
    headers = {"Content_Type": content_type} if content_type else {}
    assert codec.call_of(_binary(data, **headers), "tiny").protocol == protocol
    given = {"data_base64": base64.b64encode(data).decode(), "datacontenttype": content_type or None}
    assert codec.call_of(_structured(**given), "tiny") == codec.call_of(_binary(data, **headers), "tiny")


@pytest.mark.parametrize("content_type", UNTOLD)
@pytest.mark.parametrize(
    "data", [b"hello", b"\0\0\0", b"\xff\xd8", b"RIFF\0\0\0\0WAVE", b"<?xml?>", b"/9j/4AAQSkZJRg=="]
)
def test_data_that_begin_like_nothing_known_are_told_to_say_what_they_are(content_type: str, data: bytes) -> None:
    event = _binary(data, **({"Content_Type": content_type} if content_type else {}))
    with pytest.raises(Unprocessable, match=r"^datacontenttype is .*: set inferprotocol$"):
        codec.call_of(event, "tiny")
    named = replace(event, attributes={**event.attributes, "inferprotocol": "image"})
    assert codec.call_of(named, "tiny") == Call(IMAGE, data)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "video/mp4"])
def test_a_type_that_is_told_is_believed(content_type: str) -> None:
    with pytest.raises(Unprocessable, match=f"datacontenttype is '{content_type}': wanted image/"):
        codec.call_of(_binary(png(30, 20), Content_Type=content_type), "tiny")


@pytest.mark.parametrize("specversion", ["0.3", "0.2", "1", "2.0", "", 1.0, 1, None, True])
def test_another_version_is_a_bad_request(specversion: Any) -> None:
    with pytest.raises(BadRequest, match="specversion"):
        _structured(specversion=specversion, datacontentencoding="base64", data="AAAA")


@pytest.mark.parametrize("mode", [codec.BINARY, codec.STRUCTURED, codec.BATCHED])
@pytest.mark.parametrize(
    "result",
    [Result(b'{"a":0.1}\n'), Result(b"{}\xff", "application/octet-stream", {"Inference-Header-Content-Length": "2"})],
)
def test_a_reply_is_what_the_library_reads(mode: str, result: Result) -> None:
    asked = _structured(traceparent="00-1", subject="日", myown="x")
    sent = codec.encode(mode, [codec.reply_to(asked, result, "tiny", "digest")])
    if mode == codec.BATCHED:
        found = JSONFormat().read(None, json.dumps(json.loads(sent.body)[0]))
    else:
        found = http.from_http_event(http.HTTPMessage(sent.headers, sent.body))
    attributes = found.get_attributes()
    assert datetime.now(UTC) >= attributes.pop("time") > datetime(2026, 1, 1, tzinfo=UTC)
    assert len(attributes.pop("id")) == 32
    length = {"inferheaderlength": "2"} if result.headers else {}
    assert attributes == {
        "specversion": "1.0", "source": "/v2/models/tiny", "type": codec.COMPLETED, "requestid": "1",
        "requestsource": "/tests", "traceparent": "00-1", "subject": "日", "datacontenttype": result.content_type, **length,
    }  # fmt: skip
    assert found.get_data() == ({"a": 0.1} if not length else b"{}\xff")


def test_a_failure_is_short() -> None:
    failed = codec.failure_of(_structured(), 422, "ä" * 10_000, "tiny", "digest")
    assert json.loads(failed.data) == {"error": "ä" * 500, "status": 422}


@pytest.mark.parametrize("call", [Call(IMAGE, b"\xff\xd8", top=3), Call(V2, b"{}", header_length=2), Call("v1", b"{}")])
def test_a_request_for_later_comes_back_as_the_call_that_it_was(call: Call) -> None:
    trace = {"traceparent": "00-1", "tracestate": "a=1", "host": "x"}
    asked = codec.request_of(call, "id-1", "tiny", "application/octet-stream", trace)
    for mode in (codec.BINARY, codec.STRUCTURED, codec.BATCHED):
        sent = codec.encode(mode, [asked])
        assert codec.decode(sent.headers, sent.body) == (mode, [asked])
        assert codec.call_of(asked, "tiny") == call
    assert codec.from_json(codec.to_json(asked)) == asked
    assert (asked.get("traceparent"), asked.get("host")) == ("00-1", None)
    with pytest.raises(Unprocessable, match="no model 'tiny', this service has 'huge'"):
        codec.call_of(asked, "huge")


@pytest.mark.parametrize("value", ["image/jpeg; a=\x80", "é", "a\tb"])
def test_what_no_event_can_say_is_left_out_of_a_request(value: str) -> None:
    """The headers of an HTTP request may hold it; its job could never be delivered."""
    asked = codec.request_of(Call(IMAGE, b""), "id-1", "tiny", value, {"traceparent": value})
    assert {"datacontenttype", "traceparent"}.isdisjoint(asked.attributes)
    assert codec.from_json(codec.to_json(asked)) == asked


@pytest.mark.parametrize(
    "members",
    [
        {}, {"data": {}}, {"data": [1]}, {"data": None, "data_base64": "e30="}, {"data": 1, "data_base64": "AAAA"},
        {"data_base64": 1}, {"id": ""}, {"id": 1}, {"id": "x" * 1025}, {"source": None}, {"type": ""},
        {"type": codec.COMPLETED}, {"type": codec.FAILED}, {"type": codec.REQUESTED}, {"specversion": "0.3"}, {"subject": ""},
        {"subject": None}, {"time": 1}, {"time": None}, {"Upper": "x"}, {"a-b": "x"}, {"mine": None}, {"mine": True},
        {"mine": 1}, {"mine": 1.5}, {"mine": []}, {"mine": {}}, {"infertop": 1}, {"infertop": "01"}, {"infertop": 0},
        {"infertop": "0"}, {"infertop": "x"}, {"infertop": -1}, {"inferprotocol": "v1"}, {"inferprotocol": "v3"},
        {"infermodel": "tiny"}, {"inferheaderlength": "9"}, {"inferheaderlength": 9}, {"inferheaderlength": "-9"},
        {"inferheaderlength": "9" * 19}, {"traceparent": "00-1"}, {"dataref": "http://a/"},
    ],
)  # fmt: skip
def test_the_schema_takes_what_the_service_takes(members: dict[str, Any]) -> None:
    described = GOOD | {"datacontenttype": "image/png" if "infertop" in members else None} | members
    taken = True
    try:
        codec.call_of(_structured(**described), "tiny")
    except (BadRequest, Unprocessable):
        taken = False
    assert REQUEST.is_valid(described) == taken
