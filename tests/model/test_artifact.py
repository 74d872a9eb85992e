import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from model.artifact import ITEM_BYTES, Artifact, ArtifactError, CpuSpec, Defaults, ImageSpec, Program, TensorSpec

ARTIFACT = Artifact(
    name="m", engine="aoti", precision="fp32", inputs=(TensorSpec("x", "UINT8", (2, 3)), TensorSpec("s", "FP64", ())),
    outputs=(TensorSpec("y", "BF16", (5,)),), programs=(Program("model.so", 1, 2),), defaults=Defaults(4, 2),
    cpu=CpuSpec("v", ("avx2",), "AVX2", "x86_64"), labels=("kočka", "犬"), image=ImageSpec(1, 2, 3, "bilinear"), tolerance=0.5,
    versions={"torch": "1"}, evidence={"why": [1, 2.5, None]},
)  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Artifact:
    (tmp_path / "model.so").write_bytes(b"code")
    (tmp_path / "self-test.input").write_bytes(b"abcdef12345678")
    (tmp_path / "self-test.output").write_bytes(b"0123456789")
    dataclasses.replace(ARTIFACT, path=tmp_path).write()
    return Artifact.read(tmp_path)


def test_what_is_written_is_read(written: Artifact) -> None:
    assert dataclasses.replace(written, files={}) == dataclasses.replace(ARTIFACT, path=written.path)
    assert written.files == {
        "model.so": hashlib.sha256(b"code").hexdigest(),
        "self-test.input": hashlib.sha256(b"abcdef12345678").hexdigest(),
        "self-test.output": hashlib.sha256(b"0123456789").hexdigest(),
    }
    written.verify()


def test_the_self_test_is_cut_as_the_tensors_are(written: Artifact) -> None:
    assert written.read_self_test() == ((b"abcdef", b"12345678"), (b"0123456789",))


def test_a_moved_artifact_is_the_same(written: Artifact, tmp_path: Path) -> None:
    moved = Artifact.read(shutil.copytree(written.path, tmp_path / "elsewhere"))
    moved.verify()
    assert moved.digest == written.digest
    assert moved.path == tmp_path / "elsewhere"


def test_the_digest_is_that_of_all_files(written: Artifact) -> None:
    listing = "".join(f"{digest}  {name}\n" for name, digest in written.files.items())
    assert written.digest == "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
    (written.path / "model.so").write_bytes(b"Code")
    written.write()
    assert Artifact.read(written.path).digest != written.digest


@pytest.mark.parametrize("name", ["model.so", "self-test.input", "self-test.output"])
def test_a_changed_file_is_not_the_exported_one(written: Artifact, name: str) -> None:
    (written.path / name).write_bytes(b"other")
    with pytest.raises(ArtifactError) as fault:
        written.verify()
    assert str(fault.value) == f"{written.path / name} is not the file that was exported (digest differs): not loaded"


def test_a_missing_file_is_named(written: Artifact) -> None:
    (written.path / "self-test.input").unlink()
    with pytest.raises(ArtifactError) as fault:
        written.verify()
    assert str(fault.value) == f"{written.path / 'self-test.input'} is missing: export the artifact again"


def _change(folder: Path, key: str, value: Any) -> None:
    raw = json.loads((folder / "artifact.json").read_text())
    if value is None:
        del raw[key]
    else:
        raw[key] = value
    (folder / "artifact.json").write_text(json.dumps(raw))


@pytest.mark.parametrize("version", [0, 2, "1", 99])
def test_another_format_is_told_with_the_remedy(written: Artifact, version: Any) -> None:
    _change(written.path, "format", version)
    with pytest.raises(ArtifactError) as fault:
        Artifact.read(written.path)
    assert str(fault.value) == (
        f"{written.path}/artifact.json has format {version}, this version reads 1: export it again"
    )


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", "null", '"x"', '{"format": 1}', '{"format": 1, "inputs": 5}', "\x00", '{"format":' * 10_000],
)
def test_a_damaged_description_is_told_with_the_remedy(written: Artifact, text: str) -> None:
    (written.path / "artifact.json").write_text(text)
    with pytest.raises(ArtifactError, match=f"^{written.path}/artifact.json is damaged .*: export it again$"):
        Artifact.read(written.path)


@pytest.mark.parametrize("text", [b"\xff\xfe", b'{"format": 1, "name": "\xe9"}'])
def test_a_description_that_is_no_text_is_told_with_the_remedy(written: Artifact, text: bytes) -> None:
    (written.path / "artifact.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=f"^{written.path}/artifact.json is damaged .*: export it again$"):
        Artifact.read(written.path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", None), ("inputs", None), ("outputs", [{}]), ("outputs", "x"), ("programs", [{"file": "x"}]), ("cpu", {}),
        ("defaults", {"threads": 1}), ("image", {"height": 1}), ("labels", 5), ("name", None), ("surplus", 1),
        ("inputs", [{"name": "x", "datatype": "UINT8", "shape": 5}]),
    ],
)  # fmt: skip
def test_a_description_that_lacks_something_is_damaged(written: Artifact, key: str, value: Any) -> None:
    _change(written.path, key, value)
    with pytest.raises(ArtifactError, match=f"^{written.path}/artifact.json is damaged .*: export it again$"):
        Artifact.read(written.path)


@pytest.mark.parametrize("folder", ["missing", "empty", "file"])
def test_no_artifact_is_told_with_the_command_that_makes_one(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    place = tmp_path / folder
    with pytest.raises(ArtifactError) as fault:
        Artifact.read(place)
    assert str(fault.value) == f"no artifact in {place}: `python -m model export NAME --output {place}`"


def test_the_bytes_of_an_item() -> None:
    assert [TensorSpec("x", datatype, (2, 3)).item_bytes for datatype in ITEM_BYTES] == [
        6 * size for size in ITEM_BYTES.values()
    ]
    assert TensorSpec("x", "FP64", ()).item_bytes == 8
    assert TensorSpec("x", "FP64", (3, 0)).item_bytes == 0


@pytest.mark.parametrize(("cpu", "machine"), [(CpuSpec("native", ("avx2",), "AVX2"), "x86_64"), (CpuSpec("any"), "")])
def test_an_artifact_that_does_not_name_the_machine_is_for_x86_64_or_any(
    written: Artifact, cpu: CpuSpec, machine: str
) -> None:
    older = dataclasses.asdict(cpu)
    del older["machine"]
    _change(written.path, "cpu", older)
    assert Artifact.read(written.path).cpu == dataclasses.replace(cpu, machine=machine)
