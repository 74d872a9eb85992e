"""What a machine may lack: its tests are skipped, except where CI says that they must run (`REQUIRE_...`)."""

import os
from typing import NoReturn

import pytest


def skip(missing: str, variable: str) -> NoReturn:
    """Skip the test because of what is missing; where `variable` is set, fail instead."""
    assert not os.environ.get(variable), missing
    pytest.skip(missing)
