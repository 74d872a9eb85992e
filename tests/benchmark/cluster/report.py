"""Figures -> plain text and JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from statistics import median
from typing import Any

from tests.benchmark.cluster.figures import Samples, spans_ms
from tests.benchmark.cluster.timeline import ANSWER, AUTOSCALER, CONTAINER, KUBELET, PLATFORM, PROBE, Wake
from tests.benchmark.cluster.warm import CONCURRENCIES
from tests.benchmark.figures import Ratio
from tests.benchmark.report import RATIOS, ratio_row, table

COLD = (
    "Cold request, from zero pods to the answer, ms: the whole, and how long each part took, medians",
    ("side", "median", "min", AUTOSCALER, CONTAINER, "process", KUBELET, PROBE, ANSWER, "rounds"),
)
PHASES = ("The process's own phases, ms, medians", ("side", "phases"))
SCALE = (
    "Time from the begin of load to the second pod, ms: median (min)",
    ("created", "ready", "has answered", "requests failed"),
)
WARM = (
    "Warm, through the route to one pod: p50 / p99 in ms and requests a second, medians",
    ("side", *(f"at {each}" for each in CONCURRENCIES), "failed"),
)
LATER = (
    "Later and by event, one pod of each service, medians",
    ("of 8 clients, requests/s", "events/s", "through the Broker", "p99 of another client, ms: alone",
     "beside those events", "beside those requests", "a request, ms", "202 to result"),
)  # fmt: skip
PLACES = (
    "In every place, ms: from the beginning to the first correct answer, then one client, medians",
    ("place", "first answer", "min", "p50", "p95", "rounds"),
)
SIZE = (
    "Image, MB: with the base image, and what is added to it",
    ("side", "on disk", "compressed", "added", "added, compressed"),
)


def as_json(samples: Samples, ratios: Sequence[Ratio], machine: dict[str, Any]) -> dict[str, Any]:
    """Every sample and every ratio; no summary that could not be computed again from them."""
    return {
        "machine": machine,
        "ratios": [asdict(each) | {"is_met": each.is_met} for each in ratios],
        **asdict(samples),
    }


def text(samples: Samples, ratios: Sequence[Ratio], machine: dict[str, Any]) -> str:
    hardware = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB; {machine['date']}"
    parts = [f"{hardware}; {machine['stolen']:.0%} of the CPU time was taken by the hypervisor"]
    if woken := {name: found for name, rounds in samples.cold.items() if (found := [each for each in rounds if each])}:
        parts += [table(*COLD, _wakes(woken)), table(*PHASES, _phases(woken))]
    if samples.scale:
        parts.append(table(*SCALE, [_scale(samples)]))
    if any(samples.warm.values()):
        parts.append(table(*WARM, _loads(samples)))
    if samples.later:
        columns = zip(*map(astuple, samples.later), strict=True)
        parts.append(table(*LATER, [tuple(f"{median(each):.0f}" for each in columns)]))
    if any(samples.places.values()):
        parts.append(table(*PLACES, _places(samples)))
    if samples.size:
        parts.append(table(*SIZE, _sizes(samples)))
    if ratios:
        parts.append(table(*RATIOS, map(ratio_row, ratios)))
    if samples.missing:
        parts.append("Missing\n" + "\n".join(f"  {each}" for each in samples.missing))
    return "\n\n".join(parts)


def _wakes(woken: dict[str, list[Wake]]) -> Iterable[tuple[str, ...]]:
    for name, rounds in woken.items():
        times = [each.total_ms for each in rounds]
        parts = [median(each.spans_ms[part] for each in rounds) for part in (AUTOSCALER, CONTAINER)]
        parts.append(median(each.process_ms for each in rounds))
        parts += [median(each.spans_ms[part] for each in rounds) for part in (KUBELET, PROBE, ANSWER)]
        cells = [f"{each:.0f}" for each in (median(times), min(times), *parts)]
        yield name, *cells, str(len(rounds))


def _phases(woken: dict[str, list[Wake]]) -> Iterable[tuple[str, ...]]:
    for name, rounds in woken.items():
        spans = {phase: ms for phase, ms in spans_ms(rounds).items() if phase not in PLATFORM}
        yield name, ", ".join(f"{phase} {ms:.0f}" for phase, ms in spans.items())


def _scale(samples: Samples) -> tuple[str, ...]:
    cells = []
    for kind in ("created_ms", "ready_ms", "answered_ms"):
        times = [getattr(each, kind) for each in samples.scale]
        cells.append(f"{median(times):.0f} ({min(times):.0f})")
    failed, asked = (sum(getattr(each, kind) for each in samples.scale) for kind in ("failed", "asked"))
    return *cells, f"{failed} of {asked}"


def _loads(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, rounds in samples.warm.items():
        if not (found := [each for each in rounds if each]):
            continue
        cells = []
        for concurrency in CONCURRENCIES:
            loads = [each.at(concurrency) for each in found]
            p50_ms, p99_ms, per_s = (
                median(getattr(each, kind) for each in loads) for kind in ("p50_ms", "p99_ms", "per_s")
            )
            cells.append(f"{p50_ms:.0f} / {p99_ms:.0f}, {per_s:.1f}/s")
        yield name, *cells, str(sum(load.failed for each in found for load in each.loads))


def _places(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, rounds in samples.places.items():
        if rounds:
            first, p50, p95 = zip(*map(astuple, rounds), strict=True)
            cells = (median(first), min(first), median(p50), median(p95))
            yield name, *(f"{each:.0f}" for each in cells), str(len(rounds))


def _sizes(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, size in samples.size.items():
        yield name, *(f"{each:.0f}" for each in (size.disk_mb, size.gzip_mb, size.own_disk_mb, size.own_gzip_mb))
