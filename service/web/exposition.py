"""The counters as text for Prometheus or OpenMetrics; imported late, because the Prometheus client costs 40 ms."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from service import __version__
from service.runtime.runtime import Runtime
from service.telemetry import BUCKETS_S, Histogram, Requests, ledger


def expose(requests: Requests, runtime: Runtime, accept: str) -> tuple[bytes, str]:
    """Every counter as text, and its content type: the format that the Accept header `accept` prefers."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(requests, runtime))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    """The counters as Prometheus has them, read when it asks."""

    def __init__(self, requests: Requests, runtime: Runtime) -> None:
        self._requests = requests
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
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
        yield GaugeMetricFamily(
            "kindling_runners", "Runs of the model that there can be at once.", self._runtime.runners
        )
        runs = CounterMetricFamily("kindling_runs", "Runs of the model, by the items in one.", labels=["batch_size"])
        for size, count in sorted(self._runtime.runs.items()):
            runs.add_metric([str(size)], count)
        yield runs
        with self._requests.lock:
            yield from self._of_requests()

    def _of_requests(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("kindling_requests_in_flight", "Requests being answered.", self._requests.in_flight)
        yield GaugeMetricFamily(
            "kindling_requests_receiving", "Requests that are still on their way in.", self._requests.receiving
        )
        yield GaugeMetricFamily(
            "kindling_request_bytes",
            "Memory held by all requests, also those still arriving.",
            self._requests.held_bytes,
        )
        answered = CounterMetricFamily("kindling_requests", "Requests answered.", labels=["route", "status"])
        for (route, status), count in self._requests.answered.items():
            answered.add_metric([route, str(status)], count)
        yield answered
        by_key = CounterMetricFamily("kindling_key_requests", "Requests with a key.", labels=["key", "status"])
        for (name, status), count in self._requests.by_key.items():
            by_key.add_metric([name, str(status)], count)
        yield by_key
        yield _histograms(
            "kindling_request_duration_seconds", "A request in this process.", "route", self._requests.durations
        )
        yield _histograms("kindling_request_phase_seconds", "One phase of a request.", "phase", self._requests.phases)


def _histograms(name: str, meaning: str, label: str, found: dict[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=[label])
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    for value, histogram in found.items():
        counts = accumulate(histogram.counts)
        family.add_metric([value], list(zip(bounds, counts, strict=True)), histogram.sum_s)
    return family
