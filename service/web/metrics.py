"""What every request leaves behind (Server-Timing, counters, the first answer in the log), and `GET /metrics`."""

import logging
from itertools import accumulate
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, current_app, g, request

from service import __version__
from service.runtime.runtime import Runtime
from service.telemetry import BUCKETS_S, Histogram, Requests, Timing, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

logger = logging.getLogger("kindling")

routes = Blueprint("metrics", __name__)


def observe(app: Flask) -> None:
    """Count and time every request of `app`."""
    app.extensions["requests"] = Requests()
    app.before_request(_begin)
    app.after_request(_finish)


@routes.get("/metrics")
def metrics() -> Response:
    """Every counter, as text for Prometheus or OpenMetrics."""
    # Imported when first asked: 40 ms that the cold start need not pay.
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(current_app.extensions["requests"], current_app.extensions["runtime"]))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


def server_timing(timing: Timing) -> str:
    """A Server-Timing header: the request's phases; before them those of the process's start, if it waited for that."""
    phases = dict(timing.phases_ms)
    if timing.is_cold:
        spans = {f"cold-{phase}": ms for phase, ms in ledger.spans_ms().items() if phase not in ("request", "answer")}
        came_ms = ledger.now_ms() - timing.total_ms
        # It may have come before readiness, and even be answered a moment before that is noted.
        phases = {**spans, "cold-request": max(0.0, came_ms - ledger.marks_ms.get("ready", came_ms)), **phases}
    phases["total"] = timing.total_ms
    return ", ".join(f"{phase};dur={ms:.1f}" for phase, ms in phases.items())


def _begin() -> None:
    g.timing = current_app.extensions["requests"].begin()


def _finish(response: Response) -> Response:
    timing: Timing = g.timing
    route = request.url_rule.rule if request.url_rule else "none"
    current_app.extensions["requests"].finish(timing, route, response.status_code)
    if "run" in timing.phases_ms:
        response.headers["Server-Timing"] = server_timing(timing)
        if ledger.mark_answer(timing.total_ms):
            logger.info("first answer; %s", ledger)
    return response


class _Collector:
    """The counters as Prometheus has them, read when it asks."""

    def __init__(self, requests: Requests, runtime: Runtime) -> None:
        self._requests = requests
        self._runtime = runtime

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        artifact = self._runtime.artifact
        about = {
            "model": artifact.name,
            "engine": artifact.engine,
            "precision": artifact.precision,
            "version": __version__,
        }
        yield InfoMetricFamily("kindling", "What is served.", about)
        yield GaugeMetricFamily(
            "kindling_ready", "1 once the model has answered its self-test.", self._runtime.is_ready
        )
        yield GaugeMetricFamily(
            "kindling_start_time_seconds", "Start of the process, Unix time.", ledger.started_unix_s
        )
        cold = GaugeMetricFamily(
            "kindling_cold_start_seconds", "How long each phase of this process's start took.", labels=["phase"]
        )
        for phase, ms in ledger.spans_ms().items():
            cold.add_metric([phase], ms / 1e3)
        yield cold
        yield GaugeMetricFamily("kindling_queue_depth", "Items waiting for a run.", self._runtime.queue_depth)
        runs = CounterMetricFamily("kindling_runs", "Runs of the model, by the items in one.", labels=["batch_size"])
        for size, count in sorted(self._runtime.runs.items()):
            runs.add_metric([str(size)], count)
        yield runs
        with self._requests.lock:
            yield from self._of_requests()

    def _of_requests(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        yield GaugeMetricFamily("kindling_requests_in_flight", "Requests being answered.", self._requests.in_flight)
        answered = CounterMetricFamily("kindling_requests", "Requests answered.", labels=["route", "status"])
        for (route, status), count in self._requests.answered.items():
            answered.add_metric([route, str(status)], count)
        yield answered
        yield _histograms(
            "kindling_request_duration_seconds", "A request in this process.", "route", self._requests.durations
        )
        yield _histograms("kindling_request_phase_seconds", "One phase of a request.", "phase", self._requests.phases)


def _histograms(name: str, meaning: str, label: str, found: dict[str, Histogram]) -> "Metric":
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(name, meaning, labels=[label])
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    for value, histogram in found.items():
        counts = accumulate(histogram.counts)
        family.add_metric([value], list(zip(bounds, counts, strict=True)), histogram.sum_s)
    return family
