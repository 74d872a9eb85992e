"""CloudEvents to the real service: what they may hold, and the events that answer them."""

import base64
import json
import random
import struct
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cloudevents.core.v1.event import CloudEvent

from service.events import codec
from tests.conftest import Serve
from tests.support import eager
from tests.support.events import (
    BATCH_TYPE,
    COMPLETED,
    MODES,
    SCHEMA,
    TRACE,
    assert_refused,
    event,
    replies,
    reply,
    send,
)
from tests.support.models import SIDE
from tests.support.pictures import encoded, photo, png
from tests.support.serving import Server
from tests.support.web import web

PICTURE = png(40, 30)
PIXELS = random.Random(3).randbytes(SIDE * SIDE * 3)


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path) -> Server:
    return serve(tiny_onnx)


def _assert_labels(data: Any, picture: bytes, count: int = 5) -> None:
    assert data["model"] == "tiny"
    assert [(each["label"], each["index"]) for each in data["labels"]] == [
        (label, index) for label, index, _ in eager.labels(picture, count)
    ]


def _tensors(**members: Any) -> dict[str, Any]:
    inputs = [{"name": "image", "shape": [1, SIDE, SIDE, 3], "datatype": "UINT8", "data": list(PIXELS)}]
    return {"inputs": inputs, **members}


def _assert_scores(scores: Any) -> None:
    assert scores == pytest.approx(eager.probabilities([PIXELS])[0], abs=1e-5)


@pytest.mark.parametrize("path", ["/", "/events"])
@pytest.mark.parametrize("mode", MODES)
def test_a_picture_is_answered_by_an_event_in_its_mode(tiny_server: Server, mode: str, path: str) -> None:
    asked = event(PICTURE, "image/png", subject='camera 7 "Süd" 100 % 日', traceparent=TRACE, tracestate="a=1,b=2")
    found = reply(tiny_server, mode, asked, path=path)
    assert (found.get_type(), found.get_source()) == (COMPLETED, "/v2/models/tiny")
    assert (found.get_specversion(), found.get_datacontenttype()) == ("1.0", "application/json")
    assert found.get_subject() == 'camera 7 "Süd" 100 % 日'
    assert (found.get_extension("traceparent"), found.get_extension("tracestate")) == (TRACE, "a=1,b=2")
    _assert_labels(found.get_data(), PICTURE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP"])
def test_every_kind_of_picture(server: Server, mode: str, kind: str) -> None:
    picture = encoded(photo(60, 40), kind)
    _assert_labels(reply(server, mode, event(picture, f"image/{kind.lower()}")).get_data(), picture)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.example+json; charset=utf-8"])
def test_tensors_as_json(server: Server, mode: str, content_type: str) -> None:
    found = reply(server, mode, event(_tensors(id="seven"), content_type))
    data: Any = found.get_data()
    assert (data["model_name"], data["id"]) == ("tiny", "seven")
    _assert_scores(data["outputs"][0]["data"])


def test_json_without_a_type_is_a_request_of_the_open_inference_protocol(server: Server) -> None:
    asked = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": _tensors(), "subject": None}
    answer = server.call("POST", "/", asked, {"Content-Type": "application/cloudevents+json; charset=utf-8"})
    (found,) = replies(answer)
    assert found.get_subject() is None
    _assert_scores(json.loads(answer.body)["data"]["outputs"][0]["data"])


@pytest.mark.parametrize("mode", MODES)
def test_binary_tensors_both_ways(server: Server, mode: str) -> None:
    inputs = [{"name": "image", "shape": [1, SIDE, SIDE, 3], "datatype": "UINT8"}]
    inputs[0]["parameters"] = {"binary_data_size": len(PIXELS)}  # type: ignore[assignment]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    asked = event(head + PIXELS, "application/octet-stream", inferheaderlength=str(len(head)))
    answer = send(server, mode, asked)
    (found,) = replies(answer)
    assert found.get_datacontenttype() == "application/octet-stream"
    body = answer.body
    if mode != "binary":
        body = base64.b64decode(json.loads(body if mode == "structured" else body[1:-1])["data_base64"])
    length = int(found.get_extension("inferheaderlength"))
    assert json.loads(body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 24}
    _assert_scores(list(struct.unpack("<6f", body[length:])))


@pytest.mark.parametrize("mode", MODES)
def test_v1_when_the_event_says_so(server: Server, mode: str) -> None:
    instances = {"instances": [{"b64": base64.b64encode(PICTURE).decode()}]}
    data: Any = reply(server, mode, event(instances, "application/json", inferprotocol="v1")).get_data()
    assert data["predictions"][0] == pytest.approx(eager.picture_probabilities(PICTURE), abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_protocol_of_an_event_goes_before_its_type(server: Server, mode: str) -> None:
    asked = event(PICTURE, "application/octet-stream", inferprotocol="image", infertop="2", infermodel="tiny")
    _assert_labels(reply(server, mode, asked).get_data(), PICTURE, 2)


@pytest.mark.parametrize("content_type", [None, "application/octet-stream"])
def test_a_picture_of_no_type_is_recognised(server: Server, content_type: str | None) -> None:
    """As Knative's source for Kafka sends a message that says nothing of itself."""
    picture = encoded(photo(60, 40), "JPEG")
    headers = {"Ce-Specversion": "1.0", "Ce-Id": "partition:0/offset:7", "Ce-Source": "/kafka", "Ce-Type": "t"}
    told = {"Content-Type": content_type} if content_type else {}
    (found,) = replies(server.call("POST", "/", picture, headers | told))
    _assert_labels(found.get_data(), picture)


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "binary/octet-stream"])
def test_a_picture_of_no_type_is_recognised_where_its_claim_check_leads(
    serve: Serve, tiny_onnx: Path, content_type: str | None
) -> None:
    with web(PICTURE) as shop:
        server = serve(tiny_onnx, DATAREF_ALLOW=shop.url(), DATAREF_ALLOW_PRIVATE="true")
        asked = event(None, "image/png", dataref=shop.url("/cat"))
        attributes = {**asked.get_attributes(), "datacontenttype": content_type}
        told = {name: value for name, value in attributes.items() if value}
        _assert_labels(reply(server, "structured", CloudEvent(told)).get_data(), PICTURE)


