"""knative/ready, with the real kubectl: what it says of each state of a service and its pod, and when it gives up."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubernetes_api import KubernetesApi, serving
from tests.support.manifests import KNATIVE
from tests.support.ready import Ready

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None and not os.environ.get("REQUIRE_CLUSTER"), reason="kubectl is not there"
)

URL = "http://kindling.default.example.com"
# Status, reason and message.
Condition = tuple[str, str, str]
PULL = "failed to resolve reference dev.local/kindling:none: not found"
GUNICORN = "2026-01-01 00:00:00,000 ERROR gunicorn.error: Reason: App failed to load.\n"
SELF_TEST = "ERROR kindling: the model cannot be served: self-test failed: output probabilities differs by 0.39\n"


class Deployment:
    """A Knative Service whose status is set; each of these is what Serving itself writes."""

    def __init__(self, api: KubernetesApi, environ: dict[str, str]) -> None:
        self.api, self._environ = api, environ
        self.begun: list[Ready] = []
        self.rolls_out()

    def begin(self) -> Ready:
        self.begun.append(Ready(environ=self._environ))
        return self.begun[-1]

    def rolls_out(self, *, created: str = "kindling-00001", served: str = "") -> None:
        waiting = 'Configuration "kindling" is waiting for a Revision to become ready.'
        self._set(("Unknown", "", waiting), ("Unknown", "", ""), created, served)

    def fails(self, message: str, *, created: str = "kindling-00001", served: str = "") -> None:
        told = f'Revision "{created}" failed with message: {message}.'
        ready = told if served else "Configuration 'kindling' does not have any ready Revision."
        self._set(("False", "RevisionMissing", ready), ("False", "RevisionFailed", told), created, served)

    def is_ready(self) -> None:
        self._set(("True", "", ""), ("True", "", ""), "kindling-00001", "kindling-00001")

    def is_changed(self) -> None:
        """Its configuration has not followed yet."""
        before = self.api.service["status"]["latestCreatedRevisionName"]
        self._set(("Unknown", "OutOfDate", "still working"), ("Unknown", "OutOfDate", "still working"), before, "")

    def has_pod(self, revision: str = "kindling-00001", unschedulable: str = "", **container: Any) -> None:
        """A pod with that status of its container."""
        scheduled: dict[str, str] = {"type": "PodScheduled", "status": "True"}
        if unschedulable:
            scheduled = {**scheduled, "status": "False", "reason": "Unschedulable", "message": unschedulable}
        status = {"restartCount": 0, "lastState": {}, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        statuses = [{"name": "kindling", **status, **container}, {"name": "queue-proxy", **status}]
        self.api.pods[revision] = [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "kindling-pod", "namespace": "default"},
                "spec": {"containers": [{"name": "kindling"}, {"name": "queue-proxy"}]},
                "status": {"conditions": [scheduled], "containerStatuses": [] if unschedulable else statuses},
            }
        ]

    def _set(self, ready: Condition, configuration: Condition, created: str, served: str) -> None:
        keys = ("status", "reason", "message")
        conditions = [
            {"type": "ConfigurationsReady", **dict(zip(keys, configuration, strict=True))},
            {"type": "Ready", **dict(zip(keys, ready, strict=True))},
        ]
        names = {"latestCreatedRevisionName": created, **({"latestReadyRevisionName": served} if served else {})}
        self.api.service = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": "kindling", "namespace": "default", "generation": 1},
            "status": {"observedGeneration": 1, "url": URL, "conditions": conditions, **names},
        }


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with serving(tmp_path) as (api, environ):
        found = Deployment(api, environ)
        yield found
        for each in found.begun:
            each.stop()


def _waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, **({"message": message} if message else {})}}}


def _ended(code: int, said: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, **({"message": said} if said else {})}}


def test_a_service_that_is_ready(deployment: Deployment) -> None:
    deployment.is_ready()
    ready = deployment.begin()
    assert ready.ends() == 0
    assert ready.lines == [f"kindling is ready: {URL}", f"    curl -T photo.jpg {URL}/infer"]


def test_no_such_service(deployment: Deployment) -> None:
    deployment.api.service = {}
    ready = deployment.begin()
    assert ready.ends() == 1
    assert ready.lines == ['Error from server (NotFound): services.serving.knative.dev "kindling" not found']


@pytest.mark.parametrize(
    ("waits", "line"),
    [
        (_waits("ErrImagePull", PULL), f"ErrImagePull: {PULL}"),
        (
            _waits("ImagePullBackOff", f'Back-off pulling image "dev.local/kindling:none": ErrImagePull: {PULL}'),
            f"ErrImagePull: {PULL}",
        ),
        (
            _waits("ImagePullBackOff", 'Back-off pulling image "x": RegistryUnavailable: image pull failed for x'),
            "RegistryUnavailable: image pull failed for x",
        ),
        (_waits("ImagePullBackOff", 'Back-off pulling image "x"'), 'ImagePullBackOff: Back-off pulling image "x"'),
        (
            _waits("CreateContainerConfigError", 'secret "kindling-database" not found'),
            'CreateContainerConfigError: secret "kindling-database" not found',
        ),
        (
            {"state": _ended(2, "no artifact in /nowhere\n")},
            "container kindling ended with exit code 2:\n    no artifact in /nowhere",
        ),
        (
            {"state": _ended(4, f"{SELF_TEST}{GUNICORN}")},
            f"container kindling ended with exit code 4:\n    {SELF_TEST.strip()}",
        ),
        ({"state": _ended(137, reason="OOMKilled")}, "container kindling ended with exit code 137 (OOMKilled)"),
        (
            {"lastState": _ended(2, "PORT='x'\nRUNNERS='y'\n"), "restartCount": 1},
            "container kindling ended with exit code 2:\n    PORT='x'\n    RUNNERS='y'",
        ),
    ],
)
def test_what_a_pod_waits_for_is_said_and_need_not_be_the_end(
    deployment: Deployment, waits: dict[str, Any], line: str
) -> None:
    deployment.has_pod(**waits)
    ready = deployment.begin()
    ready.says(f"waiting for kindling: {line}")
    deployment.is_ready()
    assert ready.ends() == 0
    assert ready.lines[-2] == f"kindling is ready: {URL}"


def test_each_reason_is_said_once_and_the_next_one_at_once(deployment: Deployment) -> None:
    ready = deployment.begin()
    waiting = 'waiting for kindling: Configuration "kindling" is waiting for a Revision to become ready.'
    ready.says(waiting)
    deployment.has_pod(unschedulable="0/1 nodes are available: 1 Insufficient cpu.")
    unschedulable = "waiting for kindling: no node has room for its pod: 0/1 nodes are available: 1 Insufficient cpu."
    ready.says(unschedulable)
    deployment.has_pod(**_waits("ErrImagePull", PULL))
    pull = f"waiting for kindling: ErrImagePull: {PULL}"
    ready.says(pull)
    deployment.has_pod(**_waits("ImagePullBackOff", f'Back-off pulling image "kindling:none": ErrImagePull: {PULL}'))
    deployment.has_pod(state=_ended(2, "no artifact\n"))
    ended = "waiting for kindling: container kindling ended with exit code 2:"
    ready.says(f"{ended}\n    no artifact")
    deployment.is_ready()
    assert ready.ends() == 0
    assert ready.lines[:-2] == [waiting, unschedulable, pull, ended, "    no artifact"]


@pytest.mark.parametrize(
    "down", [_waits("CrashLoopBackOff", "back-off 10s"), {"state": _ended(4, f"{SELF_TEST}{GUNICORN}")}]
)
def test_what_ends_twice_has_failed(deployment: Deployment, down: dict[str, Any]) -> None:
    deployment.fails(f"Container failed with: {SELF_TEST}")
    deployment.has_pod(**down, lastState=_ended(4, f"{SELF_TEST}{GUNICORN}"), restartCount=1)
    ready = deployment.begin()
    assert ready.ends() == 1
    assert ready.lines == [
        "kindling is not served: container kindling ended with exit code 4:",
        f"    {SELF_TEST.strip()}",
    ]


def test_a_process_that_is_up_again_has_not_failed_yet(deployment: Deployment) -> None:
    """Though Knative says so."""
    deployment.fails("Container failed with: no database")
    deployment.has_pod(lastState=_ended(1, "no database\n"), restartCount=1)
    ready = deployment.begin()
    ready.says("waiting for kindling: container kindling ended with exit code 1:\n    no database")
    deployment.is_ready()
    assert ready.ends() == 0


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_can_never_be_pulled(deployment: Deployment, reason: str) -> None:
    deployment.has_pod(**_waits(reason, "no such thing"))
    ready = deployment.begin()
    assert ready.ends() == 1
    assert ready.lines == [f"kindling is not served: {reason}: no such thing"]


def test_an_image_that_is_still_not_there_and_the_revision_that_still_answers(deployment: Deployment) -> None:
    """An image is pulled a second time, 10 s later. The script counts whole seconds, and waits for 20 of them."""
    deployment.rolls_out(created="kindling-00002", served="kindling-00001")
    deployment.has_pod()
    deployment.has_pod("kindling-00002", **_waits("ErrImagePull", PULL))
    began = time.monotonic()
    ready = deployment.begin()
    ready.says(f"waiting for kindling: ErrImagePull: {PULL}")
    assert ready.ends() == 1
    assert time.monotonic() - began > 18
    assert ready.lines[1:] == [
        f"kindling is not served: ErrImagePull: {PULL}",
        "    revision kindling-00001 still answers",
    ]


def test_what_knative_alone_knows(deployment: Deployment) -> None:
    """An image without a digest in its registry, a quota, a Pod Security Standard: there is no pod."""
    deployment.fails("Unable to fetch image: MANIFEST_UNKNOWN")
    ready = deployment.begin()
    told = 'Revision "kindling-00001" failed with message: Unable to fetch image: MANIFEST_UNKNOWN.'
    ready.says(f"waiting for kindling: {told}")
    assert ready.ends() == 1
    assert ready.lines[1:] == [f"kindling is not served: {told}"]


def test_the_revision_of_the_deployment_before_is_not_blamed(deployment: Deployment) -> None:
    deployment.fails("Container failed with: old")
    deployment.has_pod(state=_ended(4, "old\n"), lastState=_ended(4, "old\n"), restartCount=5)
    deployment.is_changed()
    ready = deployment.begin()
    ready.says("waiting for kindling: still working")
    deployment.rolls_out(created="kindling-00002")
    ready.says('waiting for kindling: Configuration "kindling" is waiting for a Revision to become ready.')
    deployment.is_ready()
    assert ready.ends() == 0
    assert not [line for line in ready.lines if "old" in line]


def test_a_process_that_runs_and_is_not_ready_has_said_something(deployment: Deployment) -> None:
    deployment.has_pod()
    deployment.api.logs = "SyntaxError: invalid syntax\n"
    ready = deployment.begin()
    ready.says("waiting for kindling: container kindling runs, and is not ready:\n    SyntaxError: invalid syntax")


def test_a_pod_whose_volume_is_missing(deployment: Deployment) -> None:
    deployment.has_pod(**_waits("ContainerCreating"))
    deployment.api.events = ["Failed to pull image", 'MountVolume.SetUp failed for volume "ca": secret "ca" not found']
    ready = deployment.begin()
    ready.says('waiting for kindling: MountVolume.SetUp failed for volume "ca": secret "ca" not found')


def test_kubectl_is_missing(tmp_path: Path) -> None:
    (tmp_path / "env").symlink_to(shutil.which("env") or "")
    (tmp_path / "bash").symlink_to(shutil.which("bash") or "")
    done = subprocess.run([KNATIVE / "ready"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "kubectl is missing: install it, https://kubernetes.io/docs/tasks/tools/\n",
    )
