"""What platforms post in forms of their own to `/` and `/events`: Pub/Sub, Eventarc, SNS, MinIO, Event Grid."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.events import dataref
from service.settings import Settings
from service.web.app import create_app
from tests.conftest import Serve
from tests.support import eager
from tests.support.aws import as_json, bridged, by_sns, notification
from tests.support.events import COMPLETED, FORMAT, JSON_TYPE, RETRIED, event, replies
from tests.support.google import SUBSCRIPTION, notified, published, pushed, stored
from tests.support.pictures import encoded, photo, png
from tests.support.s3 import Store, store
from tests.support.serving import Answer, Server
from tests.support.web import Web, certificate_of, web

PICTURE = png(40, 30)
LABELS = [index for _, index, _ in eager.labels(PICTURE, 5)]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store(tmp_path_factory.mktemp("aws") / "log") as found:
        yield found


@pytest.fixture(scope="module")
def shop() -> Iterator[Web]:
    with web(PICTURE) as found:
        yield found


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path, moto: Store, shop: Web) -> Server:
    allowed = {"DATAREF_ALLOW": f"s3://photos/, {shop.url('/photos/')}", "DATAREF_ALLOW_PRIVATE": "true"}
    return serve(tiny_onnx, **moto.environ, **allowed)


def _post(server: Server, body: Any, headers: dict[str, str] | None = None, path: str = "/") -> Answer:
    return server.call("POST", path, json.dumps(body).encode(), JSON if headers is None else headers)


def _assert_taken(server: Server, body: Any, headers: dict[str, str] | None = None, path: str = "/") -> str:
    """What our lines in the log say of it."""
    before = len(server.log)
    answer = _post(server, body, headers, path)
    assert (answer.status, answer.body) == (204, b"")
    return "\n".join(
        line for line in server.log[before:].splitlines() if " kindling: " in line and "first answer" not in line
    )


def _assert_logged(said: str, name: str, labels: list[int] = LABELS) -> None:
    (line,) = said.splitlines()
    assert f"event {name}: 200 " in line
    assert [each["index"] for each in json.loads(line.partition(": 200 ")[2])["labels"]] == labels


@pytest.mark.parametrize("path", ["/", "/events"])
def test_a_push_of_pubsub_is_unwrapped(server: Server, path: str) -> None:
    source = f"//pubsub.googleapis.com/{SUBSCRIPTION}"
    _assert_logged(_assert_taken(server, pushed(PICTURE, "7"), path=path), f"7 of {source}")
    _assert_logged(_assert_taken(server, pushed(PICTURE, "8", infertop="2"), path=path), f"8 of {source}", LABELS[:2])
    asked = as_json(event(PICTURE, "image/png", id="inside"))
    _assert_logged(_assert_taken(server, pushed(json.dumps(asked).encode()), path=path), "inside of /tests")
    request = {"instances": [{"b64": base64.b64encode(PICTURE).decode()}]}
    assert '"predictions"' in _assert_taken(server, pushed(json.dumps(request).encode()), path=path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (pushed(b"no picture", "9"), f"event 9 of //pubsub.googleapis.com/{SUBSCRIPTION}: 422 not a picture"),
        (pushed(b"", "9"), f"event 9 of //pubsub.googleapis.com/{SUBSCRIPTION}: 400 "),
        ({"message": {"data": "%", "messageId": "9"}, "subscription": SUBSCRIPTION}, ": 400 no valid CloudEvent"),
        ({"message": {}, "subscription": SUBSCRIPTION}, ": 400 no valid CloudEvent: it has no id"),
        (notified("photos", "cat.png"), "storage.googleapis.com/photos/cat.png is not in DATAREF_ALLOW"),
        (notified("photos", "cat.png", "OBJECT_DELETE"), "nothing to compute: 'OBJECT_DELETE' of https://storage"),
        ({"Records": [notification("nothing")]}, "the store of s3://photos answers NoSuch"),
        ({"Records": [notification("a")] * 65}, "not computed: 65 events in one delivery, of at most 64"),
        ({"Event": "s3:TestEvent", "Bucket": "photos"}, "nothing to compute: s3:TestEvent of the bucket 'photos'"),
        ({"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns/?a"}, "to be confirmed at 'https://sns/?a'"),
        ({"Type": "Notification", "Message": "hello"}, "400 the event is not a JSON object"),
    ],
)  # fmt: skip
def test_what_can_never_be_computed_is_one_line_in_the_log_and_does_not_come_again(
    server: Server, body: Any, said: str
) -> None:
    (line,) = _assert_taken(server, body).splitlines()
    assert said in line


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (stored("photos", "cat.png"), "event 1096434104173400 of //storage.googleapis.com/projects/_/buckets/photos: 422 "),
        (stored("photos", "cat.png"), " dataref: https://storage.googleapis.com/photos/cat.png is not in DATAREF_ALLOW"),
        (stored("photos", "cat.png", "deleted"), "nothing to compute: 'google.cloud.storage.object.v1.deleted' of"),
        (published(b"no picture"), "event 1 of //pubsub.googleapis.com/projects/p/topics/t: 422 not a picture"),
        (stored("photos", "cat.png") | {"data": {}}, "event 1096434104173400 of"),
        (stored("photos", "x") | {"type": "google.cloud.audit.log.v1.written"}, "event 1096434104173400 of"),
    ],
)  # fmt: skip
def test_what_eventarc_tells_and_can_never_be_computed_is_logged_and_does_not_come_again(
    server: Server, mode: str, asked: dict[str, Any], said: str
) -> None:
    headers, body = {"Content-Type": JSON_TYPE}, asked
    if mode == "binary":
        headers = {f"Ce-{name}": value for name, value in asked.items() if not name.startswith("data")} | JSON
        body = asked["data"]
    (line,) = _assert_taken(server, body, headers).splitlines()
    assert said in line


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_message_by_eventarc_is_answered_by_its_reply(server: Server, mode: str) -> None:
    asked = published(PICTURE)
    headers, body = {"Content-Type": JSON_TYPE}, asked
    if mode == "binary":
        headers = {f"Ce-{name}": value for name, value in asked.items() if not name.startswith("data")} | JSON
        body = asked["data"]
    (reply,) = replies(_post(server, body, headers))
    assert (reply.get_type(), reply.get_extension("requestid")) == (COMPLETED, "1")


def test_an_object_of_cloud_storage_is_fetched_where_it_is_allowed(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, certificate = certificate_of(tmp_path, "storage.googleapis.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(dataref, "_addresses", lambda _, **__: ["127.0.0.1"])
    with ExitStack() as stack:
        bucket = stack.enter_context(web(PICTURE, context=context))
        monkeypatch.setitem(dataref._PORTS, "https", bucket.port)
        app = create_app(Settings(model_dir=tiny_onnx, dataref_allow=("https://storage.googleapis.com/photos/",)))
        runtime = app.extensions["runtime"]
        stack.callback(runtime.close)
        runtime.wait_until_ready(60)
        for asked in (
            stored("photos", "in/red cat.png"),
            published(json.dumps(stored("photos", "in/red cat.png")).encode()),
        ):
            answer = app.test_client().post("/", data=json.dumps(asked), headers={"Content-Type": JSON_TYPE})
            assert answer.status_code == 200, answer.text
            reply: Any = FORMAT.read(None, answer.data).get_data()
            assert [each["index"] for each in reply["labels"]] == LABELS
        assert (
            app.test_client().post("/", data=json.dumps(notified("photos", "a.png")), headers=JSON).status_code == 204
        )
        asked = stored("secret", "a.png")
        refused = app.test_client().post("/", data=json.dumps(asked), headers={"Content-Type": JSON_TYPE})
        assert refused.status_code == 204
    path = "/photos/in/red%20cat.png?generation=1587627537231057"
    assert [path for path, _ in bucket.came] == [path, path, "/photos/a.png?generation=1587627537231057"]


def test_a_blob_of_azure_is_fetched_and_answered(server: Server, shop: Web) -> None:
    asked = {
        "specversion": "1.0", "type": "Microsoft.Storage.BlobCreated", "id": "9aeb0fdf", "source": "/subscriptions/s",
        "subject": "blobServices/default/containers/photos/blobs/cat.png",
        "data": {"api": "PutBlob", "contentType": "image/png", "url": shop.url("/photos/cat.png")},
    }  # fmt: skip
    (reply,) = replies(_post(server, asked, {"Content-Type": JSON_TYPE}))
    data: Any = reply.get_data()
    assert [each["index"] for each in data["labels"]] == LABELS


def test_a_notification_that_a_store_posts_itself_is_computed(server: Server, moto: Store) -> None:
    """As MinIO's webhook does, and SNS with raw delivery; EventBridge's API destination posts its envelope."""
    moto.put("photos", "in/a b+c.png", PICTURE)
    record = notification("in/a b+c.png", name="s3:ObjectCreated:Put") | {"eventSource": "minio:s3", "awsRegion": ""}
    minio = {"EventName": "s3:ObjectCreated:Put", "Key": "photos/in/a b+c.png", "Records": [record]}
    said = _assert_taken(server, minio, path="/events")
    assert " of minio:s3..photos: 200 " in said
    text = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
    assert _assert_taken(server, by_sns(json.dumps(minio)), text).partition(" 200 ")[2] == said.partition(" 200 ")[2]
    assert " of aws.s3: 200 " in _assert_taken(server, bridged("in/a b+c.png"))


def test_what_can_be_computed_later_comes_again(serve: Serve, tiny_onnx: Path) -> None:
    late = encoded(photo(1600, 1200), "PNG")
    server = serve(tiny_onnx, REQUEST_TIMEOUT_MS="1")
    for asked in (pushed(late), published(late)):
        answer = _post(server, asked, {"Content-Type": JSON_TYPE} if "specversion" in asked else JSON)
        assert (answer.status, answer.status in RETRIED) == (504, True)


def test_the_result_is_kept_and_not_told_to_the_log(serve: Serve, tiny_onnx: Path, database_url: str) -> None:
    server = serve(tiny_onnx, DATABASE_URL=database_url)
    for _ in range(2):
        assert _assert_taken(server, pushed(PICTURE, "good")) == ""
        assert "422 not a picture" in _assert_taken(server, pushed(b"nonsense", "poison"))
    kept = {job["event"]["id"]: job for job in server.call("GET", "/jobs").json["jobs"]}
    assert {name: (job["status"], job["attempts"]) for name, job in kept.items()} == {
        "good": ("succeeded", 1), "poison": ("failed", 1)
    }  # fmt: skip
    result = server.call("GET", f"/jobs/{kept['good']['id']}/result").json
    assert [each["index"] for each in result["labels"]] == LABELS


def test_what_is_neither_an_event_nor_an_envelope_is_refused(server: Server) -> None:
    bodies: list[Any] = [{}, {"a": 1}, {"inputs": []}, {"message": "hello"}, [pushed(PICTURE)], "text"]
    for body in bodies:
        answer = _post(server, body)
        assert (answer.status, answer.error.partition(":")[0]) == (400, "no CloudEvent")
