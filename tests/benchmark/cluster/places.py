"""Only when asked for: the same photo through every place that the service runs in, from nothing to the answer, and warm."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from tests.benchmark import lineup, made, process
from tests.benchmark.cluster.cold import FAULTS, deploy, wait_for_zero
from tests.benchmark.cluster.cold import Place as Namespace
from tests.benchmark.cluster.environment import BenchmarkError, wait_until_quiet
from tests.benchmark.cluster.lineup import Side
from tests.cluster.deployment import Deployed, overlay
from tests.cluster.knative import Cluster, Route
from tests.support.aws import http_answer, http_event
from tests.support.manifests import Manifest, of_kind
from tests.support.runtime_api import runtime_api
from tests.support.serving import HOST, Answer, free_port

ENGINE = "aoti"
IMAGES = {name: f"kindling:{ENGINE}{target}" for name, target in (("lambda", "-lambda"), ("functions", "-functions"))}
ASKED, ALONE = 100, ("--cpus", "2", "--memory", "1g")
POLL_S, START_DEADLINE_S = 0.002, 120.0
# Of Lambda's memory for each vCPU.
VCPU_MB = 1769
# As Lambda runs an image: any user, nothing to write to but /tmp, no shared memory.
LAMBDA = ("--read-only", "--tmpfs", "/tmp", "--ipc", "none", "--user", "993:990", "--cap-drop", "ALL")


@dataclass(frozen=True)
class Placed:
    """One round of one place, in ms: from the beginning to the first correct answer, then of answers, one by one."""

    first_ms: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Begun:
    """What was started at `began_s`, on the clock of `time.perf_counter`. `ask` is False while nobody listens."""

    began_s: float
    ask: Callable[[], bool]


Start = Callable[[], AbstractContextManager[Begun]]


def measure(namespace: Namespace, side: Side, rounds: int, logs: Path, missing: list[str]) -> dict[str, list[Placed]]:
    """The rounds of each place; a round that failed is named in `missing`.

    Raises:
        BenchmarkError: Knative does not become ready.
        MakeError: an image or the artifact is missing, and cannot be made.
    """
    logs.mkdir(exist_ok=True)
    places = _places(namespace, side, logs)
    found: dict[str, list[Placed]] = {name: [] for name in places}
    # The first round fills the page cache and is not counted.
    for number in range(rounds + 1):
        for name, start in places.items():
            try:
                placed = _round(start)
            except (*FAULTS, process.SideError, OSError, subprocess.CalledProcessError) as fault:
                missing.append(f"{name}, round {number}: {fault}")
                print(f"    {missing[-1]}", file=sys.stderr, flush=True)
                continue
            if number:
                found[name].append(placed)
            print(f"  places {number}/{rounds}: {name}: {placed}", file=sys.stderr, flush=True)
    return found


def _places(namespace: Namespace, side: Side, logs: Path) -> dict[str, Start]:
    artifact = made.artifact(ENGINE)
    for image in IMAGES.values():
        made.image(image)
    deployment = Deployed(namespace.cluster, _without_autoscaler(overlay(namespace.images[side.image])))
    _scale(deployment, 0)
    deploy(namespace, [side])
    return {
        "a process": partial(_process, side, artifact, logs),
        "docker run": partial(_container, side, side.image, "--read-only"),
        "functions-framework": partial(_container, side, IMAGES["functions"]),
        "awslambdaric": partial(_lambda, side, 2),
        "awslambdaric, 1 vCPU": partial(_lambda, side, 1),
        "Knative, from zero pods": partial(_knative, namespace.cluster, side),
        "Deployment, a new pod": partial(_deployment, deployment, side),
    }


def _round(start: Start) -> Placed:
    with start() as begun:
        while not begun.ask():
            if time.perf_counter() - begun.began_s > START_DEADLINE_S:
                raise BenchmarkError(f"no correct answer in {START_DEADLINE_S:.0f} s")
            time.sleep(POLL_S)
        first_ms = (time.perf_counter() - begun.began_s) * 1e3
        times = [_timed(begun.ask) for _ in range(ASKED)]
    return Placed(first_ms, median(times), quantiles(times, n=20)[-1])


def _timed(ask: Callable[[], bool]) -> float:
    began = time.perf_counter()
    if not ask():
        raise BenchmarkError("an answer was wrong")
    return (time.perf_counter() - began) * 1e3


def _asker(side: Side, route: Route) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return side.is_correct(side.ask(route))
        except OSError:
            return False

    return ask


@contextmanager
def _process(side: Side, artifact: Path, logs: Path) -> Iterator[Begun]:
    assert side.body
    started = lineup.services(lineup.Places(dict.fromkeys(lineup.ENGINES, artifact), side.body, side.body, {}))[0]
    wait_until_quiet()
    with process.running(started, logs) as running:
        yield Begun(running.spawned_s, _asker(side, Route(HOST, (HOST, running.port))))


@contextmanager
def _container(side: Side, image: str, *options: str) -> Iterator[Begun]:
    port = free_port()
    wait_until_quiet()
    began_s = time.perf_counter()
    with _running(*ALONE, *options, "--publish", f"{HOST}:{port}:8080", image):
        yield Begun(began_s, _asker(side, Route(HOST, (HOST, port))))


@contextmanager
def _lambda(side: Side, vcpus: int) -> Iterator[Begun]:
    """The first invocation waits in the Runtime API until the function asks for it, as on Lambda."""
    assert side.body
    event = http_event("2.0", "POST", side.path, side.body.read(), {"Content-Type": side.body.content_type})

    def is_correct() -> bool:
        return side.is_correct(_answered(api.invoke(event).value))

    with runtime_api() as api:
        wait_until_quiet()
        began_s = time.perf_counter()
        memory = ("--env", f"AWS_LAMBDA_FUNCTION_MEMORY_SIZE={vcpus * VCPU_MB}", "--memory", f"{vcpus * VCPU_MB}m")
        address = ("--network", "host", "--env", f"AWS_LAMBDA_RUNTIME_API={api.address}")
        with _running(*LAMBDA, "--cpus", f"{vcpus}", *memory, *address, IMAGES["lambda"]):
            yield Begun(began_s, is_correct)


def _answered(value: dict[str, object]) -> Answer:
    return http_answer({"isBase64Encoded": False, **value})


@contextmanager
def _knative(cluster: Cluster, side: Side) -> Iterator[Begun]:
    wait_for_zero(cluster)
    wait_until_quiet()
    yield Begun(time.perf_counter(), _asker(side, cluster.route(side.service)))


@contextmanager
def _deployment(deployed: Deployed, side: Side) -> Iterator[Begun]:
    """Nobody waits for that pod as a rule: the others answer."""
    wait_for_zero(deployed.cluster)
    wait_until_quiet()
    began_s = time.perf_counter()
    _scale(deployed, 1)
    try:
        yield Begun(began_s, _asker(side, deployed.route))
    finally:
        _scale(deployed, 0)


def _without_autoscaler(manifests: list[Manifest]) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in ("Deployment", "Service")]


def _scale(deployed: Deployed, replicas: int) -> None:
    of_kind(deployed.manifests, "Deployment")["spec"]["replicas"] = replicas
    deployed.apply()


@contextmanager
def _running(*arguments: str) -> Iterator[None]:
    done = subprocess.run(["docker", "run", "--detach", *arguments], check=True, capture_output=True, text=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "rm", "--force", done.stdout.strip()], check=True, capture_output=True)
