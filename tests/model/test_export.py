"""From a PyTorch model to an artifact; and what is left when that fails."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from model import __main__ as command
from model import catalog, cpus, parity
from model.artifact import Artifact, ImageSpec
from model.catalog import CatalogError
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
from tests.support.exporting import OLD, Exports, model_command
from tests.support.models import LABELS, PICTURE, tiny_module


def _fails_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The command in this process, for what fails before anything is compiled: exit code 1 and this reason."""
    monkeypatch.setattr("sys.argv", ["model", "export", *arguments])
    assert command.main() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err[err.index("export failed: ") :]


def _entries(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_an_artifact_holds_what_the_service_needs(tiny: Path, engine_name: str) -> None:
    artifact = Artifact.read(tiny)
    artifact.verify()
    kind = {
        "aoti": ("aoti", "libtorch"), "standalone": ("aoti", "standalone"), "onnx": ("onnx", ""),
    }[engine_name]  # fmt: skip
    assert (artifact.name, artifact.engine, artifact.runtime, artifact.precision) == ("tiny", *kind, "fp32")
    assert artifact.labels == LABELS
    assert artifact.image == PICTURE
    assert artifact.versions.keys() == {"torch", "onnxruntime"}
    compiled = {"model-b1-t1.so", "model-b4-t1.so"}
    programs = {
        "aoti": compiled,
        "standalone": compiled | {"libkindling.so", "libgomp.so.1"},
        "onnx": {"model.onnx", "model.onnx.data"},
    }[engine_name]
    assert _entries(tiny) == programs | {"artifact.json", "self-test.input", "self-test.output"}
    assert artifact.files.keys() == _entries(tiny) - {"artifact.json"}
    assert artifact.defaults.max_batch_size in {each.batch for each in artifact.programs} | {1, 4, 8}


def test_the_evidence_is_that_of_every_candidate(tiny: Path) -> None:
    artifact = Artifact.read(tiny)
    evidence = artifact.evidence
    assert evidence["engine"] == f"asked for by --engine {artifact.engine}"
    parities = evidence["parity"]
    assert parities["largest_difference"].keys() >= {"batch 1, threads 1", "batch 4, threads 1"}
    assert all(0 <= each < 1e-3 for each in parities["largest_difference"].values())
    assert (parities["real_pictures"], parities["random"], parities["eager_batches"]) == (8, 8, [1, 8])
    for row in evidence["measured"][artifact.engine]:
        assert row["run_ms"] > 0
        assert row["items_per_s"] > 0
        assert row["rss_mb"] > 10


def test_answers_over_the_tolerance_leave_the_old_artifact_as_it_was(exports: Exports) -> None:
    done = exports.result("imprecise")
    assert (done.returncode, done.stdout) == (1, "")
    pattern = r"export failed: onnx fp32 differs from eager PyTorch by \S+, more than the tolerance of 1e-12\n$"
    assert re.search(pattern, done.stderr)
    output = exports.path("imprecise")
    assert (output / "artifact.json").read_text() == OLD
    assert _entries(output) == {"artifact.json"}
    assert _entries(output.parent) == {"artifact"}


def test_a_model_whose_way_depends_on_the_data_is_refused(exports: Exports, engine_name: str) -> None:
    key = f"branching-{engine_name}"
    done = exports.result(key)
    assert (done.returncode, done.stdout) == (1, "")
    reason = done.stderr[done.stderr.index("export failed: ") :]
    told = {
        "aoti": "be exported for aoti (", "onnx": "be exported for onnx (",
        "standalone": "run without libtorch: without it, it does not compile (",
    }[engine_name]  # fmt: skip
    assert reason.startswith(f"export failed: branching cannot {told}")
    assert len(reason.splitlines()) <= 14
    assert "Traceback" not in done.stderr
    assert _entries(exports.path(key)) == set()
    assert _entries(exports.path(key).parent) == {"artifact"}


def test_bf16_replaces_the_old_artifact(exports: Exports) -> None:
    artifact = Artifact.read(exports.artifact("bf16"))
    artifact.verify()
    assert (artifact.precision, artifact.tolerance, artifact.outputs[0].datatype) == ("bf16", 0.1, "FP32")
    # The last bits are gone, so that these are other numbers than those of fp32.
    assert 1e-5 < max(artifact.evidence["parity"]["largest_difference"].values()) <= 0.1
    assert _entries(artifact.path.parent) == {"artifact"}
    done = exports.result("bf16")
    assert f"note: {cpus.resolve().name} here has no bfloat16 instructions" in done.stderr


def test_auto_keeps_the_better_engine_with_the_evidence(exports: Exports) -> None:
    artifact = Artifact.read(exports.artifact("auto"))
    artifact.verify()
    measured = artifact.evidence["measured"]
    assert measured.keys() == {"aoti", "onnx"}
    best = {engine: max(row["items_per_s"] for row in rows) for engine, rows in measured.items()}
    simplest = {engine: rows[0]["items_per_s"] for engine, rows in measured.items()}
    kept, other = artifact.engine, ({"aoti", "onnx"} - {artifact.engine}).pop()
    assert best[kept] >= simplest[other]
    assert re.fullmatch(
        rf"\d+ items/s against \d+ of {other}, loaded in \d+ against \d+ ms", artifact.evidence["engine"]
    )
    assert _entries(artifact.path) == artifact.files.keys() | {"artifact.json"}
    assert artifact.evidence["engine"] in exports.result("auto").stdout


def test_a_kernel_of_libtorch_is_told_by_its_name(exports: Exports) -> None:
    """A model that needs one runs with libtorch, and export says why."""
    artifact = Artifact.read(exports.artifact("kernels-auto"))
    artifact.verify()
    why = "it needs libtorch: it calls functions that only libtorch has: aoti_torch_cpu_sort_stable"
    assert (artifact.runtime, artifact.evidence["runtime"], artifact.evidence["runtimes"]) == ("libtorch", why, {})
    assert f"  runtime  libtorch: {why}\n" in exports.result("kernels-auto").stdout
    assert _entries(artifact.path) == {"model-b1-t1.so", "artifact.json", "self-test.input", "self-test.output"}


def test_without_libtorch_a_kernel_of_it_is_refused(exports: Exports) -> None:
    done = exports.result("kernels-standalone")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "export failed: sorting cannot run without libtorch: "
        "it calls functions that only libtorch has: aoti_torch_cpu_sort_stable\n"
    )
    assert _entries(exports.path("kernels-standalone")) == set()
    assert _entries(exports.path("kernels-standalone").parent) == {"artifact"}


