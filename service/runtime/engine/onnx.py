"""ONNX Runtime: the graph that torch.onnx exported, optimised at export."""

from collections.abc import Sequence

import numpy
import onnxruntime

from model.artifact import Artifact, ArtifactError
from service.errors import EngineError
from service.protocol.tensor import Item
from service.runtime.engine.interface import Plan

DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
"""Open Inference Protocol datatype -> numpy's; ONNX Runtime's Python interface has no BF16."""


class OnnxEngine:
    """One session; its runs are concurrent, each on `threads` threads."""

    def __init__(self, artifact: Artifact, how: Plan) -> None:
        self._inputs = artifact.inputs
        self.batch_sizes = tuple(range(1, how.max_batch_size + 1))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = how.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait take cores from threads that work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Export made the optimisations for all CPUs. Only the layout for this CPU is left: 15 ms a run instead of 26.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        path = artifact.path / artifact.programs[0].file
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as fault:
            raise ArtifactError(f"{path} cannot be loaded: {fault}") from None
        # Matched by order, because their names in the graph differ from those in the artifact.
        self._names = [each.name for each in self._session.get_inputs()]
        counts = (len(self._names), len(self._session.get_outputs()))
        wanted = (len(artifact.inputs), len(artifact.outputs))
        if counts != wanted:
            raise ArtifactError(f"{path} has {counts[0]} inputs and {counts[1]} outputs, not {wanted}")

    def run(self, items: Sequence[Item]) -> list[Item]:
        feeds = {
            name: numpy.frombuffer(b"".join(parts), DTYPES[spec.datatype]).reshape(len(items), *spec.shape)
            for name, spec, parts in zip(self._names, self._inputs, zip(*items, strict=True), strict=True)
        }
        try:
            results = self._session.run(None, feeds)
        except Exception as fault:
            raise EngineError(str(fault)) from fault
        return [tuple(result[index].tobytes() for result in results) for index in range(len(items))]

    def close(self) -> None:
        self._session = None
