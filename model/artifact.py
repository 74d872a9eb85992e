"""What an artifact is: a folder with `artifact.json` beside the compiled model; imports neither torch nor numpy."""

import hashlib
import json
import math
import mmap
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
ITEM_BYTES = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
"""Open Inference Protocol datatypes of fixed size, and the bytes of one element."""


class ArtifactError(Exception):
    """The folder cannot be served; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `shape` is that of one item; the batch dimension before it may have any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.datatype]


@dataclass(frozen=True)
class ImageSpec:
    """How an encoded picture becomes an item of the first input: UINT8 [height, width, 3], RGB.

    The shorter side is resized to `resize_shorter` pixels, then the centre is cropped. Transparent pixels are laid on
    `background` (RGB, 0 to 255 each); without one, transparency is dropped, as by torchvision's `convert("RGB")`.
    """

    height: int
    width: int
    resize_shorter: int
    interpolation: str = "bicubic"
    background: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        colour = self.background
        if colour is not None and (
            len(colour) != 3 or not all(type(each) is int and 0 <= each <= 255 for each in colour)
        ):
            raise ValueError(f"background {colour}: wanted three whole numbers from 0 to 255, red, green and blue")


@dataclass(frozen=True)
class CpuSpec:
    """The CPU that the compiled code needs: /proc/cpuinfo flags, and the ISA that its packed weights are laid out for.

    `machine` is its kind, by the name that `uname -m` has for it; without one, the artifact runs on every kind.
    """

    name: str
    flags: tuple[str, ...] = ()
    onednn_isa: str = ""
    machine: str = ""


@dataclass(frozen=True)
class Program:
    """One compiled file: runs exactly `batch` items (0: any number) on `threads` threads (0: any number)."""

    file: str
    batch: int
    threads: int


@dataclass(frozen=True)
class Defaults:
    """What the measurements recommend to the service."""

    max_batch_size: int
    threads: int


@dataclass(frozen=True)
class Artifact:
    """`artifact.json`. `evidence` is for people: parity, timings and why this engine was kept.

    `runtime` says where the functions are that a program of the engine aoti calls: in `libtorch`, or in the library
    among the artifact's own files (`standalone`).
    """

    name: str
    engine: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    programs: tuple[Program, ...]
    defaults: Defaults
    cpu: CpuSpec
    labels: tuple[str, ...] = ()
    image: ImageSpec | None = None
    tolerance: float = 1e-3
    runtime: str = "libtorch"  # unknown to artifacts of version 0.1.0
    versions: dict[str, str] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT
    path: Path = Path()

    @property
    def digest(self) -> str:
        """One digest for the whole artifact, over the digests of its files."""
        listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()

    @classmethod
    def read(cls, folder: Path) -> "Artifact":
        """The artifact in `folder`, its files not yet verified.

        Raises:
            ArtifactError: it does not exist, is not an artifact, or has another version.
        """
        path = folder / "artifact.json"
        try:
            text = path.read_bytes()
        except OSError:
            raise ArtifactError(f"no artifact in {folder}: `python -m model export NAME --output {folder}`") from None
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise ArtifactError(f"{path} has format {raw['format']}, this version reads {FORMAT}: export it again")
            return _from_json(raw, folder)
        except (ValueError, KeyError, TypeError, RecursionError) as fault:
            raise ArtifactError(f"{path} is damaged ({type(fault).__name__}: {fault}): export it again") from None

    def write(self) -> None:
        """Write `artifact.json` with the digests of all other files in the folder."""
        raw = asdict(self)
        del raw["path"]
        raw["files"] = {
            each.name: file_digest(each) for each in sorted(self.path.iterdir()) if each.name != "artifact.json"
        }
        text = json.dumps(raw, indent=1, ensure_ascii=False) + "\n"
        (self.path / "artifact.json").write_text(text, encoding="utf-8")

    def verify(self, *names: str) -> None:
        """Raise ArtifactError unless these files (none named: all) are as exported, because loading one executes it."""
        for name, digest in self.files.items():
            if names and name not in names:
                continue
            try:
                actual = file_digest(self.path / name)
            except OSError:
                raise ArtifactError(f"{self.path / name} is missing: export the artifact again") from None
            if actual != digest:
                raise ArtifactError(
                    f"{self.path / name} is not the file that was exported (digest differs): not loaded"
                )

    def read_self_test(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """One item's inputs, and the outputs that eager PyTorch gave for it."""
        return (
            _cut((self.path / "self-test.input").read_bytes(), self.inputs),
            _cut((self.path / "self-test.output").read_bytes(), self.outputs),
        )


def file_digest(path: Path) -> str:
    """The file's SHA-256, in one call without the GIL: a thread that asks for it every few KiB waits 5 ms each time."""
    if path.stat().st_size == 0:  # which cannot be mapped
        return hashlib.sha256().hexdigest()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def _cut(blob: bytes, specs: tuple[TensorSpec, ...]) -> tuple[bytes, ...]:
    parts, start = [], 0
    for spec in specs:
        parts.append(blob[start : start + spec.item_bytes])
        start += spec.item_bytes
    return tuple(parts)


def _image(raw: dict[str, Any]) -> ImageSpec:
    background = raw.get("background")  # unknown to artifacts of version 0.1.0
    return ImageSpec(**raw | {"background": tuple(background) if background else None})


def _cpu(raw: dict[str, Any]) -> CpuSpec:
    # Artifacts of version 0.1.0 do not name the machine: they are for x86_64, or for any.
    machine = raw.get("machine", "x86_64" if raw["flags"] else "")
    return CpuSpec(raw["name"], tuple(raw["flags"]), raw["onednn_isa"], machine)


def _from_json(raw: dict[str, Any], folder: Path) -> Artifact:
    def tensors(key: str) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(each["name"], each["datatype"], tuple(each["shape"])) for each in raw[key])

    return Artifact(
        **raw
        | {
            "inputs": tensors("inputs"),
            "outputs": tensors("outputs"),
            "programs": tuple(Program(**each) for each in raw["programs"]),
            "defaults": Defaults(**raw["defaults"]),
            "cpu": _cpu(raw["cpu"]),
            "labels": tuple(raw["labels"]),
            "image": _image(raw["image"]) if raw["image"] else None,
            "path": folder,
        }
    )
