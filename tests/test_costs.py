"""What a month costs: the model by hand, and the tables in docs/comparison.md, which are those that it prints."""

import pytest

from tests.benchmark.costs import AT_WORK, EVENLY, HOURS, PLACES, SIZES, Measured, Traffic, even, evens, table
from tests.serving import ROOT

MEASURED = Measured()


def test_lambda_costs_what_its_price_list_says() -> None:
    """A million requests: 0.20 for their number, 20 ms of 3.455 GB each, and 0.36 s for a start now and then."""
    cost = PLACES["Lambda"](Traffic(1e6), MEASURED)
    assert cost == pytest.approx(0.20 + 1e6 * 0.020 * 3538 / 1024 * 0.0000166667, rel=1e-3)
    seldom = PLACES["Lambda"](Traffic(10), MEASURED)
    assert seldom == pytest.approx(10 * (0.20e-6 + 0.380 * 3538 / 1024 * 0.0000166667), rel=0.01)


def test_a_sleeping_pod_costs_what_it_is_awake_for() -> None:
    cost = PLACES["Knative"]
    # 100 requests that no other comes near: 90 s each, of 2 vCPUs and 2 GiB.
    assert cost(Traffic(100), MEASURED) == pytest.approx(100 * 90 / 3600 * 2 * (0.0445 + 0.0049225), rel=0.01)
    always = HOURS * 2 * (0.0445 + 0.0049225)
    assert cost(Traffic(1e7), MEASURED) == pytest.approx(always)
    assert PLACES["Deployment"](Traffic(0), MEASURED) == pytest.approx(3 * always)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hours", [EVENLY, AT_WORK])
def test_more_requests_never_cost_less(place: str, hours: float) -> None:
    costs = [PLACES[place](Traffic(requests, hours), MEASURED) for requests in SIZES]
    assert costs == sorted(costs)


def test_where_two_cost_the_same_they_do() -> None:
    requests = even("Lambda", "Knative", EVENLY, MEASURED)
    one, other = (PLACES[place](Traffic(requests), MEASURED) for place in ("Lambda", "Knative"))
    assert one == pytest.approx(other, rel=1e-4)
    with pytest.raises(ValueError, match="never cost the same"):
        even("Deployment and its cluster", "Deployment", EVENLY, MEASURED)


def test_the_page_has_these_tables() -> None:
    page = (ROOT / "docs" / "comparison.md").read_text()
    for found in (table(EVENLY, MEASURED), table(AT_WORK, MEASURED), evens(MEASURED)):
        assert found in page
