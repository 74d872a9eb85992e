"""Events on AWS Lambda, by the real awslambdaric: SQS, EventBridge, Pipes; jobs where nothing runs between them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OnLambda
from tests.support import eager
from tests.support.aws import QUEUE, Function, as_json, envelope, message
from tests.support.broker import listening
from tests.support.events import COMPLETED, FAILED, FORMAT, REPLY, assert_valid, event
from tests.support.pictures import encoded, photo, png

PICTURE = png(40, 30)
ASKED = as_json(event(PICTURE, "image/png"))
POISON = as_json(event(b"nonsense", "image/png", id="poison"))
# Decoding takes longer than the 1 ms that the slow function has.
LATE = as_json(event(encoded(photo(1600, 1200), "PNG"), "image/png", id="late"))


@pytest.fixture
def tiny_function(on_lambda: OnLambda, tiny: Path) -> Function:
    return on_lambda(tiny)


@pytest.fixture
def slow_function(on_lambda: OnLambda, tiny_onnx: Path) -> Function:
    return on_lambda(tiny_onnx, REQUEST_TIMEOUT_MS="1")


def _failures(function: Function, *records: dict[str, Any]) -> list[str]:
    answer = function.invoke({"Records": list(records)}).value
    assert answer.keys() == {"batchItemFailures"}
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def _assert_answers(reply: dict[str, Any], asked: dict[str, Any]) -> None:
    assert_valid(REPLY, FORMAT.read(None, json.dumps(reply)))
    assert (reply["type"], reply["requestid"], reply["requestsource"]) == (COMPLETED, asked["id"], asked["source"])
    assert [(each["label"], each["index"]) for each in reply["data"]["labels"]] == [
        (label, index) for label, index, _ in eager.labels(PICTURE, 5)
    ]


def test_only_the_messages_that_failed_stay_in_the_queue(tiny_function: Function) -> None:
    records = [message("good", ASKED), message("poison", POISON), message("text", "nonsense"),
               message("list", [1]), message("also-good", envelope(ASKED))]  # fmt: skip
    assert _failures(tiny_function, *records) == ["poison", "text", "list"]
    assert "message poison: 422" in tiny_function.log
    assert "message text: 400" in tiny_function.log
    assert "message good: {" in tiny_function.log
    assert COMPLETED in tiny_function.log


def test_a_full_batch_is_answered(tiny_function: Function) -> None:
    records = [message(f"m{number}", ASKED | {"id": f"event-{number}"}) for number in range(40)]
    assert _failures(tiny_function, *records) == []
    assert _failures(tiny_function) == []


def test_messages_of_a_fifo_queue_stay_in_order(tiny_function: Function) -> None:
    """One that was answered after one that was not would overtake it."""
    records = [message(name, body, f"{QUEUE}.fifo") for name, body in
               (("first", ASKED), ("second", POISON), ("third", ASKED))]  # fmt: skip
    assert _failures(tiny_function, *records) == ["second", "third"]
    assert _failures(tiny_function, records[0], records[2]) == []


def test_a_message_that_came_too_late_stays_in_the_queue(slow_function: Function) -> None:
    assert _failures(slow_function, message("late", LATE)) == ["late"]
    assert "message late: 504" in slow_function.log


@pytest.mark.parametrize("sent", [ASKED, envelope(ASKED), envelope(ASKED, **{"detail-type": "other"})])
def test_an_event_is_answered_by_its_reply(tiny_function: Function, sent: dict[str, Any]) -> None:
    """Which Lambda hands to the destination of successful invocations."""
    _assert_answers(tiny_function.invoke(sent).value, ASKED)


def test_detail_that_is_no_event_is_the_data_of_one(tiny_function: Function) -> None:
    pixels = list(bytes(16 * 16 * 3))
    detail = {"inputs": [{"name": "image", "shape": [1, 16, 16, 3], "datatype": "UINT8", "data": pixels}]}
    reply = tiny_function.invoke(envelope(detail)).value
    assert (reply["type"], reply["requestsource"]) == (COMPLETED, "org.example.camera")
    assert reply["requestid"] == envelope(detail)["id"]
    assert reply["data"]["outputs"][0]["data"] == pytest.approx(eager.probabilities([bytes(pixels)])[0], abs=1e-5)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(POISON, 422), (envelope(POISON), 422), (envelope({"a": 1}), 400), (envelope(3), 400),
     ({"specversion": "1.0"}, 400), (ASKED | {"infermodel": "other"}, 422)],
)  # fmt: skip
def test_an_event_that_can_never_be_answered_is_told_so_and_not_tried_again(
    tiny_function: Function, sent: dict[str, Any], status: int
) -> None:
    reply = tiny_function.invoke(sent).value
    assert (reply["type"], reply["data"]["status"]) == (FAILED, status)


def test_an_event_that_can_be_answered_later_is_an_error_so_that_lambda_tries_again(slow_function: Function) -> None:
    assert slow_function.invoke(LATE).error.startswith("EventNotAnswered: 504 ")


def test_a_reply_is_not_answered(tiny_function: Function) -> None:
    """A rule that matches them would go round for ever."""
    reply = tiny_function.invoke(ASKED).value
    assert tiny_function.invoke(reply).value is None
    assert tiny_function.invoke(envelope(reply)).value is None


def test_a_pipe_gets_a_reply_to_each(tiny_function: Function) -> None:
    """EventBridge Pipes: the function enriches, and the pipe's target gets what it returns."""
    first, second, third = tiny_function.invoke([message("1", ASKED), message("2", POISON), envelope(ASKED)]).value
    _assert_answers(first, ASKED)
    assert (second["type"], second["requestid"]) == (FAILED, "poison")
    _assert_answers(third, ASKED)