def test_the_better_runtime_is_kept_with_the_evidence(exports: Exports) -> None:
    artifact = Artifact.read(exports.artifact("tiny-auto"))
    artifact.verify()
    measured = artifact.evidence["runtimes"]
    assert measured.keys() == {"standalone", "libtorch"}
    # A run takes far less than what counts, and nothing is missing.
    assert artifact.runtime == "standalone"
    assert re.fullmatch(
        r"needs no libtorch: \S+ ms of CPU an item, loaded in \d+ ms, \d+ MB; "
        r"with it \S+ ms of CPU an item, loaded in \d+ ms, \d+ MB",
        artifact.evidence["runtime"],
    )
    assert measured["standalone"]["rss_mb"] < measured["libtorch"]["rss_mb"]
    assert _entries(artifact.path) == artifact.files.keys() | {"artifact.json"}
    assert _entries(artifact.path.parent) == {"artifact"}


def test_torchvision_models_bring_their_transforms_and_categories(exports: Exports) -> None:
    artifact = Artifact.read(exports.artifact("torchvision"))
    assert (artifact.name, len(artifact.labels), artifact.labels[281]) == ("mobilenet_v3_small", 1000, "tabby")
    assert artifact.image is not None
    assert artifact.image == ImageSpec(height=224, width=224, resize_shorter=256, interpolation="bilinear")
    assert artifact.inputs[0].shape == (224, 224, 3)


