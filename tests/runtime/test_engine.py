import dataclasses
import json
import os
import random
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from model.artifact import Artifact, ArtifactError, CpuSpec, TensorSpec
from model.parity import raw
from service.errors import EngineError
from service.protocol.tensor import Item
from service.runtime import cpu
from service.runtime.engine import loading
from service.runtime.engine.interface import Engine, Plan
from tests.support import eager
from tests.support.models import SIDE

PLAN = Plan(runners=2, threads=1, max_batch_size=4)
RUNS = 100


@pytest.fixture
def loaded(tiny: Path) -> Iterator[Engine]:
    model = loading.load(Artifact.read(tiny), PLAN)
    yield model
    model.close()


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Artifact:
    """An artifact that a test may damage."""
    return Artifact.read(shutil.copytree(tiny, tmp_path / "copy"))


def _pictures(count: int, seed: int = 0) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(SIDE * SIDE * 3) for _ in range(count)]


def _scores(results: list[Item]) -> list[list[float]]:
    return [torch.frombuffer(bytearray(scores), dtype=torch.float32).tolist() for (scores,) in results]


def _of(pictures: list[bytes]) -> list[Item]:
    return [(each,) for each in pictures]


def test_every_batch_size_gives_eager_pytorchs_answers(loaded: Engine, engine_name: str) -> None:
    assert loaded.batch_sizes == ((1, 2, 3, 4) if engine_name == "onnx" else (1, 4))
    for size in loaded.batch_sizes:
        pictures = _pictures(size, seed=size)
        results = loaded.run(_of(pictures))
        assert len(results) == size
        for got, wanted in zip(_scores(results), eager.probabilities(pictures), strict=True):
            assert got == pytest.approx(wanted, abs=1e-5)


def test_a_smaller_largest_batch_is_respected(tiny: Path) -> None:
    model = loading.load(Artifact.read(tiny), Plan(1, 1, max_batch_size=1))
    assert model.batch_sizes == (1,)
    model.close()


def test_items_may_be_views_of_a_request_body(loaded: Engine) -> None:
    pictures = _pictures(4)
    view, size = memoryview(b"".join(pictures)), len(pictures[0])
    views: list[Item] = [(view[start : start + size],) for start in range(0, len(view), size)]
    assert loaded.run(views) == loaded.run(_of(pictures))


def test_runners_at_the_same_time_give_each_its_own_answers(loaded: Engine) -> None:
    batches = [_pictures(4, seed) for seed in range(PLAN.runners)]
    wanted = [loaded.run(_of(batch)) for batch in batches]
    assert wanted[0] != wanted[1]
    together = threading.Barrier(PLAN.runners, timeout=30)

    def run(index: int) -> list[list[Item]]:
        together.wait()
        return [loaded.run(_of(batches[index])) for _ in range(RUNS)]

    with ThreadPoolExecutor(PLAN.runners) as pool:
        for got, right in zip(pool.map(run, range(PLAN.runners)), wanted, strict=True):
            assert all(each == right for each in got)


def test_the_outputs_belong_to_the_caller(tiny: Path) -> None:
    model = loading.load(Artifact.read(tiny), PLAN)
    first = _pictures(1)
    ((scores,),) = model.run(_of(first))
    assert type(scores) is bytes
    for seed in range(20):
        model.run(_of(_pictures(1, seed + 1)))
    model.close()
    assert _scores([(scores,)])[0] == pytest.approx(eager.probabilities(first)[0], abs=1e-5)


def test_close_may_be_called_twice(tiny: Path) -> None:
    model = loading.load(Artifact.read(tiny), PLAN)
    model.close()
    model.close()


def test_two_engines_of_one_artifact_live_side_by_side(tiny: Path, loaded: Engine) -> None:
    other = loading.load(Artifact.read(tiny), PLAN)
    pictures = _of(_pictures(4))
    answers = other.run(pictures)
    other.close()
    assert loaded.run(pictures) == answers


def _values(spec: TensorSpec, seed: int) -> torch.Tensor:
    """[1, 3] of the whole range of the datatype; an item for each seed."""
    source = random.Random(f"{spec.datatype}{seed}")
    dtype = getattr(torch, spec.name)
    if spec.datatype == "BOOL":
        return torch.tensor([[bool(source.getrandbits(1)) for _ in range(3)]])
    if dtype.is_floating_point:
        return torch.tensor([[source.choice((-1, 1)) * source.random() * 10**4, -0.0, float("inf")]]).to(dtype)
    limits = torch.iinfo(dtype)
    return torch.tensor([[limits.min, source.randrange(limits.min, limits.max), limits.max - 1]], dtype=dtype)


def test_every_datatype_of_several_inputs_and_outputs(types: Path, engine_name: str) -> None:
    artifact = Artifact.read(types)
    datatypes = {
        "BOOL",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "FP16",
        "FP32",
        "FP64",
    }
    assert {spec.datatype for spec in artifact.inputs} == datatypes | (set() if engine_name == "onnx" else {"BF16"})
    model = loading.load(artifact, PLAN)
    for size in model.batch_sizes:
        items = [[_values(spec, seed) for spec in artifact.inputs] for seed in range(size)]
        results = model.run([tuple(raw(each) for each in item) for item in items])
        for item, got in zip(items, results, strict=True):
            wanted = eager.types_raw(item)
            for spec, mine, right in zip(artifact.outputs, got, wanted, strict=True):
                assert mine == right, f"{spec.name} of a batch of {size}"
    model.close()


