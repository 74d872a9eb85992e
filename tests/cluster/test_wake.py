"""A wake that cannot get slower unnoticed: by a hello-world Flask service in the same rounds, best by best."""

from collections.abc import Iterator

import pytest
from kubernetes import client

from tests.benchmark import photo
from tests.benchmark.budget import Budget
from tests.benchmark.cluster import cold, images
from tests.benchmark.cluster.lineup import sides
from tests.benchmark.cluster.timeline import ANSWER, AUTOSCALER, CONTAINER, KUBELET, PROBE, Wake
from tests.benchmark.lineup import HELLO, ours
from tests.cluster.knative import own_namespace

PROCESS = "process"
BUDGET = Budget(
    "a wake",
    {AUTOSCALER: 0.15, CONTAINER: 0.55, PROCESS: 0.75, KUBELET: 0.65, PROBE: 0.15, ANSWER: 0.15},
    most=1.5,
)
ROUNDS, MOST_ROUNDS = 3, 9

Wakes = dict[str, list[Wake]]


@pytest.fixture(scope="module")
def deployed(
    api: client.ApiClient, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[cold.Deployed]]:
    wanted = [
        each for each in sides(photo.make(tmp_path_factory.mktemp("photo"))[0]) if each.name in (HELLO, ours("aoti"))
    ]
    names = {**images.prepare(each.image for each in wanted if not each.is_ours), "kindling:aoti": image}
    with own_namespace(api, "kindling-wake") as cluster:
        yield cold.deploy(cold.Place(cluster, names), wanted)


def _spent(wakes: Wakes) -> dict[str, float]:
    """The parts of our best wake, each by hello world's best."""
    floor = min(each.total_ms for each in wakes[HELLO])
    best = min(wakes[ours("aoti")], key=lambda each: each.total_ms)
    parts_ms = {**best.spans_ms, PROCESS: best.process_ms}
    return {part: parts_ms[part] / floor for part in BUDGET.phases}


def test_a_wake_by_hello_world(deployed: list[cold.Deployed]) -> None:
    """The kubelet looks at new containers once a second, so a single wake says little: the best of some rounds is compared."""
    wakes: Wakes = {}

    def spent() -> dict[str, float]:
        missing: list[str] = []
        for name, found in cold.measure(deployed, ROUNDS, missing).items():
            wakes.setdefault(name, []).extend(filter(None, found))
        assert all(wakes.values()), missing
        return _spent(wakes)

    assert not BUDGET.verdict_after(MOST_ROUNDS // ROUNDS, spent)
