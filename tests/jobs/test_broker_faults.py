"""Jobs whose broker is full, slow, or not there: what it did not take is told, and leaves no job behind."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from tests.support.broker import Received, Reply, listening, with_broker
from tests.support.eventually import eventually
from tests.support.jobs import WAIT_S, finished, later, listed, post, view
from tests.support.pictures import png
from tests.support.serving import HOST, free_port, serving

UNAVAILABLE = (503, "the broker does not take the request: try again")


def test_a_broker_that_is_full_once_takes_it_the_next_time(tiny_onnx: Path, tmp_path: Path) -> None:
    with listening(Reply(429)) as broker, with_broker(tiny_onnx, tmp_path, broker) as side:
        job_id = later(side.server)
        assert [each.event_id for each in broker.received] == [job_id, job_id]


def test_a_broker_that_does_not_take_it_leaves_no_job(tiny_onnx: Path, tmp_path: Path) -> None:
    with listening(answer=lambda _: Reply(500)) as broker, with_broker(tiny_onnx, tmp_path, broker) as side:
        for headers in ({}, {"Idempotency_Key": "key"}):
            for prefer in ("respond-async", f"wait={WAIT_S}"):
                answer = post(side.server, Prefer=prefer, **headers)
                assert (answer.status, answer.error) == UNAVAILABLE
        assert listed(side.server) == []
        assert post(side.server, Idempotency_Key="key").status == 200


def test_a_broker_that_is_not_there_leaves_no_job(tiny_onnx: Path, tmp_path: Path) -> None:
    url = {"DATABASE_URL": f"sqlite:///{tmp_path}/jobs.sqlite", "K_SINK": f"http://{HOST}:{free_port()}"}
    with serving(tiny_onnx, tmp_path / "log", **url) as server:
        answer = post(server, Prefer="respond-async")
        assert (answer.status, answer.error) == UNAVAILABLE
        assert listed(server) == []
        assert server.log.count("the broker does not take an event") == 1
        assert "Traceback" not in server.log
        assert post(server).status == 200


def test_a_slow_broker_is_waited_for(tiny_onnx: Path, tmp_path: Path) -> None:
    let_go = threading.Event()

    def hold(_: Received) -> Reply:
        assert let_go.wait(WAIT_S)
        return Reply()

    with (
        listening(answer=hold) as broker,
        with_broker(tiny_onnx, tmp_path, broker) as side,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(post, side.server, Prefer="respond-async")
        eventually(lambda: bool(broker.received), WAIT_S)
        # It may be delivered before the broker has said that it took it.
        assert side.deliver().status == 200
        assert not answer.done()
        let_go.set()
        assert answer.result().status == 202
        assert finished(side.server, answer.result().json["id"])["status"] == "succeeded"


def test_a_broker_slower_than_a_request_may_be_leaves_no_job(tiny_onnx: Path, tmp_path: Path) -> None:
    let_go = threading.Event()

    def hold(_: Received) -> Reply:
        assert let_go.wait(WAIT_S)
        return Reply()

    with listening(answer=hold) as broker, with_broker(tiny_onnx, tmp_path, broker, REQUEST_TIMEOUT_MS="500") as side:
        answer = post(side.server, Prefer="respond-async")
        assert (answer.status, answer.error) == UNAVAILABLE
        assert listed(side.server) == []
        let_go.set()


def test_a_job_that_the_broker_took_for_one_client_is_kept_when_it_did_not_for_another(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    """Two clients with the same key at the same time."""
    taken, seen = threading.Event(), threading.Semaphore(1)

    def answer(_: Received) -> Reply:
        if seen.acquire(blocking=False):
            assert taken.wait(WAIT_S)
            return Reply(400)
        return Reply()

    with (
        listening(answer=answer) as broker,
        with_broker(tiny_onnx, tmp_path, broker) as side,
        ThreadPoolExecutor(1) as pool,
    ):
        refused = pool.submit(post, side.server, Prefer="respond-async", Idempotency_Key="key")
        eventually(lambda: bool(broker.received), WAIT_S)
        job_id = later(side.server, Idempotency_Key="key")
        taken.set()
        assert refused.result().status == 503
        assert side.deliver().status == 200
        assert finished(side.server, job_id)["status"] == "succeeded"


def test_a_job_sent_again_to_a_broker_that_does_not_take_it_is_as_it_was(tiny_onnx: Path, tmp_path: Path) -> None:
    with listening(Reply(), Reply(400)) as broker, with_broker(tiny_onnx, tmp_path, broker) as side:
        job_id = later(side.server, png(20, 20))
        side.bury(500, b"why")
        before = view(side.server, job_id)
        answer = side.server.call("POST", f"/jobs/{job_id}/retry")
        assert (answer.status, answer.error) == UNAVAILABLE
        after = view(side.server, job_id)
        assert (after["status"], after["error"]) == (before["status"], before["error"])
        assert side.server.call("POST", f"/jobs/{job_id}/retry").status == 202


def _seem_old(folder: Path) -> None:
    """As if all that was done to the jobs had been done a minute before."""
    with closing(sqlite3.connect(folder / "jobs.sqlite")) as database, database:
        database.execute("UPDATE kindling_jobs SET updated_s = updated_s - 60, lease_until_s = lease_until_s - 60")


def test_what_the_broker_has_lost_is_published_again_for_who_asks(tiny_onnx: Path, tmp_path: Path) -> None:
    with listening() as broker, with_broker(tiny_onnx, tmp_path, broker) as side:
        job_id = later(side.server, Content_Type="image/png")
        view(side.server, job_id)
        assert len(broker.received) == 1
        _seem_old(tmp_path)
        for _ in range(2):
            view(side.server, job_id)
        first, again = broker.received
        assert (first.event_id, first.body) == (again.event_id, again.body)
        assert side.server.log.count("its event is published again") == 1
        assert side.deliver().status == 200
        _seem_old(tmp_path)
        assert view(side.server, job_id)["status"] == "succeeded"
        assert len(broker.received) == 2


def test_who_follows_a_lost_job_has_it_published_again(tiny_onnx: Path, tmp_path: Path) -> None:
    with (
        listening() as broker,
        with_broker(tiny_onnx, tmp_path, broker) as side,
        ThreadPoolExecutor(1) as pool,
    ):
        job_id = later(side.server)
        _seem_old(tmp_path)
        following = pool.submit(side.server.call, "GET", f"/jobs/{job_id}", headers={"Accept": "text/event-stream"})
        eventually(lambda: len(broker.received) == 2, WAIT_S)
        assert side.deliver().status == 200
        assert b"succeeded" in following.result().body


def test_a_lost_job_is_told_also_when_the_broker_is_away(tiny_onnx: Path, tmp_path: Path) -> None:
    with listening(Reply(), Reply(400)) as broker, with_broker(tiny_onnx, tmp_path, broker) as side:
        job_id = later(side.server)
        _seem_old(tmp_path)
        assert view(side.server, job_id)["status"] == "queued"
        assert len(broker.received) == 2