def test_show_prints_what_an_artifact_is(tiny: Path, engine_name: str) -> None:
    done = model_command("show", str(tiny))
    assert (done.returncode, done.stderr) == (0, "")
    artifact = Artifact.read(tiny)
    for line in (
        f"tiny: {artifact.engine} fp32 in {tiny} (",
        f"  digest   {artifact.digest}",
        "  input    image UINT8 [N, 16, 16, 3]",
        "  output   probabilities FP32 [N, 6]",
        "  labels   6",
        "  picture  shorter side 20 bicubic, centre 16x16, RGB",
        f"  engine   asked for by --engine {artifact.engine}",
    ):
        assert any(each.startswith(line) for each in done.stdout.splitlines()), line
    runtimes = [each for each in done.stdout.splitlines() if each.startswith("  runtime  ")]
    told = f"  runtime  {artifact.runtime}: asked for by --runtime {artifact.runtime}"
    assert runtimes == ([] if engine_name == "onnx" else [told])


def test_show_of_no_artifact_fails(tmp_path: Path) -> None:
    done = model_command("show", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"no artifact in {tmp_path}: `python -m model export NAME --output {tmp_path}`\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("resnet50",), "no model 'resnet50': wanted efficientnet_lite0, torchvision:NAME or path/to/file.py:function"),
        (("torchvision:resnet49", "--weights", "none"), "torchvision has no classifier 'resnet49': "),
        (("no/file.py:model",), "there is no file no/file.py"),
        (("tests/support/models.py:gone",), "tests/support/models.py has no function 'gone'"),
        (("tests/support/models.py:LABELS",), "tests/support/models.py has no function 'LABELS'"),
        (
            ("tests/support/models.py:nothing",),
            "tests/support/models.py:nothing returned int, wanted model.catalog.Model",
        ),
        (
            ("tests/support/models.py:tiny", "--weights", "no.pt"),
            "the weights no.pt cannot be read: FileNotFoundError: ",
        ),
        (("tests/support/models.py:with_scalar",), "output 'output_1' is a scalar: "),
        (("tests/support/models.py:centred",), "output 'output' of an item depends on the other items of its batch: "),
        (
            ("tests/support/models.py:tiny", "--precision", "bf16", "--engine", "onnx"),
            "--precision bf16 needs --engine aoti: ",
        ),
        (
            ("tests/support/models.py:tiny", "--runtime", "standalone", "--engine", "onnx"),
            "--runtime standalone needs --engine aoti: ",
        ),
        (
            ("tests/support/models.py:tiny", "--precision", "bf16", "--engine", "auto"),
            "--precision bf16 needs --engine aoti: ",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    told = _fails_at_once(monkeypatch, capsys, *arguments, "--output", str(tmp_path / "new"))
    assert told.startswith(f"export failed: {reason}")
    assert _entries(tmp_path) == set()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import timmm", "{file} cannot be imported: ModuleNotFoundError: No module named 'timmm' ({file}, line 1)"),
        ("def net(:", "{file} cannot be imported: SyntaxError: invalid syntax (net.py, line 1)"),
        ("def net():\n    return {{}}['a']", "{file}:net failed: KeyError: 'a' ({file}, line 2)"),
        (
            "def net(size):\n    return size",
            "{file}:net failed: TypeError: net() missing 1 required positional argument: ",
        ),
    ],
)
def test_a_file_of_ones_own_that_fails_is_told_with_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, code: str, reason: str
) -> None:
    file = tmp_path / "net.py"
    file.write_text(code.format())
    told = _fails_at_once(monkeypatch, capsys, f"{file}:net", "--output", str(tmp_path / "new"))
    assert told.startswith(f"export failed: {reason.format(file=file)}")
    assert len(told.splitlines()) == 1


