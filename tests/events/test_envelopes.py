"""What platforms deliver -> CloudEvents, form by form, without a service."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from service.call import IMAGE, V1, V2
from service.events import codec, envelopes
from service.events.objects import Ignored
from tests.support.aws import as_json, bridged, by_sns, envelope, message, notification
from tests.support.events import event
from tests.support.events import message as sent
from tests.support.google import PUBLISHED, STORED, TOPIC, notified, published, pushed, stored
from tests.support.pictures import png

PICTURE = png(40, 30)
ASKED = as_json(event(PICTURE, "image/png"))
URL = "https://storage.googleapis.com/photos/in/red%20flower%2B%C3%BC%25.png?generation=1587627537231057"
NAME = "in/red flower+ü%.png"
DATA = {"data_base64": pushed(PICTURE)["message"]["data"]}


def _one(found: Any) -> dict[str, Any]:
    (inside,) = envelopes.opened(found)
    assert isinstance(inside, dict), inside
    # As the service takes it.
    _, (asked,) = codec.decode({"Content-Type": codec.BATCH_TYPE}, json.dumps([inside]).encode())
    assert not asked.fault
    return {name: value for name, value in inside.items() if value is not None}


def _ignored(found: Any) -> str:
    (inside,) = envelopes.opened(found)
    assert isinstance(inside, Ignored), inside
    return inside.why


@pytest.mark.parametrize("found", [ASKED, {}, {"a": 1}, [ASKED], "text", 1, None, {"Records": []}, {"Records": "x"},
                                   {"Records": [1]}, {"message": "hello"}, {"Type": "Notification"}, {"messageId": 1, "body": 2}])  # fmt: skip
def test_what_is_no_envelope_is_given_as_it_is(found: Any) -> None:
    assert envelopes.opened(found) == [found]


@pytest.mark.parametrize(
    "headers", [{"Content-Type": codec.JSON_TYPE}, {"Content-Type": codec.BATCH_TYPE}, {"Ce-Specversion": "1.0"}]
)
def test_a_request_with_a_cloudevent_is_no_envelope(headers: dict[str, str]) -> None:
    """Whatever its data are like."""
    assert envelopes.read(headers, json.dumps(pushed(PICTURE)).encode()) is None
    assert envelopes.read({}, json.dumps(pushed(PICTURE)).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'"x"', b"\xff", PICTURE, b"{" * 100_000, b'{"inputs": []}'])
def test_a_body_that_is_no_envelope_is_none(body: bytes) -> None:
    assert envelopes.read({"Content-Type": "application/json"}, body) is None


def test_texts_are_opened_in_whatever_order_they_are_in_each_other() -> None:
    found: Any = ASKED
    for _ in range(4):
        found = message("1", {"Type": "Notification", "Message": json.dumps(found)})
    assert envelopes.opened(found) == [ASKED]
    assert envelopes.opened(message("1", envelope(ASKED))) == [ASKED]


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_what_sns_wants_confirmed_is_told_and_nobody_goes_there(kind: str) -> None:
    url = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37"
    assert _ignored({"Type": kind, "MessageId": "1", "Token": "2336412f37", "SubscribeURL": url, "Message": "You"}) == (
        f"{kind} of SNS, to be confirmed at '{url}'"
    )


@pytest.mark.parametrize("form", [pushed, published])
def test_a_message_of_pubsub_is_what_its_data_are(form: Any) -> None:
    assert envelopes.opened(form(json.dumps(ASKED).encode())) == [ASKED]
    found = form(PICTURE, "7")
    source = TOPIC if form is published else "//pubsub.googleapis.com/projects/p/subscriptions/s"
    told = {"specversion": "1.0", "id": "7", "source": source, "type": PUBLISHED, "time": "2026-11-27T19:13:55.749Z"}
    assert _one(found) == {**told, codec.PROTOCOL: IMAGE, **DATA}
    for request, protocol in (({"inputs": []}, V2), ({"instances": []}, V1), ({"a": 1}, V2)):
        assert _one(form(json.dumps(request).encode()))[codec.PROTOCOL] == protocol
    assert _one(form(b"hello"))[codec.PROTOCOL] == IMAGE
    assert _one(form(json.dumps(notified("photos", NAME)).encode()))["dataref"] == URL


def test_a_message_of_pubsub_may_say_what_it_is_by_attributes() -> None:
    told = {codec.PROTOCOL: V2, codec.JSON_LENGTH: "10", codec.MODEL: "m", "traceparent": "00-1", "mine": "x"}
    found = _one(pushed(PICTURE, **told))
    assert {name: found.get(name) for name in told} == {**told, "mine": None}
    named = _one(pushed(PICTURE, **{"content-type": "image/png"}))
    assert (named["datacontenttype"], codec.PROTOCOL in named) == ("image/png", False)
    referred = _one(pushed(dataref="https://example.com/cat.png"))
    assert (referred["dataref"], codec.PROTOCOL in referred) == ("https://example.com/cat.png", False)


def test_a_cloudevent_in_the_attributes_of_a_message_of_pubsub() -> None:
    """github.com/googleapis/google-cloudevents, docs/spec/pubsub.md: binary content mode."""
    asked = event(PICTURE, "image/png", subject="猫")
    headers = sent("binary", asked).headers
    attributes = {**headers, "ce-subject": "猫"}  # there are no bytes in between, and so nothing is percent-encoded
    found = _one(pushed(PICTURE, **attributes))
    assert found == {**as_json(asked), **DATA}
    inside = {f"ce-{name}": value for name, value in stored("photos", NAME).items() if not name.startswith("data")}
    data = json.dumps(stored("photos", NAME)["data"]).encode()
    assert _one(pushed(data, **inside, **{"content-type": "application/json"}))["dataref"] == URL


def test_an_object_of_cloud_storage_is_fetched_in_that_generation() -> None:
    for form in (stored, notified):
        found = _one(form("photos", NAME))
        assert found.pop("id") in ("1096434104173400", "2070443601311540")
        found.pop("bucket", None)
        assert found == {
            "specversion": "1.0", "type": f"{STORED}finalized", "source": "//storage.googleapis.com/projects/_/buckets/photos",
            "subject": f"objects/{NAME}", "time": "2026-04-23T07:38:57.772Z", "dataref": URL,
        }  # fmt: skip
    (inside,) = envelopes.of_event(codec.from_json(json.dumps(stored("photos", NAME)).encode())) or []
    assert inside["dataref"] == URL


@pytest.mark.parametrize("kind", ["deleted", "archived", "metadataUpdated"])
def test_what_else_happens_to_an_object_of_cloud_storage_asks_for_nothing(kind: str) -> None:
    assert (
        _ignored(stored("photos", "cat.png", kind))
        == f"'{STORED}{kind}' of https://storage.googleapis.com/photos/cat.png"
    )
    assert _ignored(notified("photos", "cat.png", kind)) == f"'{kind}' of https://storage.googleapis.com/photos/cat.png"
    assert "is a folder" in _ignored(stored("photos", "in/"))


def test_a_blob_of_azure_is_fetched_from_its_own_url() -> None:
    """learn.microsoft.com/azure/event-grid/cloud-event-schema"""
    url = "https://my.blob.core.windows.net/photos/cat.png"
    asked = {
        "specversion": "1.0", "type": "Microsoft.Storage.BlobCreated", "id": "9aeb0fdf-c01e-0131-0922-9eb54906e209",
        "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/my",
        "subject": "blobServices/default/containers/photos/blobs/cat.png", "time": "2019-11-18T15:13:39.4589254Z",
    }  # fmt: skip
    data = {"api": "PutBlob", "contentType": "image/png", "contentLength": 30699, "blobType": "BlockBlob", "url": url}
    assert _one({**asked, "data": data}) == {**asked, "dataref": url}
    deleted = {**asked, "type": "Microsoft.Storage.BlobDeleted", "data": data}
    assert _ignored(deleted) == f"'Microsoft.Storage.BlobDeleted' of '{url}'"


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "found",
    [
        {"Records": [notification(LONG, name="ObjectRemoved:Delete")]}, bridged(LONG, "Object Deleted"),
        {"Records": [notification("a", name=LONG)]}, bridged("a", LONG), stored("photos", LONG, "deleted"),
        stored("photos", "a", LONG), notified("photos", LONG, "OBJECT_DELETE"), notified("photos", "a", LONG),
        {"Event": "s3:TestEvent", "Bucket": LONG}, {"Type": "SubscriptionConfirmation", "SubscribeURL": LONG},
        {"specversion": "1.0", "type": f"Microsoft.Storage.{LONG}", "data": {"url": f"https://a/{LONG}"}},
        {"specversion": "1.0", "type": "Microsoft.Storage.BlobDeleted", "data": {"url": [LONG]}},
    ],
)  # fmt: skip
def test_what_asks_for_nothing_is_a_line_of_the_log_however_long_its_names_are(found: dict[str, Any]) -> None:
    assert len(_ignored(found)) < 1200


@pytest.mark.parametrize("depth", [2, 400])
def test_records_in_records_are_no_envelope_at_any_depth(depth: int) -> None:
    """Each one has what makes it a record, so to go on would end in a RecursionError, which is answered with 500."""
    found: dict[str, Any] = {"messageId": "1", "body": None}
    for _ in range(depth):
        found = {"messageId": "1", "body": None, "Records": [found]}
    (inside,) = envelopes.opened({"Records": [found]})
    assert inside is found
    _, (asked,) = codec.decode({"Content-Type": codec.BATCH_TYPE}, json.dumps([inside]).encode())
    assert asked.fault


@pytest.mark.parametrize(
    "found",
    [
        {**stored("photos", "x"), "data": {}}, {**stored("photos", "x"), "data": None}, {**stored("photos", "x"), "data": [1]},
        {**stored("photos", "x"), "data": {"bucket": 1, "name": 2}}, {**published(), "data": {}},
        {**published(), "data": {"message": "x"}}, {**published(), "data_base64": "%", "data": None},
        {"specversion": "1.0", "type": "Microsoft.Storage.BlobCreated", "data": {}},
        {"specversion": "1.0", "type": 7}, {"Records": [{"s3": None}]}, {"Records": [{"s3": {"object": {"key": 1}}}]},
    ],
)  # fmt: skip
def test_what_is_broken_is_given_as_it_is_for_the_decoder_to_refuse(found: dict[str, Any]) -> None:
    assert envelopes.opened(found) == found.get("Records", [found])


@pytest.mark.parametrize("data", ["%", "abc", 7, None, ["x"]])
def test_data_of_a_message_that_are_no_base64_are_refused_by_the_decoder(data: Any) -> None:
    (inside,) = envelopes.opened({"message": {"messageId": "1", "data": data}, "subscription": "s"})
    _, (asked,) = codec.decode({"Content-Type": codec.BATCH_TYPE}, json.dumps([inside]).encode())
    assert bool(asked.fault) == (data is not None)


SEEDS = [
    message("1", {"Records": [notification("a b")]}), bridged("a b"), by_sns(json.dumps(bridged("a b"))),
    {"Records": [notification("a b")]}, {"Records": [{"Sns": by_sns("{}")}]}, {"Event": "s3:TestEvent"}, pushed(b"abc"),
    published(b"{}"), stored("photos", NAME), notified("photos", NAME),
    {"specversion": "1.0", "type": "Microsoft.Storage.BlobCreated", "data": {"url": "https://a/b"}},
]  # fmt: skip
WRONG: list[Any] = [None, 1, True, [], {}, "", "x", "\ud800", "\0\n", ["a"], {"a": 1}, [[[]]], "%ff", "../.."]


def _places(found: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to everything that is in it."""
    for name, value in (
        found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    ):
        yield (*above, name)
        yield from _places(value, (*above, name))


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_wrong_with_an_envelope_ends_in_a_refusal(seed: dict[str, Any]) -> None:
    """An error of ours would be answered with 500, and so come again for days."""
    for *above, last in _places(seed):
        for value in WRONG:
            found = copy.deepcopy(seed)
            place: Any = found
            for each in above:
                place = place[each]
            place[last] = value
            inside = envelopes.opened(found)
            given = [each for each in inside if not isinstance(each, Ignored)]
            assert all(each.why.isprintable() for each in inside if isinstance(each, Ignored))
            codec.decode({"Content-Type": codec.BATCH_TYPE}, json.dumps([*given, ASKED]).encode())
