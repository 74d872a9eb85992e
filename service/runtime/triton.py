"""What Triton's extensions tell of a server: model configuration, statistics, model repository.

As the JSON of their protobuf messages, which gRPC makes these messages of. Documents and field names:
https://github.com/triton-inference-server/server/tree/main/docs/protocol, and model_config.proto in its `common`.
"""

from typing import Any

from model.artifact import Artifact, TensorSpec
from service.errors import NotReady
from service.protocol.v2 import MODEL_VERSION, PLATFORMS
from service.runtime.runtime import Runtime
from service.settings import Settings
from service.telemetry import Duration, Inferences, Requests

BACKENDS = {"aoti": "pytorch", "onnx": "onnxruntime"}
COMPUTE = {"compute_input": "decode", "compute_infer": "run", "compute_output": "encode"}
"""Triton's names for the phases of a request that are not its queue."""

Json = dict[str, Any]


def configuration(runtime: Runtime, settings: Settings) -> Json:
    """A ModelConfig, once the model is ready: how it is served follows from the artifact, the settings and the CPUs.

    Raises:
        NotReady: it is not ready within the request timeout, or cannot be.
    """
    runtime.wait_until_ready(settings.request_timeout_ms / 1e3)
    artifact, plan = runtime.artifact, runtime.plan
    told = {
        "engine": artifact.engine,
        "precision": artifact.precision,
        "digest": artifact.digest,
        "run_threads": str(plan.threads),
        "max_run_items": str(runtime.batch_sizes[-1]),
    }
    return {
        "name": artifact.name,
        "platform": PLATFORMS[artifact.engine],
        "backend": BACKENDS[artifact.engine],
        "version_policy": {"specific": {"versions": [int(MODEL_VERSION)]}},
        # What a request may have. Runs are of the preferred sizes; a larger request becomes several runs.
        "max_batch_size": settings.max_request_items,
        "input": [_input(each, artifact) for each in artifact.inputs],
        "output": [_tensor(each) for each in artifact.outputs],
        "instance_group": [{"name": f"{artifact.name}_0", "kind": "KIND_CPU", "count": plan.runners}],
        "dynamic_batching": _batching(runtime, settings),
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
        "parameters": {name: {"string_value": value} for name, value in told.items()},
    }


def statistics(runtime: Runtime, requests: Requests) -> Json:
    """A ModelStatisticsResponse: what the model has answered since this process began."""
    runs = sorted(runtime.durations.items())
    with requests.lock:
        found = requests.inferences
        told = {
            "name": runtime.artifact.name,
            "version": MODEL_VERSION,
            "last_inference": round(found.last_unix_s * 1e3),
            "inference_count": found.items,
            "execution_count": sum(each.count for _, each in runs),
            "inference_stats": _requests(found),
            "batch_stats": [_runs(size, each) for size, each in runs],
        }
    return {"model_stats": [told]}


def index(runtime: Runtime, *, only_ready: bool) -> list[Json]:
    """A RepositoryIndexResponse's models: the one that there is, or none, if only those that are ready are wanted."""
    try:
        runtime.wait_until_ready(timeout_s=0)
        state, reason = "READY", ""
    except NotReady as fault:
        state, reason = ("UNAVAILABLE", str(fault)) if runtime.fault else ("LOADING", "")
    if only_ready and state != "READY":
        return []
    return [{"name": runtime.artifact.name, "version": MODEL_VERSION, "state": state, "reason": reason}]


def _input(spec: TensorSpec, artifact: Artifact) -> Json:
    is_picture = artifact.image is not None and spec is artifact.inputs[0]
    return {**_tensor(spec), "format": "FORMAT_NHWC" if is_picture else "FORMAT_NONE", "optional": False}


def _tensor(spec: TensorSpec) -> Json:
    told: Json = {"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": list(spec.shape)}
    # Triton has no tensor without dimensions: there, too, an item that is one number is written like this.
    return told if spec.shape else {**told, "dims": [1], "reshape": {"shape": []}}


def _batching(runtime: Runtime, settings: Settings) -> Json:
    return {
        "preferred_batch_size": list(runtime.batch_sizes),
        "max_queue_delay_microseconds": round(settings.max_queue_delay_ms * 1e3),
        "preserve_ordering": False,
        "default_queue_policy": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": round(settings.request_timeout_ms * 1e3),
            "allow_timeout_override": False,
            "max_queue_size": settings.max_queue_size,
        },
    }


def _requests(found: Inferences) -> Json:
    """An InferStatistics. As in Triton, failed requests count in `fail` alone."""
    phases = {"queue": "queue", **COMPUTE}
    return {
        "success": _duration(found.answered),
        "fail": _duration(found.failed),
        **{name: _duration(found.phases.get(phase, Duration())) for name, phase in phases.items()},
        "cache_hit": _duration(Duration()),
        "cache_miss": _duration(Duration()),
    }


def _runs(size: int, found: Duration) -> Json:
    """An InferBatchStatistics. Decoding and encoding belong to a request, not to a run: here their times are 0."""
    outside = {"count": found.count, "ns": 0}
    return {
        "batch_size": size,
        "compute_input": outside,
        "compute_infer": _duration(found),
        "compute_output": outside,
    }


def _duration(found: Duration) -> Json:
    return {"count": found.count, "ns": found.ns}
