"""More than the service may grow to: refusals in time, right answers for the rest, and no harm done."""

import re

from tests.cluster.knative import Cluster, Route
from tests.cluster.load import COFFEE, LABEL, SMALL, burst, label
from tests.support.eventually import eventually
from tests.support.manifests import Manifest
from tests.support.serving import Answer


def _refused(route: Route, clients: int) -> list[Answer]:
    """What is refused of bursts of requests, until some are; the others are answered rightly, and so is who comes then."""
    answers: list[Answer] = []

    def is_too_much() -> bool:
        answers.extend(burst(route, clients, 3, SMALL))
        return any(each.status != 200 for each in answers)

    eventually(is_too_much, 60, "refusals")
    assert {label(each) for each in answers if each.status == 200} == {LABEL}
    for _ in range(5):
        assert label(route.call("POST", "/infer?top=1", COFFEE)) == LABEL
    return [each for each in answers if each.status != 200]


def test_a_full_queue_is_told_by_the_service(cluster: Cluster, manifest: Manifest) -> None:
    """With the limits of the base as they are: the queue is full before the pod is."""
    concurrency = manifest["spec"]["template"]["spec"]["containerConcurrency"]
    manifest["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"] = "1"
    cluster.apply(manifest)
    for answer in _refused(cluster.wait_ready(), concurrency + 32):
        assert answer.status == 429
        assert re.fullmatch(r"\d+ items are waiting", answer.error)
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
