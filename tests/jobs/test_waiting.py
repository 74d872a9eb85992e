"""Threads that wait for jobs live on what one of them knows."""

import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from service.errors import NotReady
from service.jobs.job import NewJob
from service.jobs.store import JobStore
from service.jobs.waiting import Waiting
from tests.conftest import JOB_TTL_S
from tests.support.eventually import eventually

WAIT_S = 20


def test_sixty_who_wait_ask_the_database_as_often_as_one(database_url: str) -> None:
    """One thread asks about all jobs that are waited for, by one statement."""
    asked: list[tuple[int, int]] = []

    def statuses(ids: Collection[str]) -> dict[str, str]:
        asked.append((threading.get_ident(), len(ids)))
        return store.statuses(ids)

    store = JobStore(database_url, JOB_TTL_S)
    ids = [store.create(NewJob("/elsewhere", f"{index}"))[0].id for index in range(3)]
    waiting = Waiting(statuses, 1, 1)
    with ThreadPoolExecutor(60) as pool:
        threads = [pool.submit(waiting.wait, ids[index % 3], "queued", WAIT_S) for index in range(60)]
        eventually(lambda: sum(waiting._watched.values()) == 60 and asked[-1][1] == 3, WAIT_S)
        for each in ids:
            assert store.fail(each, 500, "")
        for thread in threads:
            thread.result(WAIT_S)
    assert len({asker for asker, _ in asked}) == 1
    waiting.stop()
    store.close()


def test_who_waits_while_the_database_is_away_is_let_go_to_see_that() -> None:
    def statuses(_: Collection[str]) -> dict[str, str]:
        raise NotReady("the job store does not answer")

    waiting = Waiting(statuses, 1, 1)
    before = time.monotonic()
    waiting.wait("1", "queued", WAIT_S)
    assert time.monotonic() - before < WAIT_S / 2
    waiting.stop()


def test_nobody_waits_any_more_once_it_is_over() -> None:
    waiting = Waiting(lambda ids: dict.fromkeys(ids, "queued"), 1, 1)
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(waiting.wait, "1", "queued", 10 * WAIT_S)
        eventually(lambda: waiting._watched["1"] == 1, WAIT_S)
        assert not thread.done()
        waiting.stop()
        thread.result(WAIT_S)
    with waiting.place() as may_wait:
        assert not may_wait
