"""The page through the route: a browser wakes the service, and an open page lets it sleep again."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.cluster.knative import GATEWAY, Cluster, Route
from tests.cluster.load import LABEL
from tests.cluster.test_scale_to_zero import ASLEEP_S, GONE_S
from tests.page.acting import answers, labels, sample
from tests.support.browser import browsing, visiting
from tests.support.eventually import eventually
from tests.web.test_metrics import COLD


@pytest.fixture
def browser(chromium: str, kindling: Route) -> Iterator[Browser]:
    """It finds the route's name at the gateway, without asking a name server."""
    address, port = GATEWAY
    with browsing(chromium, f"--host-resolver-rules=MAP {kindling.host} {address}:{port}") as browser:
        yield browser


def _sleep(cluster: Cluster) -> None:
    eventually(lambda: not cluster.pods(), ASLEEP_S, "asleep")
    eventually(lambda: not cluster.all_pods(), GONE_S, "gone")


def test_a_browser_wakes_the_service_and_lets_it_sleep(browser: Browser, cluster: Cluster, kindling: Route) -> None:
    _sleep(cluster)
    with visiting(browser, f"http://{kindling.host}/") as seen:
        # The page itself came from a pod that it woke. While it stays open it asks nothing, so the pod goes.
        assert len(cluster.pods()) == 1
        _sleep(cluster)
        sample(seen.page, "A cup of coffee")
        card = answers(seen.page).first
        assert labels(card)[0] == LABEL
        wake, _ = card.get_by_role("table").all()
        expect(wake).to_contain_text("Python starts")
        expect(wake.get_by_role("row")).to_have_count(len(COLD) - 1)
        expect(card).to_contain_text("This request woke the service")
        seen.check()
