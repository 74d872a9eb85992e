"""The container images kindling:aoti and kindling:onnx, as `make image` builds them."""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from model import pictures
from tests.support import required
from tests.support.eventually import eventually
from tests.support.pictures import encoded, photo

ENGINES = ("aoti", "onnx")
COFFEE = pictures.folder() / "coffee.png"
ESPRESSO = 967
LIMITS = ("--cpus", "1", "--memory", "512m")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def missing(image: str) -> str:
    """Why there is no such image to test; nothing where there is."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], check=False, capture_output=True).returncode
    ):
        return "there is no Docker engine"
    if subprocess.run(["docker", "image", "inspect", image], check=False, capture_output=True).returncode:
        engine, _, target = image.removeprefix("kindling:").partition("-")
        return f"there is no image {image}: make image ENGINE={engine}" + (target and f" TARGET={target}")
    return ""


@pytest.fixture(params=ENGINES)
def image(request: pytest.FixtureRequest) -> str:
    name = f"kindling:{request.param}"
    if why := missing(name):
        required.skip(why, "REQUIRE_DOCKER")
    return name


@contextmanager
def running(image: str, *options: str) -> Iterator[tuple[str, str]]:
    """(container id, address) of a ready container as the README starts it; always removed."""
    container = docker("run", "--detach", "--read-only", *options, image)
    try:
        # Its own address: Docker's proxy of a published port accepts connections for a container that is gone.
        address = f"http://{docker('inspect', '--format', '{{.NetworkSettings.IPAddress}}', container)}:8080"
        eventually(lambda: _get(f"{address}/v2/health/ready") == 200, deadline_s=60)
        yield container, address
    finally:
        docker("rm", "--force", container)


def _get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as fault:
        return fault.code
    except OSError:
        return 0


def _classify(address: str, picture: bytes) -> dict[str, object]:
    request = urllib.request.Request(f"{address}/infer?top=1", data=picture, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["labels"][0]  # type: ignore[no-any-return]


def test_image_classifies_read_only_and_as_nobody(image: str) -> None:
    with running(image, "--cap-drop", "ALL", "--security-opt", "no-new-privileges") as (container, address):
        assert _classify(address, COFFEE.read_bytes())["index"] == ESPRESSO
        assert docker("exec", container, "id", "-u") == "65532"
        touched = subprocess.run(
            ["docker", "exec", container, "touch", "/app/x"], check=False, capture_output=True, text=True
        )
        assert touched.returncode != 0
        assert "Read-only file system" in touched.stderr


def test_image_has_the_page(image: str) -> None:
    with running(image) as (_, address):
        for path, beginning in (
            ("/", b"<!doctype html>"),
            ("/page/app.js", b"// "),
            ("/page/chelsea.jpg", b"\xff\xd8"),
        ):
            request = urllib.request.Request(f"{address}{path}", headers={"Accept": "text/html, */*;q=0.5"})
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert answer.read().startswith(beginning)


def test_a_large_form_needs_no_place_to_write_to(image: str) -> None:
    """Werkzeug would put files of more than half a MB into a temporary one."""
    picture = encoded(photo(700, 500).effect_spread(300), "PNG")
    assert len(picture) > 600_000
    form = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n%s\r\n--x--\r\n' % picture
    with running(image) as (_, address):
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        request = urllib.request.Request(f"{address}/infer", form, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert len(json.load(answer)["labels"]) == 5


def test_image_holds_neither_torch_nor_compiler_nor_the_other_engine(image: str) -> None:
    probe = (
        "import importlib.util as u, json, os, shutil;"
        "print('runtime=' + json.load(open('/app/artifact/artifact.json'))['runtime']);"
        "print(*(name for name in ('torch', 'torchvision', 'onnxruntime', 'numpy') if u.find_spec(name)),"
        "*(name for name in ('gcc', 'g++', 'cc') if shutil.which(name)),"
        "*os.listdir('/app/libtorch'), *os.listdir('/app/libonnxruntime'))"
    )
    runtime, *found = docker("run", "--rm", image, "python", "-c", probe).split()
    assert not {"torch", "torchvision", "onnxruntime", "numpy", "gcc", "g++", "cc"} & set(found)
    if image.endswith("aoti"):
        assert (runtime, found) == ("runtime=standalone", [])
    else:
        library, *rest = sorted(found, key=lambda name: not name.startswith("libonnxruntime.so."))
        assert library.startswith("libonnxruntime.so.")
        assert sorted(rest) == ["LICENSE", "ThirdPartyNotices.txt"]


def test_runners_follow_the_cpu_limit(image: str) -> None:
    """Of whichever version the engine's cgroups are."""
    for limits, runners in ((LIMITS, 1), (("--cpus", "0.5"), 1), (("--cpus", "2"), min(2, os.cpu_count() or 1))):
        with running(image, *limits) as (container, _):
            logs = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stderr
        assert f"is ready: {runners} x 1 threads" in logs


def test_docker_stop_under_load_loses_no_request(image: str) -> None:
    answers: list[object] = []
    faults: list[object] = []
    stopping = threading.Event()

    def client(address: str, picture: bytes) -> None:
        while not stopping.is_set():
            try:
                answers.append(_classify(address, picture)["index"])
            except OSError as fault:
                faults.append(getattr(fault, "reason", fault))
                return

    with running(image, *LIMITS) as (container, address):
        clients = [threading.Thread(target=client, args=(address, COFFEE.read_bytes())) for _ in range(6)]
        for each in clients:
            each.start()
        eventually(lambda: len(answers) > 20, deadline_s=60)
        before = time.monotonic()
        docker("stop", "--time", "30", container)
        assert time.monotonic() - before < 20
        stopping.set()
        for each in clients:
            each.join()
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    assert set(answers) == {ESPRESSO}
    # The door is closed to new connections; whatever was accepted has been answered.
    assert all(isinstance(fault, ConnectionRefusedError) for fault in faults), faults