@pytest.mark.parametrize("top", [2, "2"])
def test_a_number_may_be_an_integer_in_json(server: Server, top: Any) -> None:
    _assert_labels(reply(server, "structured", event(PICTURE, "image/png", infertop=top)).get_data(), PICTURE, 2)


@pytest.mark.parametrize("mode", MODES)
def test_what_eventings_senders_prefer_changes_nothing(server: Server, mode: str) -> None:
    asked = event(PICTURE, "image/png")
    for prefer in ("reply", "reply, respond-async", "respond-async, wait=1"):
        _assert_labels(reply(server, mode, asked, headers={"Prefer": prefer}).get_data(), PICTURE)


def test_the_reply_is_named_by_request_and_model(serve: Serve, tiny_onnx: Path, tiny_aoti: Path) -> None:
    def named(server: Server, mode: str = "binary", **attributes: str) -> str:
        return reply(server, mode, event(PICTURE, "image/png", **attributes)).get_id()

    server = serve(tiny_onnx)
    first = named(server)
    assert {named(server, mode) for mode in MODES} == {first}
    others = {named(server, id="event-2"), named(server, source="/other"), named(serve(tiny_aoti))}
    assert len(others | {first}) == 4


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_reply_that_comes_back_is_refused(server: Server, mode: str) -> None:
    """A Trigger without a filter sends every reply to who made it: that must not go on for ever."""
    (first,) = replies(send(server, mode, event(PICTURE, "image/png")))
    again = CloudEvent(dict(first.get_attributes()), first.get_data())
    answer = send(server, mode, again)
    assert_refused(answer, 422)
    assert answer.error.startswith(f"{COMPLETED} is what this service replies with")


def test_a_batch_of_replies_that_come_back_is_answered_by_nothing(server: Server) -> None:
    bad = event(b"no picture", "image/png", id="bad")
    found = replies(send(server, "batched", event(PICTURE, "image/png"), bad))
    assert [each.get_type() for each in found] == list(codec.REPLIES)
    again = [CloudEvent(dict(each.get_attributes()), each.get_data()) for each in found]
    assert replies(send(server, "batched", *again)) == []
    (only,) = replies(send(server, "batched", again[0], event(PICTURE, "image/png"), again[1]))
    assert only.get_id() == found[0].get_id()


def test_a_batch_is_answered_in_its_order(server: Server) -> None:
    pictures = [png(30, 20, seed) for seed in range(6)]
    asked = [event(each, "image/png", id=f"event-{index}") for index, each in enumerate(pictures)]
    answer = send(server, "batched", *asked)
    assert answer.headers["Content-Type"] == BATCH_TYPE
    found = replies(answer)
    assert [each.get_extension("requestid") for each in found] == [each.get_id() for each in asked]
    for each, picture in zip(found, pictures, strict=True):
        _assert_labels(each.get_data(), picture)


def test_the_schema_is_served_and_names_what_the_code_names(server: Server) -> None:
    answer = server.call("GET", "/events/schema")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/schema+json")
    assert json.loads(answer.body) == SCHEMA
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    defined = SCHEMA["$defs"]
    assert {codec.PROTOCOL, codec.MODEL, codec.TOP, codec.JSON_LENGTH, codec.DATAREF} <= set(
        defined["request"]["properties"]
    )
    assert {codec.REQUEST_ID, codec.REQUEST_SOURCE} <= set(defined["reply"]["properties"])
    assert set(codec.TRACING) <= set(defined["cloudevent"]["properties"])
    assert [defined[name]["properties"]["type"]["const"] for name in ("completed", "failed")] == list(codec.REPLIES)
    assert defined["request"]["properties"]["type"]["not"]["enum"] == list(codec.REPLIES)
    assert codec.REQUESTED in defined["request"]["properties"]["type"]["description"]
