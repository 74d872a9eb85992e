"""`make cluster` on machines that lack something: one sentence with the remedy, before anything is made."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.serving import ROOT, free_port

# What the script itself calls.
TOOLS = ("bash", "cat", "cksum", "env", "grep", "mktemp", "rm", "sed", "sleep", "tr", "wc")

# A finished cluster without Knative, as far as the script asks.
KIND = 'case "$*" in "get clusters") echo kind ;; esac'
DOCKER = 'case "$1" in port) echo 127.0.0.1:80 ;; inspect) echo 2026-01-01T00:00:00Z ;; esac'
KUBECTL = """case "$*" in
    *renewTime*) echo 2026-01-01T00:00:10Z ;;
    *kubeletVersion*) echo "${KUBELET:-v1.34.0}" ;;
    *Available*) exit "${UNAVAILABLE:-0}" ;;
esac"""
CURL = 'echo "curl: (6) Could not resolve host: github.com" >&2; exit 6'


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A PATH with next to nothing in it."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    return tmp_path


def _has(machine: Path, **commands: str) -> None:
    for command, script in commands.items():
        file = machine / command
        file.unlink(missing_ok=True)  # it may be a link to a program of this machine
        file.write_text(f'#!/bin/sh\necho {command} "$@" >>{machine}/called\n{script}\n')
        file.chmod(0o755)


def _has_all(machine: Path, **others: str) -> None:
    _has(machine, **{"docker": DOCKER, "kind": KIND, "kubectl": KUBECTL, "curl": CURL, **others})


def _run(machine: Path, command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "knative/cluster", command],
        env={"PATH": str(machine), "TMPDIR": str(machine), **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _fails(machine: Path, command: str = "up", **environ: str) -> str:
    """The sentence, without the lines of progress before it."""
    done = _run(machine, command, **environ)
    assert (done.returncode, done.stdout) == (1, "")
    *progress, sentence = done.stderr.splitlines()
    assert all(line.startswith("==> ") for line in progress), done.stderr
    assert sentence.startswith("cluster: ")
    return sentence.removeprefix("cluster: ")


def _calls(machine: Path) -> list[str]:
    called = machine / "called"
    return called.read_text().splitlines() if called.exists() else []


@pytest.mark.parametrize("command", ["up", "delete"])
def test_no_docker(machine: Path, command: str) -> None:
    assert _fails(machine, command) == (
        "docker is missing: install Docker Engine, https://docs.docker.com/engine/install/"
    )


@pytest.mark.parametrize("command", ["up", "delete"])
def test_an_engine_that_does_not_run(machine: Path, command: str) -> None:
    _has_all(machine, docker="echo Cannot connect to the Docker daemon >&2; exit 1")
    assert _fails(machine, command) == (
        "docker's engine does not answer: start it (systemctl start docker), and be root or in the group docker"
    )
    assert _calls(machine) == ["docker info"]


@pytest.mark.parametrize("command", ["up", "delete"])
def test_no_kind(machine: Path, command: str) -> None:
    _has(machine, docker=DOCKER)
    assert _fails(machine, command) == (
        "kind is missing: install it, https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
    )


def test_no_kubectl(machine: Path) -> None:
    _has(machine, docker=DOCKER, kind=KIND)
    assert _fails(machine) == "kubectl is missing: install it, https://kubernetes.io/docs/tasks/tools/"
    assert _calls(machine) == ["docker info"]


def test_no_curl(machine: Path) -> None:
    _has(machine, docker=DOCKER, kind=KIND, kubectl=KUBECTL)
    assert _fails(machine) == "curl is missing: apt-get install curl"
    assert _calls(machine) == ["docker info"]


def _kind_config(machine: Path, port: int) -> str:
    config = machine / "kind.yaml"
    config.write_text((ROOT / "knative" / "kind.yaml").read_text().replace("hostPort: 80,", f"hostPort: {port},"))
    return str(config)


def test_kinds_own_words_when_it_creates_no_cluster(machine: Path) -> None:
    _has_all(machine, kind='[ "$1" = get ] || { echo ==\\> no space left on device >&2; exit 1; }')
    config = _kind_config(machine, free_port())
    said = _fails(machine, KIND_CLUSTER_NAME="mine", KIND_CONFIG=config, KIND_NODE_IMAGE="kindest/node:v1.34.0")
    assert said == "kind could not create cluster mine, and has said why above"
    assert _calls(machine)[-1] == f"kind create cluster --name mine --config {config} --image kindest/node:v1.34.0"


def test_a_port_that_is_in_use(machine: Path) -> None:
    _has_all(machine)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        said = _fails(machine, KIND_CLUSTER_NAME="mine", KIND_CONFIG=_kind_config(machine, port))
    remedy = "end what listens there, or name with KIND_CONFIG a copy of kind.yaml with another"
    assert said == f"port {port} is in use: {remedy}"
    assert not any("create" in call for call in _calls(machine))


def test_no_such_configuration(machine: Path) -> None:
    _has_all(machine)
    said = _fails(machine, KIND_CLUSTER_NAME="mine", KIND_CONFIG="kind.yml")
    assert said == "there is no file KIND_CONFIG=kind.yml"


@pytest.mark.parametrize(("told", "room"), [("2 25276514304", "2 CPUs and 25 GB"), ("8 2075000000", "8 CPUs and 2 GB")])
def test_a_machine_that_is_too_small_gets_no_cluster(machine: Path, told: str, room: str) -> None:
    _has_all(machine, docker=f'[ "$1 $2" != "info --format" ] || echo {told}')
    assert _fails(machine, KIND_CLUSTER_NAME="mine") == (
        f"docker has {room}, and this needs 3 CPUs and 4 GB: give it more"
    )
    assert not any("create" in call for call in _calls(machine))


def test_manifests_of_ones_own_may_need_less(machine: Path) -> None:
    _has_all(machine, docker='[ "$1 $2" != "info --format" ] || echo 1 1000000000')
    (machine / "service.yaml").write_text("kind: Service\n")
    config = _kind_config(machine, free_port())
    _fails(machine, KIND_CLUSTER_NAME="mine", KIND_CONFIG=config, KNATIVE_MANIFESTS=str(machine))
    assert any("kind create" in call for call in _calls(machine))


def test_a_cluster_without_the_port_gets_nothing(machine: Path) -> None:
    _has_all(machine, docker='[ "$1" != port ]')
    assert _fails(machine) == (
        "cluster kind maps no port to its 31080: make cluster-delete, or name another with KIND_CLUSTER_NAME"
    )
    assert not any(call.startswith("kubectl") for call in _calls(machine))


def test_a_kubernetes_that_is_too_old(machine: Path) -> None:
    _has_all(machine)
    assert _fails(machine, KUBELET="v1.33.7") == (
        "Knative 1.23.0 needs Kubernetes 1.34, not v1.33.7: make cluster-delete, then a newer kind"
    )


def test_a_failed_download(machine: Path) -> None:
    _has_all(machine)
    assert _fails(machine) == (
        "no download of https://github.com/knative/serving/releases/download/knative-v1.23.0/serving-crds.yaml:"
        " try again, or name a folder of such files with KNATIVE_MANIFESTS (curl: (6) Could not resolve host: github.com)"
    )
    assert not any("apply" in call for call in _calls(machine))
    assert not list(machine.glob("tmp.*"))


def test_a_folder_without_manifests(machine: Path) -> None:
    _has_all(machine)
    (machine / "empty").mkdir()
    assert _fails(machine, KNATIVE_MANIFESTS=str(machine / "empty")) == (
        f"no YAML in KNATIVE_MANIFESTS={machine}/empty"
    )
    assert _calls(machine) == ["docker info"]


def test_deployments_that_do_not_come_up(machine: Path) -> None:
    _has_all(machine, curl="exit 0")
    assert _fails(machine, UNAVAILABLE="1", KIND_CLUSTER_NAME="kind") == (
        "not all is up after 10 minutes (it needs 3 CPUs, 4 GB): kubectl --context kind-kind -n knative-serving get pods"
    )


def test_everything_is_applied_in_order_and_in_the_clusters_own_context(machine: Path) -> None:
    _has_all(machine, curl='while [ "$1" != -o ]; do shift; done; echo kind: Service >"$2"', skaffold="")
    done = _run(machine, "up")
    assert done.returncode == 0, done.stderr
    calls = _calls(machine)
    # A node that was stopped.
    assert calls.index("docker start kind-control-plane") < calls.index("docker port kind-control-plane 31080")
    kubectl = [call for call in calls if call.startswith("kubectl ")]
    applied = [call.rpartition("/")[2] for call in kubectl if " apply " in call]
    assert applied == [
        "1-serving-crds.yaml", "2-serving-core.yaml", "3-kourier.yaml", "4-eventing-crds.yaml",
        "5-eventing-core.yaml", "6-in-memory-channel.yaml", "7-mt-channel-broker.yaml",
    ]  # fmt: skip
    # What marks the installation as finished.
    (label,) = (at for at, call in enumerate(kubectl) if " label " in call)
    assert " apply " in kubectl[label - 1]
    assert kubectl[label].endswith("knative-serving kourier-system knative-eventing kindling/knative=knative-v1.23.0")
    outside = [call for call in kubectl if not call.startswith("kubectl --context kind-kind ")]
    assert outside == ["kubectl config get-contexts kind-kind", "kubectl config current-context"]
    assert done.stderr.splitlines()[-2] == "==> go on with: skaffold dev --kube-context kind-kind"
    assert not list(machine.glob("tmp.*"))


def test_skaffold_is_named_where_it_is_missing(machine: Path) -> None:
    _has_all(machine, curl='while [ "$1" != -o ]; do shift; done; echo kind: Service >"$2"')
    hint = "skaffold is missing: install it, https://skaffold.dev/docs/install/"
    assert _run(machine, "up").stderr.splitlines()[-2].endswith(f" skaffold dev --kube-context kind-kind ({hint})")


def test_there_is_nothing_to_delete(machine: Path) -> None:
    _has_all(machine)
    done = _run(machine, "delete", KIND_CLUSTER_NAME="none")
    assert (done.returncode, done.stderr) == (0, "==> there is no cluster none\n")
    assert _calls(machine) == ["docker info", "kind get clusters"]


def test_a_cluster_is_deleted(machine: Path) -> None:
    _has_all(machine)
    done = _run(machine, "delete")
    assert (done.returncode, done.stderr) == (0, "==> cluster kind is deleted\n")
    assert _calls(machine)[-1] == "kind delete cluster --name kind"


def test_another_word_is_refused(machine: Path) -> None:
    assert _fails(machine, "down") == "usage: knative/cluster up|delete"
