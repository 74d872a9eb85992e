"""What every request leaves behind: Server-Timing, `/metrics`, and the first answer in the log."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry import Ledger, Timing
from service.web import metrics
from tests.conftest import Serve
from tests.support.eventually import eventually
from tests.support.pictures import png
from tests.support.serving import START_S, Answer, Server, serving

PICTURE = png(40, 30)
COLD = ["python", "imports", "libraries", "fork", "app", "model", "ready", "request"]
WARM = ["decode", "queue", "run", "encode", "total"]


def timings(answer: Answer) -> dict[str, float]:
    """The Server-Timing header: milliseconds by phase, in order."""
    header = answer.headers["Server-Timing"]
    assert re.fullmatch(r"[a-z-]+;dur=\d+\.\d(, [a-z-]+;dur=\d+\.\d)*", header)
    return {name: float(ms) for name, _, ms in (each.partition(";dur=") for each in header.split(", "))}


def samples(server: Server) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics by its name and the values of its labels (in the order of their names)."""
    answer = server.call("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.body.decode())
    return {(s.name, *dict(sorted(s.labels.items())).values()): s.value for each in families for s in each.samples}


@pytest.fixture
def fresh(tiny: Path, tmp_path: Path) -> "Server":  # type: ignore[misc]
    with serving(tiny, tmp_path / "log") as server:
        yield server


def test_only_the_first_answer_tells_the_phases_of_the_start(fresh: Server) -> None:
    before = time.monotonic()
    first = timings(fresh.call("POST", "/infer", PICTURE))
    took_ms = (time.monotonic() - before) * 1e3
    second = timings(fresh.call("POST", "/infer", PICTURE))
    assert sorted(first) == sorted([f"cold-{phase}" for phase in COLD] + WARM)
    assert list(first)[-5:] == WARM
    assert list(second) == WARM
    # What the process says is part of what the caller saw.
    assert sum(first[phase] for phase in WARM[:-1]) <= first["total"] + 0.5 <= took_ms + 0.5


def test_the_start_and_the_first_answer_are_in_log_and_metrics(fresh: Server) -> None:
    first = timings(fresh.call("POST", "/infer", PICTURE))
    found = samples(fresh)
    for phase in COLD[:-1]:
        assert found["kindling_cold_start_seconds", phase] == pytest.approx(first[f"cold-{phase}"] / 1e3)
    assert found["kindling_cold_start_seconds", "request"] == pytest.approx(first["cold-request"] / 1e3, abs=0.01)
    assert found["kindling_cold_start_seconds", "answer"] == pytest.approx(first["total"] / 1e3, abs=0.01)
    (ready,) = re.findall(r"is ready: .* ready (\d+) ms$", fresh.log, re.MULTILINE)
    # The application may be there before the model is ready, or after it.
    until_ready = [*first][: [*first].index("cold-ready") + 1]
    assert int(ready) == pytest.approx(sum(first[phase] for phase in until_ready), abs=1)
    (line,) = [line for line in fresh.log.splitlines() if "first answer" in line]
    assert re.search(r"ready \d+ ms(, app \d+ ms)?, request \d+ ms, answer \d+ ms$", line)


def test_start_time_is_that_of_the_process(fresh: Server) -> None:
    started = samples(fresh)["kindling_start_time_seconds",]
    boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if "btime" in line)
    ticks = int(Path(f"/proc/{fresh.process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    assert started == pytest.approx(boot + ticks / 100, abs=1.5)


def test_a_worker_that_replaces_another_tells_its_own_start(fresh: Server) -> None:
    fresh.call("POST", "/infer", PICTURE)
    killed = fresh.worker_pid
    before = time.monotonic()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: _has_another_worker(fresh, killed), START_S, "another worker")
    eventually(fresh.is_ready, START_S, "ready again")
    told = timings(fresh.call("POST", "/infer", PICTURE))
    took_ms = (time.monotonic() - before) * 1e3
    assert "cold-fork" in told
    assert "cold-python" not in told
    assert sum(ms for phase, ms in told.items() if phase.startswith("cold-")) < took_ms


def _has_another_worker(server: Server, pid: int) -> bool:
    arbiter = server.process.pid
    children = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()
    return bool(children) and children != [str(pid)]


def test_requests_are_counted_by_route_and_status(fresh: Server) -> None:
    fresh.call("POST", "/infer", PICTURE)
    fresh.call("PUT", "/infer", PICTURE)
    fresh.call("POST", "/infer", b"no picture")
    fresh.call("GET", "/v2/models/other")
    fresh.call("GET", "/nowhere")
    found = samples(fresh)
    assert found["kindling_requests_total", "/infer", "200"] == 2
    assert found["kindling_requests_total", "/infer", "422"] == 1
    assert found["kindling_requests_total", "/v2/models/<name>", "404"] == 1
    assert found["kindling_requests_total", "none", "404"] == 1
    assert found["kindling_request_duration_seconds_count", "/infer"] == 3
    assert found["kindling_request_phase_seconds_count", "run"] == 2
    assert found["kindling_request_phase_seconds_bucket", "+Inf", "run"] == 2
    assert (
        0
        < found["kindling_request_phase_seconds_sum", "run"]
        < found["kindling_request_duration_seconds_sum", "/infer"]
    )
    assert found["kindling_runs_total", "1"] == 2
    assert found["kindling_requests_in_flight",] == 1  # this one
    assert found["kindling_queue_depth",] == 0
    assert found["kindling_ready",] == 1
    assert found["kindling_runners",] >= 1


def test_histogram_buckets_rise_to_the_count(fresh: Server) -> None:
    for _ in range(5):
        fresh.call("POST", "/infer", PICTURE)
    found = samples(fresh)
    name = "kindling_request_duration_seconds"
    buckets = [value for key, value in found.items() if key[0] == f"{name}_bucket" and key[2] == "/infer"]
    assert len(buckets) == 15
    assert buckets == sorted(buckets)
    assert buckets[-1] == found[f"{name}_count", "/infer"] == 5


def test_what_is_served_is_named(serve: Serve, tiny_onnx: Path) -> None:
    (about,) = (key for key in samples(serve(tiny_onnx)) if key[0] == "kindling_info")
    assert about[1:4] == ("onnx", "tiny", "fp32")


def test_openmetrics_is_given_to_who_asks_for_it(tiny_server: Server) -> None:
    answer = tiny_server.call("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_refusal_before_the_model_has_run_has_no_timing(tiny_server: Server) -> None:
    assert "Server-Timing" not in tiny_server.call("POST", "/infer", b"no picture").headers
    assert "Server-Timing" not in tiny_server.call("GET", "/v2/health/ready").headers


@pytest.mark.parametrize("path", ["/v2/models/tiny/infer", "/v1/models/tiny:predict"])
def test_every_protocol_tells_its_phases(tiny_server: Server, path: str) -> None:
    pixels = [[[[0, 0, 0]] * 16] * 16]
    flat = [0] * (16 * 16 * 3)
    inputs = [{"name": "image", "datatype": "UINT8", "shape": [1, 16, 16, 3], "data": flat}]
    tiny_server.call("POST", path, {"inputs": inputs, "instances": pixels})
    answer = tiny_server.call("POST", path, {"inputs": inputs, "instances": pixels})
    assert answer.status == 200, answer.body
    assert list(timings(answer)) == WARM


def test_the_phases_of_the_start_add_up_even_if_the_model_is_there_before_the_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a busy machine: the time between both was counted twice."""
    start = Ledger()
    start.begin_again()
    start.marks_ms.update(fork=-900.0, ready=-800.0, app=-300.0)
    monkeypatch.setattr(metrics, "ledger", start)
    timing = Timing()
    timing.is_cold = True
    told = metrics.server_timing(timing)
    spans = {name: float(ms) for name, _, ms in (each.partition(";dur=") for each in told.split(", "))}
    assert spans["cold-app"] == 500
    assert 300 <= spans["cold-request"] < 800
