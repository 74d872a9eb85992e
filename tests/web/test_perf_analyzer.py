"""The real perf_analyzer, unchanged, against the real service: it runs to its report, and both count the same."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.perf_analyzer import SOON, PerfAnalyzer
from tests.support.serving import Server, serving
from tests.web.test_metrics import samples

INFER = "/v2/models/<name>/infer"
SERVER_SIDE = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")


@pytest.fixture
def fresh(tiny_onnx: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(tiny_onnx, tmp_path / "log") as server:
        yield server


def _number(text: str, of: str) -> int:
    (found,) = re.findall(rf"{of}: (\d+)", text)
    return int(found)


@pytest.mark.parametrize(("protocol", "items"), [("http", 1), ("http", 4), ("grpc", 1), ("grpc", 4)])
def test_it_runs_to_its_report(
    fresh: Server, perf_analyzer: PerfAnalyzer, tmp_path: Path, protocol: str, items: int
) -> None:
    options = ("-i", protocol, "--concurrency-range", "1:2", "-b", str(items), *SOON)
    report = perf_analyzer.run("tiny", fresh.address, tmp_path, *options)
    for concurrency in (1, 2):
        text, row = report.told(concurrency), report.row(concurrency)
        requests = _number(text, "Successful request count")
        assert requests >= _number(text, "Request count") - concurrency
        assert _number(text, "Inference count") == requests * items
        assert all(row[column] > 0 for column in SERVER_SIDE), row
        # In microseconds; each column is rounded for itself, and the server's requests are not quite the same ones.
        assert sum(row[column] for column in SERVER_SIDE) <= row["Avg latency"] * 1.5 + len(SERVER_SIDE), row


def test_the_statistics_count_its_requests(fresh: Server, perf_analyzer: PerfAnalyzer, tmp_path: Path) -> None:
    perf_analyzer.run("tiny", fresh.address, tmp_path, "-b", "3", *SOON)
    (told,) = fresh.call("GET", "/v2/models/tiny/stats").json["model_stats"]
    found = samples(fresh)
    requests = found["kindling_requests_total", INFER, "200"]
    assert requests > 10
    assert {name: each["count"] for name, each in told["inference_stats"].items()} == {
        **dict.fromkeys(("success", "queue", "compute_input", "compute_infer", "compute_output"), requests),
        **dict.fromkeys(("fail", "cache_hit", "cache_miss"), 0),
    }
    assert told["inference_count"] == 3 * requests
    runs = {int(key[1]): count for key, count in found.items() if key[0] == "kindling_runs_total"}
    assert {each["batch_size"]: each["compute_infer"]["count"] for each in told["batch_stats"]} == runs
    assert told["execution_count"] == sum(runs.values())


def test_it_sends_the_shape_and_the_numbers_that_it_is_given(
    fresh: Server, perf_analyzer: PerfAnalyzer, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "image").write_bytes(bytes(16 * 16 * 3))
    options = ("--shape", "image:16,16,3", "--input-data", str(folder))
    perf_analyzer.run("tiny", fresh.address, tmp_path, *options, *SOON)
    assert samples(fresh)["kindling_requests_total", INFER, "200"] > 10
