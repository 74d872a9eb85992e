"""How the export measures a candidate."""

from pathlib import Path

import pytest

from model import measure
from model.artifact import Artifact
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
from tests.support.models import SIDE


def test_every_runner_is_measured_though_its_round_is_over(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine so busy that a thread begins after the end."""
    monkeypatch.setattr(measure, "ROUND_S", -1.0)
    model = loading.load(Artifact.read(tiny), Plan(runners=2, threads=1, max_batch_size=1))
    run_ms, items_per_s, cpu_ms = measure._time(model, [(bytes(SIDE * SIDE * 3),)], 2)
    model.close()
    assert run_ms > 0
    assert items_per_s > 0
    assert cpu_ms > 0
