"""Every target of the Makefile on machines that lack something: one sentence that says what to do, before all long work."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import ROOT

# What make and the scripts call themselves. No python3, g++, docker, kind, kubectl, curl or wrk.
TOOLS = ("bash", "cat", "cut", "df", "dirname", "env", "grep", "make", "sed", "sha256sum", "tail", "tr")
FOLDERS = ("knative", "model", "requirements", "service", "tests")
KIND, KUBECTL = (
    "https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
    "https://kubernetes.io/docs/tasks/tools/",
)
DOCKER = "docker is missing: install Docker Engine, https://docs.docker.com/engine/install/"
ENGINE_DOWN = "docker's engine does not answer: start it (systemctl start docker), and be root or in the group docker"
PYTHON = "setup: python3 is missing: apt-get install python3 python3-venv"
WRK = "wrk is missing: apt-get install wrk"
MODELS = "wanted efficientnet_lite0, torchvision:NAME or path/to/file.py:function"
BFLOAT16 = "PRECISION=bf16 needs ENGINE=aoti: ONNX Runtime has no bfloat16 kernels for CPUs"


class Machine:
    """A clone without its virtual environment, and a PATH with next to nothing in it."""

    def __init__(self, folder: Path) -> None:
        self.clone, self._bin, self._called = folder / "clone", folder / "bin", folder / "called"
        self.clone.mkdir()
        self._bin.mkdir()
        shutil.copytree(ROOT / ".ci", self.clone / ".ci")
        shutil.copy(ROOT / "Makefile", self.clone)
        for name in FOLDERS:
            (self.clone / name).symlink_to(ROOT / name)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None, tool
            (self._bin / tool).symlink_to(found)

    def has(self, **scripts: str) -> None:
        """Commands that note how they are called; `python3=""` is the real one."""
        for command, script in scripts.items():
            file = self._bin / command.replace("gxx", "g++")
            # It may be a link to a program of this machine.
            file.unlink(missing_ok=True)
            if command == "python3" and not script:
                file.symlink_to(Path(sys.executable).resolve())
                continue
            file.write_text(f'#!/bin/sh\necho {command} "$@" >>{self._called}\n{script}\n')
            file.chmod(0o755)

    def make(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", *arguments], cwd=self.clone, env={"PATH": str(self._bin), **environ},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def refuses(self, *arguments: str, **environ: str) -> str:
        """What it says, when nothing was begun."""
        done = self.make(*arguments, **environ)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert not (self.clone / ".venv").exists()
        assert not [
            call for call in self.calls() if not call.startswith(("docker info", "kubectl config", "kubectl get"))
        ]
        said = [line for line in done.stderr.splitlines() if not re.match(r"make(\[\d+\])?: ", line)]
        return "\n".join(said)

    def calls(self) -> list[str]:
        return self._called.read_text().splitlines() if self._called.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


BARE = {
    "serve": PYTHON,
    "export": "g++ is missing: apt-get install g++",
    "test": PYTHON,
    "image": DOCKER,
    "sbom": DOCKER,
    "audit": "curl is missing: apt-get install curl",
    "bench": PYTHON,
    "bench-cluster": PYTHON,
    "cluster": f"cluster: {DOCKER}",
    "cluster-delete": f"cluster: {DOCKER}",
    "lint": PYTHON,
    "lock": PYTHON,
}


@pytest.mark.parametrize(("target", "sentence"), BARE.items())
def test_a_machine_with_nothing(machine: Machine, target: str, sentence: str) -> None:
    assert machine.refuses(target) == sentence


def test_every_target_is_here() -> None:
    (listed,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(listed.split()) - {"clean", "distclean"} == set(BARE)


@pytest.mark.parametrize("target", ["serve", "export", "test", "image"])
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (["ENGINE=tensorrt"], "ENGINE=tensorrt: wanted one of aoti, onnx, auto"),
        (["PRECISION=int8"], "PRECISION=int8: wanted one of fp32, bf16"),
        (["ENGINE=onnx", "PRECISION=bf16"], BFLOAT16),
        (["ENGINE=auto", "PRECISION=bf16"], BFLOAT16),
        (["MODEL=resnet50"], f"MODEL=resnet50: {MODELS}"),
        (["MODEL=torchvision:"], f"MODEL=torchvision:: {MODELS}"),
        (["MODEL="], f"MODEL=: {MODELS}"),
        (["MODEL=mine.py:net"], "MODEL=mine.py:net: there is no file mine.py"),
        (["MODEL=model/catalog.py:net"], "MODEL=model/catalog.py:net: model/catalog.py has no net"),
    ],
)
def test_a_value_that_there_is_not(machine: Machine, target: str, variables: list[str], sentence: str) -> None:
    machine.has(python3="", docker="")
    assert machine.refuses(target, *variables) == sentence


@pytest.mark.parametrize("target", ["image", "sbom"])
def test_an_image_has_other_values_too(machine: Machine, target: str) -> None:
    machine.has(docker="")
    assert machine.refuses(target, "EXTRA=gcs") == "EXTRA=gcs: wanted one of s3"
    mine = "MODEL=tests/support/models.py:tiny"
    assert machine.refuses(target, mine) == (
        f"{mine}: move tests/support/models.py into model/, the folder that the image is built from"
    )


def test_an_image_for_no_such_place(machine: Machine) -> None:
    machine.has(docker="")
    wanted = "wanted one of runtime, lambda, functions, dev, sbom"
    assert machine.refuses("image", "TARGET=azure") == f"TARGET=azure: {wanted}"
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(wanted.removeprefix("wanted one of ").split(", ")) == set(stages) - {"export", "deps", "service"}


@pytest.mark.parametrize("target", ["image", "sbom"])
def test_an_engine_of_docker_that_does_not_run(machine: Machine, target: str) -> None:
    machine.has(docker="exit 1")
    assert machine.refuses(target) == ENGINE_DOWN


def test_an_image_is_built_when_all_is_there(machine: Machine) -> None:
    machine.has(docker="")
    done = machine.make("image", "ENGINE=onnx", "MODEL=model/catalog.py:load", "TARGET=lambda")
    assert done.returncode == 0, done.stderr
    info, build = machine.calls()
    assert (info, build.split()[:4]) == ("docker info", ["docker", "build", "--target", "lambda"])


def test_settings_of_the_service(machine: Machine) -> None:
    machine.has(python3="")
    said = machine.refuses("serve", PORT="http", MAX_QUEUE_SIZE="-1")
    assert said == (
        "PORT='http': wanted a whole number of at least 1\nMAX_QUEUE_SIZE='-1': wanted a whole number of at least 1"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_port_that_is_in_use(machine: Machine, host: str) -> None:
    machine.has(python3="")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        said = machine.refuses("serve", HOST=host, PORT=str(port))
    told = host if host == "127.0.0.1" else "127.0.0.1"
    remedy = f"end what listens there, or name another with PORT={port + 1}"
    assert said == f"port {port} of {told} is in use: {remedy}"


def test_a_disk_that_is_full(machine: Machine) -> None:
    machine.has(python3="", gxx="", df="echo Avail; echo 1900000")
    said = machine.make("lint").stderr.splitlines()[0]
    assert said == ("setup: only 1 GB are free on this disk, and .venv needs 3: free some, or clone onto another disk")
    assert not (machine.clone / ".venv").exists()


def test_an_environment_that_is_there_needs_no_other_python(machine: Machine) -> None:
    """That of the machine may be too old for it."""
    machine.has(python3="echo Python 3.9.2; exit 1")
    (machine.clone / ".venv" / "bin").mkdir(parents=True)
    (machine.clone / ".venv" / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    assert machine.make("bench").stderr.splitlines()[0] == WRK


@pytest.mark.parametrize("flags", ["", "--only throughput", "--only=docker --quick"])
def test_a_benchmark_under_load(machine: Machine, flags: str) -> None:
    machine.has(python3="", docker="")
    assert machine.refuses("bench", f"BENCH_FLAGS={flags}") == WRK


def test_a_benchmark_of_the_images(machine: Machine) -> None:
    machine.has(python3="", wrk="")
    assert machine.refuses("bench", "BENCH_FLAGS=--only docker") == DOCKER


@pytest.mark.parametrize("part", ["start", "forward", "lambda"])
def test_a_benchmark_without_load_needs_no_wrk(machine: Machine, part: str) -> None:
    machine.has(python3="")
    # Which is what the environment needs.
    assert "g++ is missing" in machine.refuses("bench", f"BENCH_FLAGS=--only {part}")


@pytest.mark.parametrize("target", ["bench", "bench-cluster"])
def test_a_part_that_there_is_not(machine: Machine, target: str) -> None:
    machine.has(python3="")
    said = machine.refuses(target, "BENCH_FLAGS=--only memory").splitlines()[-1]
    assert "argument --only: invalid choice: 'memory' (choose from " in said


def test_a_benchmark_on_the_cluster(machine: Machine) -> None:
    """Each thing that is missing in turn, the cluster last but for wrk."""
    context = "echo gke_production"
    wrong = (
        "kubectl points to gke_production, which is no cluster of kind's:"
        " make cluster, kubectl config use-context kind-kind"
    )
    steps = [
        (DOCKER, {"docker": "exit 1"}),
        (ENGINE_DOWN, {"docker": ""}),
        (f"kind is missing: install it, {KIND}", {"kind": ""}),
        (f"kubectl is missing: install it, {KUBECTL}", {"kubectl": "exit 1"}),
        ("no cluster is configured: make cluster", {"kubectl": context}),
        (wrong, {"kubectl": _kubectl("connection refused")}),
        (
            "the cluster kind-kind does not answer: make cluster (connection refused)",
            {"kubectl": _kubectl("(NotFound)")},
        ),
        ("the cluster kind-kind has no Knative: make cluster", {"kubectl": "echo kind-kind"}),
        (WRK, {"wrk": ""}),
    ]
    machine.has(python3="")
    for sentence, next_tools in steps:
        assert machine.refuses("bench-cluster") == sentence
        machine.has(**next_tools)
    assert "g++ is missing" in machine.refuses("bench-cluster")


def _kubectl(said: str) -> str:
    return f'case $1 in config) echo kind-kind ;; *) echo "{said}" >&2; exit 1 ;; esac'


def test_a_cold_request_needs_no_wrk(machine: Machine) -> None:
    machine.has(python3="", docker="", kind="", kubectl="echo kind-kind")
    assert "g++ is missing" in machine.refuses("bench-cluster", "BENCH_FLAGS=--only cold")