def test_bfloat16_that_is_only_converted_suits_onnx(exports: Exports) -> None:
    artifact = Artifact.read(exports.artifact("converting"))
    assert [each.datatype for each in (*artifact.inputs, *artifact.outputs)] == ["BF16", "FP32", "BF16"]
    numbers = torch.tensor([-1.5, 0.0, float("inf")], dtype=torch.bfloat16)
    model = loading.load(artifact, Plan(runners=1, threads=1, max_batch_size=1))
    ((single, half),) = model.run([(parity.raw(numbers),)])
    model.close()
    assert single == parity.raw(numbers.float() * 2)
    assert half == parity.raw((numbers.float() * 2).to(torch.bfloat16))


def test_arithmetic_in_bfloat16_is_refused_for_onnx(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("tests/support/models.py:types_aoti", "--engine", "onnx", "--output", str(tmp_path / "new"))
    told = _fails_at_once(monkeypatch, capsys, *arguments)
    assert told.startswith("export failed: types cannot be exported for onnx (NotImplemented):\n")
    assert "Could not find an implementation for Mul" in told
    assert _entries(tmp_path) == set()


def test_a_place_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    told = _fails_at_once(
        monkeypatch, capsys, "tests/support/models.py:tiny", "--output", str(tmp_path / "file" / "new")
    )
    assert told.startswith("export failed: [Errno ")


def test_a_folder_that_is_no_artifact_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    told = _fails_at_once(monkeypatch, capsys, "tests/support/models.py:tiny", "--output", str(tmp_path))
    assert told == f"export failed: {tmp_path} exists and is not an artifact: it is left as it is\n"
    assert _entries(tmp_path) == {"thesis.txt"}
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "flags",
    [
        ("--batch-sizes", "0"),
        ("--threads", "1,x"),
        ("--engine", "tensorrt"),
        ("--runtime", "torch"),
        ("--tolerance", "x"),
        ("--tolerance", "0"),
        ("--tolerance", "-1"),
        ("--tolerance", "nan"),
    ],
)
def test_malformed_options_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: tuple[str, str]
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["model", "export", "tests/support/models.py:gone", "--output", str(tmp_path / "new"), *flags]
    )
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert f"argument {flags[0]}: " in capsys.readouterr().err


def test_weights_of_a_file_are_those_of_the_model(tmp_path: Path) -> None:
    other = {name: torch.zeros_like(weights) for name, weights in tiny_module().state_dict().items()}
    torch.save(other, tmp_path / "weights.pt")
    module = catalog.load("tests/support/models.py:tiny", str(tmp_path / "weights.pt")).module
    answer = module(torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8))
    assert answer.tolist() == [pytest.approx([1 / 6] * 6)] * 2


class _Bomb:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


def test_weights_never_run_code(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(pickle.dumps({"a": _Bomb(tmp_path / "ran")}, protocol=2))
    with pytest.raises(CatalogError, match="cannot be read: it holds "):
        catalog.load("tests/support/models.py:tiny", str(tmp_path / "weights.pt"))
    assert _entries(tmp_path) == {"weights.pt"}


def test_a_difference_that_is_not_a_number_is_infinite() -> None:
    one, nan = torch.tensor([1.0]), torch.tensor([float("nan")])
    assert parity.difference(nan, one) == parity.difference(one, nan) == float("inf")
    assert parity.difference(torch.tensor([3.0]), one) == 1.0
    assert parity.difference(torch.zeros(0), torch.zeros(0)) == 0.0


@pytest.mark.parametrize("engine_name", ["aoti", "onnx"], indirect=True)
def test_the_self_test_is_eager_pytorchs_answer_to_a_real_picture(tiny: Path) -> None:
    artifact = Artifact.read(tiny)
    (picture,), (answer,) = artifact.read_self_test()
    pixels = torch.frombuffer(bytearray(picture), dtype=torch.uint8).reshape(1, 16, 16, 3)
    with torch.no_grad():
        wanted = tiny_module()(pixels)
    assert torch.frombuffer(bytearray(answer), dtype=torch.float32).tolist() == wanted[0].tolist()
    assert len(set(picture)) > 50
    assert json.loads((tiny / "artifact.json").read_text())["format"] == 1
