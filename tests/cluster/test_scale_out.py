"""More load than one pod should have, and less again."""

from tests.cluster.knative import Cluster, Route
from tests.cluster.load import COFFEE, LABEL, Load
from tests.support.eventually import eventually

# One pod should have 3 requests in flight: 75 % of the target of 4.
MANY, FEW = 12, 1
SECOND_POD_S = 60
# The window of 15 s and the delay of 5 s, twice: the average over the window first has to come down.
FEWER_PODS_S = 2 * (15 + 5) + 20


def test_load_over_the_target_brings_more_pods_and_all_of_them_answer(cluster: Cluster, kindling: Route) -> None:
    with Load(kindling, COFFEE, LABEL, MANY) as load:
        eventually(lambda: len(cluster.ready_pods()) >= 2, SECOND_POD_S, "a second pod")
        eventually(lambda: len([n for n in cluster.answered().values() if n]) >= 2, SECOND_POD_S, "answers by two pods")
    assert load.failed == []
    answered = cluster.answered()
    assert sum(answered.values()) == len(load.asked)


def test_less_load_takes_pods_away_and_fails_no_request(cluster: Cluster, kindling: Route) -> None:
    assert len(cluster.pods()) >= 2
    with Load(kindling, COFFEE, LABEL, FEW) as load:
        eventually(lambda: len(cluster.pods()) == 1, FEWER_PODS_S, "one pod")
        eventually(lambda: len(cluster.all_pods()) == 1, FEWER_PODS_S, "the others gone")
    assert load.failed == []
