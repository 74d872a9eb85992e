"""Where the onnx engine finds ONNX Runtime, which it refuses, and what closing it leaves behind."""

import importlib.util
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from model.artifact import Artifact, ArtifactError
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
from tests.support import graphs
from tests.support.graphs import floats

PLAN = Plan(runners=2, threads=1, max_batch_size=4)


@pytest.fixture
def doubling(tmp_path: Path) -> Artifact:
    return graphs.doubling(tmp_path)


STUB = """
struct base { const void *(*GetApi)(unsigned); const char *(*GetVersionString)(void); };
static const void *api(unsigned version) { return 0; }
static const char *version(void) { return "%s"; }
static const struct base found = {api, version};
const struct base *OrtGetApiBase(void) { return &found; }
"""


def _compiled(folder: Path, code: str) -> Path:
    (folder / "stub.c").write_text(code)
    library = folder / "libonnxruntime.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, folder / "stub.c"], check=True)
    return library


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (STUB % "1.9.9", "graph was exported with ONNX Runtime 1.{minor}.0, and {path} is 1.9.9: install "),
        (STUB % "1.99.0", "{path} is ONNX Runtime 1.99.0, without version 24 of its C API"),
        ("int nothing;", "ONNX Runtime cannot be loaded: {path}: undefined symbol: OrtGetApiBase"),
    ],
)
def test_another_library_is_refused_in_one_sentence(
    code: str, sentence: str, doubling: Artifact, tmp_path: Path
) -> None:
    path = _compiled(tmp_path, code)
    with pytest.raises(ArtifactError) as fault:
        loading.load(doubling, replace(PLAN, onnxruntime_dir=tmp_path))
    minor = metadata.version("onnxruntime").split(".")[1]
    assert str(fault.value).startswith(sentence.format(path=path, minor=minor))
    assert "\n" not in str(fault.value)


def test_a_folder_without_it_and_a_file_that_is_none_are_named(doubling: Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    how = replace(PLAN, onnxruntime_dir=folder)
    with pytest.raises(ArtifactError) as fault:
        loading.load(doubling, how)
    assert str(fault.value) == f"ONNX Runtime cannot be loaded: there is no libonnxruntime.so in {folder}"
    (folder / "libonnxruntime.so.1.32.0").write_bytes(b"no library")
    with pytest.raises(ArtifactError, match=rf"^ONNX Runtime cannot be loaded: {folder}/libonnxruntime.so.1.32.0: "):
        loading.load(doubling, how)


def test_where_nothing_is_installed_both_ways_are_told(doubling: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ArtifactError) as fault:
        loading.load(doubling, PLAN)
    assert str(fault.value) == "ONNX Runtime is not here: install onnxruntime, or set ONNXRUNTIME_DIR to its folder"


def test_a_folder_of_the_library_alone_is_enough(doubling: Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "libraries"
    folder.mkdir()
    installed = importlib.util.find_spec("onnxruntime")
    assert installed is not None
    assert installed.origin is not None
    (library,) = (Path(installed.origin).parent / "capi").glob("libonnxruntime.so*")
    (folder / library.name).symlink_to(library)
    model = loading.load(doubling, replace(PLAN, onnxruntime_dir=folder))
    assert model.run([(floats(1, 2),)]) == [(floats(2, 4),)]
    model.close()


def test_weights_are_in_a_file_of_their_own_behind_any_link(tiny_onnx: Path, tmp_path: Path) -> None:
    assert "model.onnx.data" in Artifact.read(tiny_onnx).files
    (tmp_path / "folder").symlink_to(tiny_onnx)
    files = tmp_path / "files"
    files.mkdir()
    for each in tiny_onnx.iterdir():
        (files / each.name).symlink_to(each)
    answers = []
    for path in (tiny_onnx, tmp_path / "folder", files):
        artifact = Artifact.read(path)
        model = loading.load(artifact, PLAN)
        answers.append(model.run([artifact.read_self_test()[0]]))
        model.close()
    assert answers[0] == answers[1] == answers[2]
