"""The workflows of CI call what there is: targets of the Makefile, tests, and images for both kinds of machine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.serving import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def _jobs(workflow: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return jobs


def _commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_a_workflow_calls_only_what_is_here(workflow: Path) -> None:
    for job in _jobs(workflow).values():
        assert job["timeout-minutes"] <= 120
        for command in _commands(job):
            called = re.findall(r"^make (\S+)", command, re.MULTILINE)
            assert set(called) <= set(TARGETS), command
            paths = re.findall(r"(?:^|[\s\"])(tests/[\w/.]+|\.ci/\w+)", command)
            assert [path for path in paths if not (ROOT / path).exists()] == [], command


def test_arm64_has_tests_and_images_on_a_machine_of_its_own() -> None:
    job = _jobs(ROOT / ".github" / "workflows" / "ci.yml")["arm64"]
    assert job["runs-on"].endswith("-arm")
    commands = " ".join(_commands(job))
    assert {f"make image ENGINE={engine}" for engine in ("aoti", "onnx")} <= {*_commands(job)}
    assert {"tests/protocol", "tests/runtime"} <= set(re.findall(r"tests/\w+", commands))


def test_one_image_is_for_both_kinds_of_machine() -> None:
    """As docs/docker.md says it."""
    wanted = "docker buildx build --platform linux/amd64,linux/arm64 --build-arg ENGINE=onnx"
    (command,) = _commands(_jobs(ROOT / ".github" / "workflows" / "ci.yml")["platforms"])
    assert command.startswith(wanted)
    assert wanted in (ROOT / "docs" / "docker.md").read_text()