def test_results_are_kept_in_the_database(on_lambda: OnLambda, tiny_onnx: Path, database_url: str) -> None:
    """A message that comes again is answered by what is kept, be it a result or the fault."""
    function = on_lambda(tiny_onnx, DATABASE_URL=database_url)
    for _ in range(2):
        assert _failures(function, message("good", ASKED), message("poison", POISON)) == ["poison"]
    kept = {job["status"]: job for job in function.http("2.0", "GET", "/jobs").json["jobs"]}
    assert {status: job["attempts"] for status, job in kept.items()} == {"succeeded": 1, "failed": 1}
    result = function.http("2.0", "GET", f"/jobs/{kept['succeeded']['id']}/result")
    assert result.json["labels"][0]["index"] == eager.labels(PICTURE, 1)[0][1]
    assert COMPLETED not in function.log


def test_where_nobody_delivers_jobs_what_prefers_one_is_answered_at_once(
    on_lambda: OnLambda, tiny_onnx: Path, tmp_path: Path
) -> None:
    function = on_lambda(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite")
    at_once = function.http("2.0", "POST", "/infer", PICTURE)
    for headers in (
        {"Prefer": "respond-async"},
        {"Prefer": "wait=5"},
        {"Prefer": "respond-async", "Idempotency-Key": "k"},
    ):
        answer = function.http("2.0", "POST", "/infer", PICTURE, headers)
        assert (answer.status, answer.json) == (200, at_once.json)
        assert "Preference-Applied" not in answer.headers
    # Nothing of the embedded delivery: its lock is beside the database.
    assert not list(tmp_path.glob("*-delivery"))


def test_a_failed_job_is_not_sent_again_by_nobody(on_lambda: OnLambda, tiny_onnx: Path, tmp_path: Path) -> None:
    function = on_lambda(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite")
    given_up = {"knativeerrordest": "x", "knativeerrorcode": "422", "knativeerrordata": ""}
    headers = {"Content-Type": "application/cloudevents+json"}
    assert function.http("2.0", "POST", "/dead-letters", ASKED | given_up, headers).status == 204
    (job,) = function.http("2.0", "GET", "/jobs?status=failed").json["jobs"]
    refused = function.http("2.0", "POST", f"/jobs/{job['id']}/retry")
    assert (refused.status, refused.error) == (503, "nobody delivers jobs here: set K_SINK")
    assert function.http("2.0", "GET", f"/jobs/{job['id']}").json["status"] == "failed"


def test_a_broker_delivers_jobs(on_lambda: OnLambda, tiny_onnx: Path, tmp_path: Path) -> None:
    with listening() as broker:
        function = on_lambda(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", K_SINK=broker.url)
        asked = function.http("2.0", "POST", "/infer", PICTURE, {"Prefer": "respond-async"})
        assert (asked.status, asked.headers["Preference-Applied"]) == (202, "respond-async")
        (got,) = broker.received
    headers = {name: value for name, value in got.headers.items() if name.startswith(("ce-", "content-type"))}
    assert function.http("2.0", "POST", "/", got.body, headers).status == 200
    assert function.http("2.0", "GET", asked.headers["Location"]).json["status"] == "succeeded"
