"""compose.yaml on the engine: the service, its worker and PostgreSQL, of which each may be killed and removed."""

import base64
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from model import pictures
from tests.docker.test_container import docker, missing
from tests.support import required
from tests.support.eventually import eventually
from tests.support.pictures import encoded, photo
from tests.support.serving import HOST, ROOT, free_port

IMAGE = "kindling:onnx"
POSTGRES = "kindling-postgres:compose"
COFFEE = (pictures.folder() / "coffee.png").read_bytes()
ESPRESSO = 967
JOBS = 10
# Of a job: so many that it takes longer to compute than to ask for.
PICTURES = 48
LATER = {"Prefer": "respond-async"}
Compose = Callable[..., str]


def _missing() -> str:
    if why := missing(IMAGE):
        return why
    found = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True)
    return "there is no `docker compose`: https://docs.docker.com/compose/install" if found.returncode else ""


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Compose]:
    """compose(ARGUMENT…) of the project, which is up; with the image that is there, and removed with its volume."""
    if why := _missing():
        required.skip(why, "REQUIRE_DOCKER")
    docker("build", "--quiet", "--tag", POSTGRES, str(ROOT / "knative/components/jobs-postgres"))
    images = tmp_path_factory.mktemp("compose") / "images.yaml"
    built = {"kindling": IMAGE, "worker": IMAGE, "postgres": POSTGRES}
    images.write_text(json.dumps({"services": {name: {"image": image} for name, image in built.items()}}))
    files = ("--project-name", f"kindling-{port}", "--file", str(ROOT / "compose.yaml"), "--file", str(images))

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["docker", "compose", *files, *arguments],
            check=False, capture_output=True, text=True, env={**os.environ, "PORT": str(port)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        _up(run)
        yield run
    finally:
        run("down", "--volumes", "--timeout", "40")


def _up(compose: Compose) -> None:
    compose("up", "--no-build", "--detach", "--wait")


def _ask(port: int, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", body, dict(headers or {}))
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _status(port: int, job: str) -> str:
    return str(_ask(port, f"/jobs/{job}", headers={"Prefer": "wait=10"})["status"])


def _runs(compose: Compose, service: str) -> int:
    read = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
    told = compose("exec", "-T", service, "python", "-c", read).splitlines()
    return sum(int(float(line.split()[-1])) for line in told if line.startswith("kindling_runs_total{"))


def test_the_worker_computes_what_is_asked_for_later(compose: Compose, port: int) -> None:
    before = _runs(compose, "kindling"), _runs(compose, "worker")
    assert _ask(port, "/infer?top=1", COFFEE)["labels"][0]["index"] == ESPRESSO
    job = _ask(port, "/infer?top=1", COFFEE, LATER)["id"]
    assert _status(port, job) == "succeeded"
    assert _ask(port, f"/jobs/{job}/result")["labels"][0]["index"] == ESPRESSO
    assert (_runs(compose, "kindling"), _runs(compose, "worker")) == (before[0] + 1, before[1] + 1)


def test_nobody_but_the_service_can_be_reached_and_nothing_can_be_written(compose: Compose, port: int) -> None:
    for service in ("kindling", "worker", "postgres"):
        (found,) = json.loads(docker("inspect", compose("ps", "--quiet", service)))
        host = found["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], found["Config"]["User"]) == (True, ["ALL"], "65532:65532")
        assert host["Memory"]
        published = [{"HostIp": HOST, "HostPort": str(port)}] if service == "kindling" else None
        assert host["PortBindings"].get("8080/tcp") == published


def test_runners_follow_the_limit(compose: Compose) -> None:
    for service in ("kindling", "worker"):
        assert "is ready: 1 x 1 threads" in compose("logs", service)


def test_no_job_is_lost_when_containers_are_killed_and_removed(compose: Compose, port: int) -> None:
    picture = base64.b64encode(encoded(photo(640, 480), "JPEG")).decode()
    body = json.dumps({"instances": [{"b64": picture}] * PICTURES}).encode()
    path = f"/v1/models/{_ask(port, '/v1/models')['models'][0]}:predict"
    jobs = [_ask(port, path, body, LATER | {"Content-Type": "application/json"})["id"] for _ in range(JOBS)]
    compose("kill", "worker")
    assert {"queued", "running"} & {_ask(port, f"/jobs/{job}")["status"] for job in jobs}
    compose("kill", "postgres")
    # What needs no database is answered all the same.
    assert _ask(port, "/infer?top=1", COFFEE)["labels"][0]["index"] == ESPRESSO
    compose("rm", "--stop", "--force", "kindling", "worker", "postgres")
    _up(compose)
    eventually(lambda: all(_status(port, job) == "succeeded" for job in jobs), 90)
