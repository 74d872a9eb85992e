"""Triton's extensions: what they tell is true to the artifact, the settings and the requests."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from model.artifact import Artifact
from service.errors import NotReady
from service.runtime.runtime import Runtime
from service.runtime.triton import index
from service.settings import Settings
from service.web.app import create_app
from tests.conftest import Serve
from tests.support.exporting import Exports
from tests.support.pictures import png
from tests.support.serving import START_S, Server, serving

PICTURE = png(40, 30)
INFER = "/v2/models/tiny/infer"
PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


@pytest.fixture
def fresh(tiny_onnx: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(tiny_onnx, tmp_path / "log", RUNNERS="1") as server:
        yield server


def _items(count: int) -> dict[str, Any]:
    """A request of so many items."""
    pixels = [0] * (count * 16 * 16 * 3)
    return {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [count, 16, 16, 3], "data": pixels}]}


def _told(server: Server, path: str = "/v2/models/tiny/stats") -> Any:
    (found,) = server.call("GET", path).json["model_stats"]
    return found


def _counts(told: Any) -> dict[str, int]:
    return {name: each["count"] for name, each in told["inference_stats"].items()}


def test_the_configuration_is_true_to_artifact_and_settings(serve: Serve, tiny: Path) -> None:
    settings = {"RUNNERS": "2", "MAX_REQUEST_ITEMS": "7", "MAX_QUEUE_DELAY_MS": "1.5", "MAX_QUEUE_SIZE": "9"}
    server, artifact = serve(tiny, REQUEST_TIMEOUT_MS="20000", **settings), Artifact.read(tiny)
    told = server.call("GET", "/v2/models/tiny/config").json
    sizes = told["dynamic_batching"].pop("preferred_batch_size")
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, artifact.defaults.max_batch_size)
    assert told == {
        "name": "tiny",
        "platform": server.call("GET", "/v2/models/tiny").json["platform"],
        "backend": {"aoti": "pytorch", "onnx": "onnxruntime"}[artifact.engine],
        "version_policy": {"specific": {"versions": [1]}},
        "max_batch_size": 7,
        "input": [
            {
                "name": "image",
                "data_type": "TYPE_UINT8",
                "dims": [16, 16, 3],
                "format": "FORMAT_NHWC",
                "optional": False,
            }
        ],
        "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [6]}],
        "instance_group": [{"name": "tiny_0", "kind": "KIND_CPU", "count": 2}],
        "dynamic_batching": {
            "max_queue_delay_microseconds": 1500,
            "preserve_ordering": False,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": 20_000_000,
                "allow_timeout_override": False,
                "max_queue_size": 9,
            },
        },
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
        "parameters": {
            "engine": {"string_value": artifact.engine},
            "precision": {"string_value": "fp32"},
            "digest": {"string_value": artifact.digest},
            "run_threads": {"string_value": str(artifact.defaults.threads)},
            "max_run_items": {"string_value": str(sizes[-1])},
        },
    }


def test_what_the_configuration_calls_the_largest_batch_is_accepted(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, MAX_REQUEST_ITEMS="7")
    most = server.call("GET", "/v2/models/tiny/config").json["max_batch_size"]
    assert [server.call("POST", INFER, _items(count)).status for count in (most, most + 1)] == [200, 422]


def test_every_datatype_has_tritons_name(types_server: Server) -> None:
    told = types_server.call("GET", "/v2/models/types/config").json
    described = types_server.call("GET", "/v2/models/types").json
    for key, plural in (("input", "inputs"), ("output", "outputs")):
        assert [(each["name"], each["data_type"], [-1, *each["dims"]]) for each in told[key]] == [
            (each["name"], f"TYPE_{each['datatype']}", each["shape"]) for each in described[plural]
        ]


def test_both_are_messages_of_tritons_own_protobuf(tiny_server: Server) -> None:
    """An unknown field, a wrong type or a wrong name of an enumeration would be an error."""
    pytest.importorskip("grpc")
    from google.protobuf.json_format import ParseDict
    from tritonclient.grpc import model_config_pb2, service_pb2

    tiny_server.call("POST", "/infer", PICTURE)
    config = ParseDict(tiny_server.call("GET", "/v2/models/tiny/config").json, model_config_pb2.ModelConfig())
    assert config.input[0].data_type == model_config_pb2.TYPE_UINT8
    told = tiny_server.call("GET", "/v2/models/stats").json
    parsed = ParseDict(told, service_pb2.ModelStatisticsResponse())
    assert parsed.model_stats[0].inference_stats.success.count >= 1
    models = {"models": tiny_server.call("POST", "/v2/repository/index").json}
    assert ParseDict(models, service_pb2.RepositoryIndexResponse()).models[0].state == "READY"


def test_every_way_to_ask_the_model_is_counted(fresh: Server) -> None:
    before_ms = time.time() * 1e3
    calls: list[tuple[str, Any, dict[str, str]]] = [
        ("/infer", PICTURE, {}),
        (INFER, _items(3), {}),
        ("/v1/models/tiny:predict", {"instances": [[[[0, 0, 0]] * 16] * 16] * 2}, {}),
        ("/events", PICTURE, {"Content-Type": "image/png", "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/t",
                              "ce-type": "dev.kindling.infer"}),
    ]  # fmt: skip
    statuses = [fresh.call("POST", path, body, headers).status for path, body, headers in calls]
    told = _told(fresh)
    assert statuses == [200] * len(calls)
    assert _counts(told) == {
        **dict.fromkeys(("success", *PHASES), len(calls)),
        **dict.fromkeys(("fail", "cache_hit", "cache_miss"), 0),
    }
    assert told["inference_count"] == 1 + 3 + 2 + 1
    assert before_ms - 1 <= told["last_inference"] <= time.time() * 1e3 + 1


def test_the_phases_together_are_less_than_the_whole(fresh: Server) -> None:
    for _ in range(3):
        fresh.call("POST", "/infer", PICTURE)
    told = _told(fresh)
    spent = told["inference_stats"]
    assert all(spent[phase]["ns"] > 0 for phase in ("success", *PHASES))
    assert sum(spent[phase]["ns"] for phase in PHASES) <= spent["success"]["ns"] + 1000
    (single,) = told["batch_stats"]
    assert (single["batch_size"], single["compute_infer"]["count"]) == (1, 3)
    assert 0 < single["compute_infer"]["ns"] <= spent["compute_infer"]["ns"]
    assert single["compute_input"] == single["compute_output"] == {"count": 3, "ns": 0}


def test_a_failure_counts_apart(fresh: Server) -> None:
    assert fresh.call("POST", "/infer", b"no picture").status == 422
    assert fresh.call("POST", INFER, b"{}").status == 400
    assert fresh.call("POST", "/v2/models/other/infer", b"{}").status == 404
    told = _told(fresh)
    assert _counts(told) == dict.fromkeys(told["inference_stats"], 0) | {"fail": 2}
    assert told["inference_stats"]["fail"]["ns"] > 0
    assert (told["inference_count"], told["execution_count"], told["batch_stats"]) == (0, 0, [])


def test_a_larger_request_is_one_inference_of_several_runs(tiny_onnx: Path, tmp_path: Path) -> None:
    with serving(tiny_onnx, tmp_path / "log", RUNNERS="1", MAX_BATCH_SIZE="2") as server:
        server.call(
            "POST",
            INFER,
            _items(5),
        )
        told = _told(server)  # fmt: skip
    assert (told["inference_stats"]["success"]["count"], told["inference_count"]) == (1, 5)
    assert {each["batch_size"]: each["compute_infer"]["count"] for each in told["batch_stats"]} == {1: 1, 2: 2}
    assert told["execution_count"] == 3


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_address_answers_with_and_without_a_slash(tiny_server: Server, slash: str) -> None:
    model, version = "/v2/models/tiny", "/v2/models/tiny/versions/1"
    for end in ("config", "stats"):
        bodies = {tiny_server.call("GET", f"{path}/{end}{slash}").body for path in (model, version)}
        assert len(bodies) == 1
    assert _told(tiny_server, f"/v2/models/stats{slash}") == _told(tiny_server)
    assert tiny_server.call("POST", f"/v2/repository/index{slash}").status == 200
    for path in (f"/v2/models/other/config{slash}", f"/v2/models/other/stats{slash}", f"{model}/versions/2/config{slash}"):  # fmt: skip
        assert tiny_server.call("GET", path).status == 404


def test_the_repository_has_one_model(tiny_server: Server) -> None:
    wanted = [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]
    for body in (None, {}, {"ready": True}, {"ready": False}, {"ready": None}):
        assert tiny_server.call("POST", "/v2/repository/index", body).json == wanted
    for wrong, error in (
        (b"[]", 'the JSON is a list, wanted {"ready": true}'),
        (b'{"ready": 1}', "ready: wanted a boolean, got a number"),
    ):
        refused = tiny_server.call("POST", "/v2/repository/index", wrong)
        assert (refused.status, refused.error) == (400, error)


def test_the_repository_tells_why_there_is_no_model(exports: Exports) -> None:
    app = create_app(Settings(model_dir=exports.artifact("tiny-aoti"), run_threads=9))
    client, runtime = app.test_client(), app.extensions["runtime"]
    with pytest.raises(NotReady) as fault:
        runtime.wait_until_ready(START_S)
    wanted = {"name": "tiny", "version": "1", "state": "UNAVAILABLE", "reason": str(fault.value)}
    assert client.post("/v2/repository/index").json == [wanted]
    assert client.post("/v2/repository/index", json={"ready": True}).json == []
    refused = client.get("/v2/models/tiny/config")
    assert (refused.status_code, refused.json) == (503, {"error": str(fault.value)})


class _Loading(Runtime):
    """A runtime whose model is still loading, for as long as the test looks."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._fault = ""

    def wait_until_ready(self, timeout_s: float | None) -> None:
        raise NotReady(f"the model is not ready within {timeout_s} s")


def test_the_repository_tells_that_the_model_is_still_loading(tiny_onnx: Path) -> None:
    loading = _Loading(Artifact.read(tiny_onnx))
    assert index(loading, only_ready=False) == [{"name": "tiny", "version": "1", "state": "LOADING", "reason": ""}]
    assert index(loading, only_ready=True) == []


def test_the_model_is_neither_loaded_nor_unloaded_by_a_request(tiny_server: Server) -> None:
    client = triton.InferenceServerClient(tiny_server.address)
    for ask in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException) as fault:
            ask("tiny")
        wanted = "this service has one model (MODEL_DIR), which can be neither loaded nor unloaded by a request"
        assert (fault.value.status(), fault.value.message()) == ("403", wanted)
    assert tiny_server.call("POST", "/v2/repository/models/other/load").status == 404
    client.close()


def test_the_real_client_reads_all_of_it(tiny_server: Server) -> None:
    client = triton.InferenceServerClient(tiny_server.address)
    assert client.get_model_config("tiny") == client.get_model_config("tiny", "1")
    assert client.get_inference_statistics("tiny") == client.get_inference_statistics()
    assert [each["name"] for each in client.get_model_repository_index()] == ["tiny"]
    client.close()
