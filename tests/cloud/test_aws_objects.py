"""Objects of S3 on AWS Lambda: what S3 itself, SQS, SNS and EventBridge tell of them, from moto's services."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OnLambda
from tests.support import eager
from tests.support.aws import Function, as_json, bridged, by_sns, message, notification
from tests.support.events import COMPLETED, FAILED, FORMAT, REPLY, assert_valid, event
from tests.support.pictures import png
from tests.support.s3 import Store, store

PICTURE = png(40, 30)
KEY = "in/red flower+ü%/cat (1).png"
LABELS = [index for _, index, _ in eager.labels(PICTURE, 5)]


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store(tmp_path_factory.mktemp("aws") / "log") as found:
        yield found


@pytest.fixture
def function(on_lambda: OnLambda, tiny_onnx: Path, moto: Store) -> Function:
    allowed = "s3://photos/, s3://topical/, s3://versioned/"
    return on_lambda(tiny_onnx, **moto.environ, DATAREF_ALLOW=allowed)


def _failed(function: Function, *bodies: Any) -> list[int]:
    """Which of the messages with these bodies stay in the queue."""
    answer = function.invoke({"Records": [message(f"{number}", body) for number, body in enumerate(bodies)]}).value
    return [int(each["itemIdentifier"]) for each in answer["batchItemFailures"]]


def _assert_labels(reply: dict[str, Any], subject: str = KEY) -> None:
    assert_valid(REPLY, FORMAT.read(None, json.dumps(reply)))
    assert (reply["type"], reply["subject"]) == (COMPLETED, subject)
    assert [each["index"] for each in reply["data"]["labels"]] == LABELS


def _logged(function: Function, message_id: int) -> dict[str, Any]:
    """The last reply to a message of that id that is in the log."""
    line = function.log.rpartition(f"message {message_id}: {{")[2].splitlines()[0]
    return dict(json.loads(f"{{{line}"))


@pytest.mark.parametrize("by_topic", [False, True])
def test_what_is_put_into_a_bucket_is_answered_and_what_is_removed_is_acknowledged(
    function: Function, moto: Store, by_topic: bool
) -> None:
    """With the messages that S3's notifications make in a queue, `s3:TestEvent` among them."""
    bucket = "topical" if by_topic else "photos"
    moto.put(bucket, "old", b"")
    queue = moto.notifying(bucket, by_topic=by_topic)
    moto.client.put_object(Bucket=bucket, Key=KEY, Body=PICTURE)
    moto.client.delete_object(Bucket=bucket, Key="old")
    texts = queue.texts()
    told = "".join(texts)
    assert all(kind in told for kind in ("s3:TestEvent", "ObjectCreated:Put", "ObjectRemoved:Delete"))
    assert _failed(function, *texts) == []
    put = next(number for number, text in enumerate(texts) if "ObjectCreated:Put" in text)
    _assert_labels(_logged(function, put))


def test_the_test_event_of_a_new_notification_is_acknowledged(function: Function) -> None:
    asked = {
        "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-10-13T15:57:02.089Z", "Bucket": "photos",
        "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
    }  # fmt: skip
    assert _failed(function, asked, by_sns(json.dumps(asked))) == []
    for number in (0, 1):
        assert f"message {number}: nothing to compute: s3:TestEvent of the bucket 'photos'" in function.log
    assert function.invoke(asked).value is None


@pytest.mark.parametrize(
    "name", ["ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated", "ObjectTagging:Put", "s3:ObjectRemoved:Delete"]
)  # fmt: skip
def test_what_puts_no_object_there_is_acknowledged(function: Function, name: str) -> None:
    asked = {"Records": [notification(f"{name} x", name=name)]}
    assert _failed(function, asked) == []
    assert f"message 0: nothing to compute: '{name}' of s3://photos/{name.replace(':', '%3A')}%20x" in function.log
    assert function.invoke(asked).value is None


def test_a_folder_is_no_picture(function: Function) -> None:
    """The console makes one by an empty object."""
    assert _failed(function, {"Records": [notification("incoming/", size=0)]}, bridged("incoming/", size=0)) == []
    assert "nothing to compute: 's3://photos/incoming/' is a folder" in function.log


