"""These tests run for every kind of artifact: for the engine aoti also without libtorch."""

import pytest

from tests.support.exporting import KINDS


@pytest.fixture(params=KINDS)
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)
