"""What a benchmark has `make` make for it: what is missing, and nothing else."""

import os
from pathlib import Path

import pytest

from tests.benchmark import made
from tests.benchmark.arguments import BENCH, CLUSTER, bench, cluster


class Docker:
    """A `docker` that has these images, and notes what it is to build."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, *images: str, build: str = "exit 0") -> None:
        listed = " | ".join(f"*{image}" for image in images) or "none"
        (self._folder / "docker").write_text(
            f'#!/bin/sh\necho "$@" >>{self._folder}/called\n'
            f'case "$*" in "image inspect"*) case "$*" in {listed}) exit 0 ;; esac; exit 1 ;; build*) {build} ;; esac\n'
        )
        (self._folder / "docker").chmod(0o755)

    @property
    def built(self) -> list[str]:
        called = (self._folder / "called").read_text().splitlines()
        return [call.split("-t ")[1].split()[0] for call in called if call.startswith("build ")]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Docker(tmp_path)


@pytest.mark.parametrize("image", ["kindling:aoti", "kindling:onnx", "kindling:aoti-lambda", "kindling:onnx-functions"])
def test_an_image_that_is_missing_is_built(docker: Docker, image: str) -> None:
    docker.has()
    made.image(image)
    assert docker.built == [image]


def test_an_image_that_is_there_is_not_built(docker: Docker) -> None:
    docker.has("kindling:aoti")
    made.image("kindling:aoti")
    assert docker.built == []


def test_an_image_that_cannot_be_built(docker: Docker) -> None:
    docker.has(build="echo no space left on device >&2; exit 1")
    with pytest.raises(made.MakeError, match="make --no-print-directory image ENGINE=onnx failed"):
        made.image("kindling:onnx")


def test_each_part_asks_for_its_own_tools() -> None:
    assert BENCH.tools(bench(["--only", "start"]).only) == []
    assert BENCH.tools(bench([]).only) == ["wrk"]
    assert BENCH.tools(bench(["--only", "docker"]).only) == ["wrk", "docker"]
    assert CLUSTER.tools(cluster(["--only=places"]).only) == ["docker", "kind", "kubectl", "cluster"]
    assert CLUSTER.tools(cluster(["--quick"]).only) == ["docker", "kind", "kubectl", "cluster", "wrk"]