def test_a_message_stays_in_the_queue_when_one_of_its_objects_cannot_be_answered(
    function: Function, moto: Store
) -> None:
    moto.put("photos", "a.png", PICTURE)
    moto.put("photos", "text", b"no picture")
    good, wrong, missing = (notification(key) for key in ("a.png", "text", "nothing"))
    removed = notification("a.png", name="ObjectRemoved:Delete")
    assert _failed(
        function,
        {"Records": [good, removed, good]}, {"Records": [wrong, good]}, {"Records": [good, missing]},
        {"Records": [notification("a.png", "secret")]}, {"Records": [{"s3": {}}]}, {"Records": []},
    ) == [1, 2, 3, 4, 5]  # fmt: skip
    assert "message 1: 422" in function.log
    assert "the store of s3://photos answers NoSuchKey" in function.log
    assert "s3://secret/a.png is not in DATAREF_ALLOW" in function.log


def test_the_version_that_was_written_is_fetched(function: Function, moto: Store) -> None:
    moto.put("versioned", "cat.png", b"unversioned")
    moto.client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    version = moto.client.put_object(Bucket="versioned", Key="cat.png", Body=PICTURE)["VersionId"]
    moto.client.put_object(Bucket="versioned", Key="cat.png", Body=b"another")
    asked = {"Records": [notification("cat.png", "versioned", versionId=version)]}
    _assert_labels(function.invoke(asked).value, "cat.png")
    latest = function.invoke({"Records": [notification("cat.png", "versioned")]}).value
    assert (latest["type"], latest["data"]["status"]) == (FAILED, 422)


def test_s3_itself_invokes_the_function(function: Function, moto: Store) -> None:
    moto.put("photos", KEY, PICTURE)
    record = notification(KEY)
    reply = function.invoke({"Records": [record]}).value
    _assert_labels(reply)
    assert reply["requestsource"] == "aws:s3.us-west-2.photos"
    # The same upload is the same event, however it comes, and another one is another.
    replies = function.invoke({"Records": [record, notification("nothing"), notification(KEY, versionId="null")]}).value
    assert [each["type"] for each in replies] == [COMPLETED, FAILED, COMPLETED]
    assert replies[0]["requestid"] == reply["requestid"]
    assert len({each["requestid"] for each in replies}) == 3


def test_a_topic_invokes_the_function(function: Function, moto: Store) -> None:
    moto.put("photos", KEY, PICTURE)
    for text in (json.dumps({"Records": [notification(KEY)]}), json.dumps(bridged(KEY))):
        records = [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": by_sns(text)}]
        _assert_labels(function.invoke({"Records": records}).value)
    carried = json.dumps(as_json(event(PICTURE, "image/png", subject=KEY)))
    _assert_labels(function.invoke({"Records": [{"EventSource": "aws:sns", "Sns": by_sns(carried)}]}).value)


def test_eventbridge_tells_of_an_object_whose_key_is_not_encoded(function: Function, moto: Store) -> None:
    for key in (KEY, "a+b%20c.png"):
        moto.put("photos", key, PICTURE)
        asked = bridged(key)
        reply = function.invoke(asked).value
        _assert_labels(reply, key)
        assert (reply["requestid"], reply["requestsource"]) == (asked["id"], "aws.s3")
    assert _failed(function, bridged(KEY), by_sns(json.dumps(bridged(KEY)))) == []
    (by_pipe,) = function.invoke([message("1", bridged(KEY))]).value
    _assert_labels(by_pipe)


@pytest.mark.parametrize("kind", ["Object Deleted", "Object Restore Completed", "Object Tags Added"])
def test_what_else_eventbridge_tells_of_objects_is_acknowledged(function: Function, kind: str) -> None:
    assert function.invoke(bridged(KEY, kind)).value is None
    assert _failed(function, bridged(KEY, kind)) == []
    assert f"nothing to compute: '{kind}' of s3://photos/in/red%20flower%2B%C3%BC%25/cat%20%281%29.png" in function.log


def test_a_request_in_an_object_is_answered(function: Function, moto: Store) -> None:
    """Nobody says what the object is: its first bytes do."""
    pixels = [0] * (16 * 16 * 3)
    asked = {"inputs": [{"name": "image", "shape": [1, 16, 16, 3], "datatype": "UINT8", "data": pixels}]}
    moto.put("photos", "request", json.dumps(asked).encode())
    reply = function.invoke({"Records": [notification("request")]}).value
    assert reply["data"]["outputs"][0]["name"] == "probabilities"


def test_what_lambda_has_of_other_services_is_still_unknown(function: Function) -> None:
    for records in ([{"eventSource": "aws:kinesis", "kinesis": {}}], [{"eventSource": "aws:dynamodb", "dynamodb": {}}]):
        assert function.invoke({"Records": records}).error.startswith(
            "ValueError: unknown event: wanted HTTP, SQS, SNS"
        )
