"""What the onnx engine answers through the C ABI of ONNX Runtime, and who owns what."""

import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import helper

from model.artifact import ITEM_BYTES, Artifact, ArtifactError
from service.errors import EngineError
from service.runtime.engine import onnx_abi
from service.runtime.engine.interface import Plan
from service.runtime.engine.onnx import LONE_ITEMS, OnnxEngine, open_library
from tests.support import graphs
from tests.support.graphs import Counted, floats, graph_artifact

PLAN = Plan(runners=2, threads=1, max_batch_size=4)
# The flag by which ctypes marks functions that keep the GIL.
KEEPS_GIL = 4


def _resident_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


@pytest.fixture
def doubling(tmp_path: Path) -> Artifact:
    return graphs.doubling(tmp_path)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_everything_made_is_released_once(doubling: Artifact, counted: Counted) -> None:
    model = OnnxEngine(doubling, PLAN)
    assert sorted(kind for kind, _ in counted.alive) == ["env", "memory", "run options", "session"]
    for size in model.batch_sizes:
        assert model.run([(floats(size, 3),)] * size) == [(floats(2 * size, 6),)] * size
    assert sorted(kind for kind, _ in counted.alive) == ["env", "memory", "run options", "session"]
    model.close()
    assert counted.alive == []
    model.close()


def test_nothing_is_a_no_op_to_release(doubling: Artifact) -> None:
    library = open_library(doubling, PLAN)
    for name, function in vars(library.call).items():
        if name.startswith("Release"):
            function(None)
    library.close()
    library.close()


def test_an_environment_outlives_each_library_but_the_last(doubling: Artifact) -> None:
    first, model = open_library(doubling, PLAN), OnnxEngine(doubling, PLAN)
    assert first.env.value == open_library(doubling, PLAN).env.value
    first.close()
    assert model.run([(floats(1, 2),)]) == [(floats(2, 4),)]
    model.close()


def test_runs_release_the_gil_and_what_is_short_keeps_it(doubling: Artifact) -> None:
    library = open_library(doubling, PLAN)
    keeping = {name for name, each in vars(library.call).items() if type(each)._flags_ & KEEPS_GIL}
    assert vars(library.call).keys() - keeping == {"CreateEnv", "CreateSession", "Run"}
    library.close()


def test_more_threads_than_runners_get_their_own_answers(doubling: Artifact) -> None:
    model = OnnxEngine(doubling, PLAN)
    together = threading.Barrier(8, timeout=30)

    def run(number: int) -> set[tuple[object, ...]]:
        together.wait()
        return {each for _ in range(200) for each in model.run([(floats(number, -number),)] * 3)}

    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(run, range(8))):
            assert found == {(floats(2 * number, -2 * number),)}
    model.close()


@pytest.mark.parametrize("datatype", onnx_abi.DTYPES)
def test_every_datatype_passes_unchanged(datatype: str, tmp_path: Path) -> None:
    shape: dict[str, tuple[int, ...]] = {"x": (2, 3)}
    node = helper.make_node("Identity", ["x"], ["y"])
    model = OnnxEngine(graph_artifact(tmp_path, [node], shape, {"y": (2, 3)}, datatype), PLAN)
    size = ITEM_BYTES[datatype] * 6
    items = [(bytes(each % 2 for each in range(start, start + size)),) for start in range(3)]
    assert model.run(items) == items
    model.close()


def test_the_datatypes_are_those_of_angraph_artifact() -> None:
    assert onnx_abi.DTYPES.keys() == ITEM_BYTES.keys()


def test_a_tensor_in_several_outputs_and_an_input_among_them(tmp_path: Path, counted: Counted) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Identity", ["y"], ["again"]),
        helper.make_node("Constant", [], ["halves"], value_ints=[-1, 2, 1]),
        helper.make_node("Reshape", ["y", "halves"], ["view"]),
    ]
    outputs: dict[str, tuple[int, ...]] = {"y": (2,), "again": (2,), "view": (2, 1), "x": (2,)}
    model = OnnxEngine(graph_artifact(tmp_path, nodes, {"x": (2,)}, outputs), PLAN)
    given, positive = floats(-1, 2), floats(0, 2)
    assert model.run([(given,)] * 2) == [(positive, positive, positive, given)] * 2
    model.close()
    assert counted.alive == []


