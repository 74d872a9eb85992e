"""Small ONNX graphs as artifacts, and a count of what is made and released through the C ABI."""

import struct
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import helper

from model.artifact import Artifact, CpuSpec, Defaults, Program, TensorSpec
from service.runtime.engine import onnx_abi


def graph_artifact(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    datatype: str = "FP32",
) -> Artifact:
    """An artifact of this graph, of which every input and output has one datatype."""

    def infos(specs: dict[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
        number = onnx_abi.DTYPES[datatype]
        return [helper.make_tensor_value_info(name, number, ("batch", *shape)) for name, shape in specs.items()]

    graph = helper.make_graph(nodes, "graph", infos(inputs), infos(outputs))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    made = Artifact(
        name="graph", engine="onnx", precision="fp32",
        inputs=tuple(TensorSpec(name, datatype, shape) for name, shape in inputs.items()),
        outputs=tuple(TensorSpec(name, datatype, shape) for name, shape in outputs.items()),
        programs=(Program("model.onnx", 0, 0),), defaults=Defaults(1, 1), cpu=CpuSpec("any"),
        versions={"onnxruntime": metadata.version("onnxruntime")}, path=folder,
    )  # fmt: skip
    made.write()
    return Artifact.read(folder)


def floats(*numbers: float) -> bytes:
    return struct.pack(f"{len(numbers)}f", *numbers)


def doubling(folder: Path) -> Artifact:
    """FP32 [N, 2] in, twice that out; with a self-test."""
    made = graph_artifact(folder, [helper.make_node("Add", ["x", "x"], ["y"])], {"x": (2,)}, {"y": (2,)})
    (folder / "self-test.input").write_bytes(floats(1, 2))
    (folder / "self-test.output").write_bytes(floats(2, 4))
    made.write()
    return Artifact.read(folder)


MAKERS = {
    "CreateTensorWithDataAsOrtValue": "value", "CreateSession": "session", "CreateEnv": "env",
    "CreateSessionOptions": "options", "CreateRunOptions": "run options", "CreateCpuMemoryInfo": "memory",
}  # fmt: skip
RELEASERS = {
    "ReleaseValue": "value", "ReleaseSession": "session", "ReleaseEnv": "env", "ReleaseSessionOptions": "options",
    "ReleaseRunOptions": "run options", "ReleaseMemoryInfo": "memory", "ReleaseStatus": "status",
}  # fmt: skip


class Counted:
    """Every value, status, session, environment and description of memory that is made and released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive: list[tuple[str, int]] = []
        bind = onnx_abi.bind
        monkeypatch.setattr(onnx_abi, "bind", lambda table: SimpleNamespace(**self._watched(vars(bind(table)))))

    def _watched(self, functions: dict[str, Any]) -> dict[str, Any]:
        return {name: self._watch(name, function) for name, function in functions.items()}

    def _watch(self, name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if name in RELEASERS:
                number = getattr(arguments[0], "value", arguments[0])
                if number:
                    self.alive.remove((RELEASERS[name], number))
                return function(*arguments)
            status = function(*arguments)
            if name not in ("GetErrorMessage", "AllocatorFree") and status:
                self.alive.append(("status", status))
            elif name in MAKERS:
                self.alive.append((MAKERS[name], arguments[-1]._obj.value))
            elif name == "Run":
                self.alive += [("value", value) for value in arguments[-1]]
            return status

        return call
