"""Jobs are closed and opened again in the same process, as around a snapshot of it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.errors import NotReady
from service.jobs.service import Jobs
from service.settings import Settings
from service.web.app import create_app
from tests.support.pictures import png

PICTURE = png(40, 30)
SOON_S = 30.0

Open = Callable[[str, bool], tuple[FlaskClient, Jobs]]


@pytest.fixture
def opened(tiny_onnx: Path) -> Iterator[Open]:
    """opened(database_url, embedded): a client of the application, and its jobs; all ended at the end."""
    apps = []

    def get(url: str, embedded: bool) -> tuple[FlaskClient, Jobs]:
        app = create_app(Settings(model_dir=tiny_onnx, database_url=url, embedded_delivery=embedded))
        apps.append(app)
        app.extensions["runtime"].wait_until_ready(SOON_S)
        return app.test_client(), app.extensions["jobs"]

    yield get
    for app in apps:
        app.extensions["jobs"].stop()
        app.extensions["jobs"].close()
        app.extensions["runtime"].close()


def _computed(client: FlaskClient, key: str) -> bytes:
    answer = client.post("/infer", data=PICTURE, headers={"Idempotency-Key": key})
    assert answer.status_code == 200, answer.text
    return answer.get_data()


def _threads(name: str) -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == name]


def test_jobs_go_on_after_they_were_closed(opened: Open, database_url: str) -> None:
    client, jobs = opened(database_url, False)
    first = _computed(client, "first")
    owner = jobs._open().leases._process
    (renewing,) = _threads("leases")
    jobs.close()
    jobs.close()
    renewing.join(SOON_S)
    assert not renewing.is_alive()
    assert _computed(client, "first") == first
    assert _computed(client, "second")
    assert jobs._open().leases._process != owner
    assert len(_threads("leases")) == 1
    assert [job["status"] for job in client.get("/jobs").get_json()["jobs"]] == ["succeeded", "succeeded"]


def test_a_delivery_ends_when_jobs_are_closed_and_another_begins_with_the_next_use(
    opened: Open, tmp_path: Path
) -> None:
    """Its lock is free by then, or the next delivery would never have it."""
    _, jobs = opened(f"sqlite:///{tmp_path}/jobs.sqlite", True)
    assert jobs.store
    (before,) = _threads("delivery")
    jobs.close()
    assert not before.is_alive()
    assert jobs.store
    (after,) = _threads("delivery")
    assert after is not before


def test_a_database_that_could_not_be_opened_is_tried_at_once_after_a_close(opened: Open, tmp_path: Path) -> None:
    """The pause between two tries is on a clock that a snapshot stops."""
    folder = tmp_path / "later"
    _, jobs = opened(f"sqlite:///{folder}/jobs.sqlite", False)
    with pytest.raises(NotReady):
        jobs.store  # noqa: B018 - it is opened
    folder.mkdir()
    with pytest.raises(NotReady):
        jobs.store  # noqa: B018
    jobs.close()
    assert jobs.store