def test_a_run_never_writes_to_what_it_was_given(tmp_path: Path) -> None:
    """A lone item is not even copied: the graph reads the caller's bytes."""
    nodes = [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Abs", ["n"], ["y"])]
    model = OnnxEngine(graph_artifact(tmp_path, nodes, {"x": (2,)}, {"y": (2,)}), PLAN)
    given = floats(-1, 2)
    before = bytes(bytearray(given))
    assert model.run([(given,)]) == [(floats(1, 2),)]
    assert given == before
    model.close()


@pytest.mark.parametrize(("shape", "item"), [((), floats(3)), ((0, 4), b""), ((1, 1, 1, 1, 1), floats(5))])
def test_items_of_any_shape(shape: tuple[int, ...], item: bytes, tmp_path: Path) -> None:
    node = helper.make_node("Neg", ["x"], ["y"])
    model = OnnxEngine(graph_artifact(tmp_path, [node], {"x": shape}, {"y": shape}), PLAN)
    negated = floats(*(-number for number in struct.unpack(f"{len(item) // 4}f", item)))
    assert model.run([(item,)] * 3) == [(negated,)] * 3
    model.close()


def test_a_failing_run_says_why_and_leaves_nothing_behind(tmp_path: Path, counted: Counted) -> None:
    nodes = [
        helper.make_node("Constant", [], ["table"], value_ints=[7, 8, 9]),
        helper.make_node("Gather", ["table", "x"], ["y"]),
    ]
    model = OnnxEngine(graph_artifact(tmp_path, nodes, {"x": ()}, {"y": ()}, "INT64"), PLAN)
    before = list(counted.alive)
    with pytest.raises(EngineError, match=r"indices element out of data bounds, idx=3 must be within .*\[-3,2\]"):
        model.run([(struct.pack("q", 3),)])
    assert counted.alive == before
    assert model.run([(struct.pack("q", 2),)]) == [(struct.pack("q", 9),)]
    model.close()
    assert counted.alive == []


def test_inputs_and_outputs_unlike_the_artifacts_are_told(doubling: Artifact, counted: Counted) -> None:
    ((given,), (output,)) = doubling.inputs, doubling.outputs
    model = OnnxEngine(replace(doubling, outputs=(replace(output, shape=(3,)),)), PLAN)
    with pytest.raises(EngineError, match=r"^output y is not what the artifact says$"):
        model.run([(floats(1, 2),)])
    model.close()
    model = OnnxEngine(replace(doubling, inputs=(replace(given, datatype="INT32"),)), PLAN)
    with pytest.raises(EngineError, match=r"^Unexpected input data type\. Actual: \(tensor\(int32\)\)"):
        model.run([(floats(1, 2),)])
    model.close()
    with pytest.raises(ArtifactError, match=r"model\.onnx has 1 inputs and 1 outputs, not \(1, 2\)$"):
        OnnxEngine(replace(doubling, outputs=(output, output)), PLAN)
    assert counted.alive == []


def test_a_graph_that_does_not_load_leaves_nothing_behind(doubling: Artifact, counted: Counted) -> None:
    (doubling.path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be loaded: .*Protobuf parsing failed"):
        OnnxEngine(doubling, PLAN)
    assert counted.alive == []


def test_a_large_batchs_memory_is_given_back_after_some_lone_items(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["wide"], value_ints=[1, 2**20]),
        helper.make_node("Constant", [], ["columns"], value_ints=[1]),
        helper.make_node("Expand", ["x", "wide"], ["expanded"]),
        helper.make_node("Exp", ["expanded"], ["exps"]),
        helper.make_node("ReduceMax", ["exps", "columns"], ["y"]),
    ]
    model = OnnxEngine(graph_artifact(tmp_path, nodes, {"x": (1,)}, {"y": (1,)}), replace(PLAN, max_batch_size=32))
    item, one = (floats(0),), (floats(1),)
    assert model.run([item]) == [one]
    before = _resident_mb()
    for _ in range(2):
        assert model.run([item] * 32) == [one] * 32
        for lone in range(LONE_ITEMS):
            assert _resident_mb() - before > 100, f"given back after {lone} lone items"
            assert model.run([item]) == [one]
        assert _resident_mb() - before < 20
    model.close()