def test_a_changed_file_is_not_loaded(copy: Artifact) -> None:
    file = copy.path / copy.programs[0].file
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ArtifactError) as fault:
        loading.load(copy, PLAN)
    assert str(fault.value) == f"{file} is not the file that was exported (digest differs): not loaded"


def test_a_missing_file_is_named(copy: Artifact) -> None:
    file = copy.path / copy.programs[0].file
    file.unlink()
    with pytest.raises(ArtifactError) as fault:
        loading.load(copy, PLAN)
    assert str(fault.value) == f"{file} is missing: export the artifact again"


def test_a_program_that_cannot_be_loaded_is_named(copy: Artifact) -> None:
    for program in copy.programs:
        (copy.path / program.file).write_bytes(b"neither a library nor a graph")
    copy.write()
    with pytest.raises(ArtifactError, match=rf"^{copy.path}/model\S+ cannot be loaded"):
        loading.load(Artifact.read(copy.path), PLAN)


def test_a_cpu_that_lacks_something_is_told_before_anything_is_loaded(copy: Artifact) -> None:
    here = min(cpu.flags())
    needy = dataclasses.replace(copy, cpu=CpuSpec("native", (here, "sse99"), "AVX2", os.uname().machine))
    with pytest.raises(ArtifactError) as fault:
        loading.load(needy, PLAN)
    assert str(fault.value) == (
        "tiny is compiled for native, and this CPU lacks sse99: "
        "export it on this machine, or for every CPU with --engine onnx"
    )


def test_a_machine_of_another_kind_is_told_before_anything_is_loaded(copy: Artifact) -> None:
    machine = os.uname().machine
    other, name = {"x86_64": ("aarch64", "armv8.2-a"), "aarch64": ("x86_64", "x86-64-v3")}[machine]
    foreign = dataclasses.replace(copy, cpu=CpuSpec(name, ("fp", "avx2"), "", other))
    with pytest.raises(ArtifactError) as fault:
        loading.load(foreign, PLAN)
    assert str(fault.value) == (
        f"tiny is compiled for {name} of {other}, and this machine is {machine}: "
        "export it on this machine, or for every CPU with --engine onnx"
    )


@pytest.mark.parametrize("engine_name", ["aoti", "standalone"], indirect=True)
def test_outputs_unlike_the_artifacts_are_told(tiny: Path) -> None:
    artifact = Artifact.read(tiny)
    (output,) = artifact.outputs
    longer = dataclasses.replace(artifact, outputs=(dataclasses.replace(output, shape=(7,)),))
    model = loading.load(longer, PLAN)
    with pytest.raises(EngineError) as fault:
        model.run(_of(_pictures(1)))
    assert str(fault.value) == "output probabilities is not what the artifact says"
    model.close()
    with pytest.raises(ArtifactError, match=r"has 1 inputs and 1 outputs, not \(1, 2\)$"):
        loading.load(dataclasses.replace(artifact, outputs=(output, output)), PLAN)


def test_a_failing_graph_is_an_engine_error(tiny_onnx: Path) -> None:
    artifact = Artifact.read(tiny_onnx)
    (picture,) = artifact.inputs
    smaller = dataclasses.replace(artifact, inputs=(dataclasses.replace(picture, shape=(8, 8, 3)),))
    model = loading.load(smaller, PLAN)
    with pytest.raises(EngineError):
        model.run([(bytes(8 * 8 * 3),)])
    model.close()


def test_threads_that_nothing_was_compiled_for_are_refused_by_aoti(tiny_aoti: Path) -> None:
    with pytest.raises(ArtifactError) as fault:
        loading.load(Artifact.read(tiny_aoti), Plan(runners=1, threads=3, max_batch_size=1))
    assert str(fault.value) == (
        "tiny is compiled for runs of 1 threads, not 3: leave RUN_THREADS unset, or export with --threads"
    )


def test_any_number_of_threads_suits_onnx(tiny_onnx: Path) -> None:
    model = loading.load(Artifact.read(tiny_onnx), Plan(runners=1, threads=2, max_batch_size=1))
    pictures = _pictures(1)
    assert _scores(model.run(_of(pictures)))[0] == pytest.approx(eager.probabilities(pictures)[0], abs=1e-5)
    model.close()


def test_a_missing_libtorch_is_told_with_its_folder(tiny_aoti: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"^libtorch cannot be loaded from {tmp_path}: .*libc10.so"):
        loading.load(Artifact.read(tiny_aoti), Plan(1, 1, 1, libtorch_dir=tmp_path))


def test_an_artifact_of_before_runs_with_libtorch(tiny_aoti: Path, tmp_path: Path) -> None:
    """Its artifact.json does not say where its functions are."""
    old = shutil.copytree(tiny_aoti, tmp_path / "old")
    raw = json.loads((old / "artifact.json").read_text())
    del raw["runtime"], raw["evidence"]["runtime"], raw["evidence"]["runtimes"]
    (old / "artifact.json").write_text(json.dumps(raw))
    pictures = _pictures(1)
    model = loading.load(Artifact.read(old), PLAN)
    assert _scores(model.run(_of(pictures)))[0] == pytest.approx(eager.probabilities(pictures)[0], abs=1e-5)
    model.close()
