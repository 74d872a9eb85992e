"""Answers that are Knative's own, as docs/reference.md lists them: plain text or nothing, and no Retry-After."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
from werkzeug.datastructures import Headers

from tests.cluster.conftest import kind_overlay
from tests.cluster.knative import Cluster, Route
from tests.cluster.load import COFFEE, LABEL, burst, label
from tests.support.eventually import eventually
from tests.support.manifests import Manifest
from tests.support.serving import ROOT, Answer

PAGE = (ROOT / "docs" / "reference.md").read_text()
TIMEOUT_S = 5
# Ends the children of the container's first process: gunicorn starts another worker.
KILL_WORKER = (
    'for p in /proc/[0-9]*; do [ "$(cut -d" " -f4 "$p/stat" 2>/dev/null)" != 1 ] || kill -9 "${p#/proc/}"; done'
)


def _is_listed(answer: Answer, who: str) -> None:
    """The page has this status and text as an answer of `who`, and the answer is as it says."""
    texts = [
        texts
        for status, texts, by in re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \| .* \|$", PAGE, re.MULTILINE)
        if status == str(answer.status) and who in by
    ]
    text = answer.body.decode().strip()
    assert any(f"`{text}`" in each or (not text and each == "none") or "the reason" in each for each in texts), answer
    assert answer.headers.get("Content-Type", "text/plain").startswith("text/plain")
    assert "Retry-After" not in answer.headers


def test_a_host_that_no_service_has(cluster: Cluster) -> None:
    answer = cluster.route("nobody").call("GET", "/v2/health/live")
    assert (answer.status, answer.body) == (404, b"")
    _is_listed(answer, "gateway")


def test_headers_that_are_too_large_for_the_gateway(kindling: Route) -> None:
    answer = kindling.call("GET", "/v2/health/live", headers={"X-Large": "x" * 70_000})
    assert answer.status == 431
    _is_listed(answer, "gateway")


def _single(manifest: Manifest, name: str, **annotations: str) -> Manifest:
    """A service of one pod that stays."""
    manifest["metadata"]["name"] = name
    bounds = {"min-scale": "1", "max-scale": "1", **{key.replace("_", "-"): each for key, each in annotations.items()}}
    told = manifest["spec"]["template"]["metadata"]["annotations"]
    told.update({f"autoscaling.knative.dev/{key}": each for key, each in bounds.items()})
    return manifest


def test_a_full_pod(cluster: Cluster, manifest: Manifest) -> None:
    """Once the activator is out of the way, a pod takes containerConcurrency requests, and ten times as many wait."""
    narrow = _single(manifest, "narrow", target_burst_capacity="0", target="1")
    narrow["spec"]["template"]["spec"]["containerConcurrency"] = 1
    cluster.apply(narrow)
    route = cluster.wait_ready("narrow")
    answers: list[Answer] = []

    def is_too_much() -> bool:
        answers.extend(burst(route, 4 * (1 + 10), 3))
        return any(each.status != 200 for each in answers)

    eventually(is_too_much, 60, "refusals")
    assert {label(each) for each in answers if each.status == 200} == {LABEL}
    refused = [each for each in answers if each.status != 200]
    assert {(each.status, each.body) for each in refused} == {(503, b"pending request queue full\n")}
    for each in refused:
        _is_listed(each, "queue-proxy")
    assert label(route.call("POST", "/infer?top=1", COFFEE)) == LABEL


@pytest.fixture(scope="module")
def _hasty(cluster: Cluster, image: str) -> None:
    """Services that give up after TIMEOUT_S, with the activator always in the way, and never."""
    for name, capacity in (("held", "-1"), ("direct", "0")):
        manifest = _single(kind_overlay(image), name, target_burst_capacity=capacity)
        manifest["spec"]["template"]["spec"]["timeoutSeconds"] = TIMEOUT_S
        cluster.apply(manifest)
    for name in ("held", "direct"):
        cluster.wait_ready(name)


def _slowly_sent(route: Route) -> Answer:
    """The answer to a request whose body comes byte by byte, with more of it left than the proxies read before they answer."""
    answered = threading.Event()
    with closing(route.connect()) as connection, ThreadPoolExecutor(1) as pool:
        connection.putrequest("POST", "/infer", skip_host=True)
        for name, value in (("Host", route.host), ("Content-Length", str(2 * 2**20))):
            connection.putheader(name, value)
        connection.endheaders(COFFEE[:1000])

        def send() -> None:
            with suppress(OSError):
                while not answered.wait(0.5):
                    connection.send(b"x")

        pool.submit(send)
        try:
            found = connection.getresponse()
            return Answer(found.status, Headers(found.getheaders()), found.read())
        finally:
            answered.set()


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("name", "who"), [("held", "activator"), ("direct", "queue-proxy")])
def test_a_request_that_takes_longer_than_knative_waits(cluster: Cluster, name: str, who: str) -> None:
    texts = {"activator": b"activator request timeout", "queue-proxy": b"request timeout"}

    def is_told() -> bool:
        """The gateway passes the activator by only some time after the service is ready."""
        answer = _slowly_sent(cluster.route(name))
        assert answer.status == 504, answer
        _is_listed(answer, "activator" if answer.body == texts["activator"] else "queue-proxy")
        return answer.body == texts[who]

    eventually(is_told, 90, f"a timeout of the {who}")


def test_a_process_that_dies_during_requests(cluster: Cluster, kindling: Route) -> None:
    assert label(kindling.call("POST", "/infer?top=1", COFFEE)) == LABEL
    (pod,) = (each.metadata.name for each in cluster.ready_pods())
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(burst, kindling, 8, 20)
        before = cluster.requests_to(pod)["/infer", 200]
        eventually(lambda: cluster.requests_to(pod)["/infer", 200] > before, 30, "requests in the pod")
        cluster.run(pod, "sh", "-c", KILL_WORKER)
        refused = [each for each in answers.result() if each.status != 200]
    assert {each.status for each in refused} == {502}
    for each in refused:
        _is_listed(each, "queue-proxy")
    assert label(kindling.call("POST", "/infer?top=1", COFFEE)) == LABEL
