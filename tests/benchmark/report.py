"""Figures -> plain text and JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from tests.benchmark import limits, perf_analyzer, slow
from tests.benchmark.figures import AT, Ratio, Samples
from tests.benchmark.process import Memory
from tests.benchmark.throughput import CONCURRENCIES

START = (
    "Start to first correct prediction, ms (hello-world: to its first 200)",
    ("side", "median", "min", "PSS MB", "RSS MB", "phases: when each ended, median ms"),
)
THROUGHPUT = (
    "Throughput, JPEG of 600x400: requests a second, median (best); then p50 and p99 in ms, medians",
    ("side", *(f"at {each}" for each in CONCURRENCIES), f"CPU ms at {AT}", "failed"),
)
MEMORY = (
    "Memory, MB: after the first prediction, and after the load",
    ("side", "first PSS", "first RSS", "then PSS", "then RSS"),
)
FORWARD = ("Forward, all runners busy", ("engine", "median ms", "min ms", "images/s"))
LAMBDA = (
    "AWS Lambda (awslambdaric), ms from process start",
    ("side", "init: median", "min", "first correct prediction: median", "min"),
)
DOCKER = (
    "docker run --memory 512m: requests a second, p50 and p99 in ms, medians; and the most memory, MB",
    ("side", *(f"at {each}" for each in limits.CONCURRENCIES), "memory", "failed"),
)
SLOW = (
    f"At concurrency {slow.CONCURRENCY} beside {slow.CONNECTIONS} connections that send a byte every {slow.PAUSE_S:.0f} s",
    ("round", "alone: per s", "p99 ms", "beside: per s", "p99 ms", "probe's longest wait, ms", "of them cut"),
)
ANALYZED = (
    "The same tensor by perf_analyzer and by wrk: requests a second, p50 and p99 in ms, medians; the server's side by perf_analyzer, ms",
    ("at", "perf_analyzer", "by gRPC", "wrk", *perf_analyzer.SERVER_SIDE),
)
RATIOS = ("Ratios", ("what", "median of rounds", "of bests", "target", ""))


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
    if samples.start:
        parts.append(table(*START, _starts(samples)))
    if any(samples.served.values()):
        parts.append(table(*THROUGHPUT, _loads(samples)))
        parts.append(table(*MEMORY, _memories(samples)))
    if samples.forward:
        parts.append(table(*FORWARD, _forwards(samples)))
    if samples.woken:
        parts.append(table(*LAMBDA, _wakes(samples)))
    if samples.limited:
        parts.append(table(*DOCKER, _limits(samples)))
    if samples.slowed:
        parts.append(table(*SLOW, _slows(samples)))
    if samples.analyzed:
        parts.append(table(*ANALYZED, _analyses(samples)))
    parts.append(table(*RATIOS, map(ratio_row, ratios)))
    if samples.missing:
        parts.append("Missing\n" + "\n".join(f"  {each}" for each in samples.missing))
    return "\n\n".join(parts)


def phases(samples: Samples, name: str) -> dict[str, float]:
    """When each phase of the side's start ended, median over the rounds, in order."""
    rounds = [each.phases_ms for each in samples.start[name]]
    ends = {phase: median(each[phase] for each in rounds if phase in each) for each in rounds for phase in each}
    return dict(sorted(ends.items(), key=lambda item: item[1]))


def _starts(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, found in samples.start.items():
        times = [each.first_answer_ms for each in found]
        ends = ", ".join(f"{phase} {ms:.0f}" for phase, ms in phases(samples, name).items())
        memory = _median_memory([each.memory for each in found])
        yield name, f"{median(times):.0f}", f"{min(times):.0f}", *memory, ends


def _loads(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, rounds in samples.served.items():
        if not (found := [each for each in rounds if each]):
            continue
        cells = []
        for concurrency in CONCURRENCIES:
            rates = [each.at(concurrency).per_s for each in found]
            loads = [load for each in found for load in each.loads if load.concurrency == concurrency]
            cell = f"{median(rates):.1f} ({max(rates):.1f})"
            if loads:
                cell += f" {median(each.p50_ms for each in loads):.0f} {median(each.p99_ms for each in loads):.0f}"
            cells.append(cell)
        cpu_ms = median(each.at(AT).cpu_ms for each in found)
        yield name, *cells, f"{cpu_ms:.1f}", str(sum(load.failed for each in found for load in each.loads))


def _memories(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, rounds in samples.served.items():
        if found := [each for each in rounds if each]:
            first = [each.memory_first for each in found if each.memory_first]
            yield name, *_median_memory(first), *_median_memory([each.memory_loaded for each in found])


def _forwards(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, found in samples.forward.items():
        times = [each.run_ms for each in found]
        rate = median(each.per_s for each in found)
        yield name, f"{median(times):.1f}", f"{min(times):.1f}", f"{rate:.0f}"


def _wakes(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, found in samples.woken.items():
        init, answer = [each.init_ms for each in found], [each.first_answer_ms for each in found]
        yield name, f"{median(init):.0f}", f"{min(init):.0f}", f"{median(answer):.0f}", f"{min(answer):.0f}"


def _limits(samples: Samples) -> Iterable[tuple[str, ...]]:
    for name, found in samples.limited.items():
        cells = []
        for loads in zip(*(each.loads for each in found), strict=True):
            values = ([load.per_s for load in loads], [load.p50_ms for load in loads], [load.p99_ms for load in loads])
            cells.append("{:.1f} {:.0f} {:.0f}".format(*map(median, values)))
        failed = sum(load.failed for each in found for load in each.loads)
        yield name, *cells, f"{max(each.peak_mb for each in found):.0f}", str(failed)


def _slows(samples: Samples) -> Iterable[tuple[str, ...]]:
    for number, each in enumerate(samples.slowed, 1):
        loads = [text for load in (each.alone, each.beside) for text in (f"{load.per_s:.1f}", f"{load.p99_ms:.0f}")]
        yield str(number), *loads, f"{each.live_ms:.0f}", str(each.cut)


def _analyses(samples: Samples) -> Iterable[tuple[str, ...]]:
    for concurrency in perf_analyzer.CONCURRENCIES:
        found = [each for each in samples.analyzed if each.ours.concurrency == concurrency]
        cells = []
        for loads in ([each.theirs for each in found], [each.grpc for each in found], [each.ours for each in found]):
            values = ([load.per_s for load in loads], [load.p50_ms for load in loads], [load.p99_ms for load in loads])
            cells.append("{:.1f} {:.1f} {:.1f}".format(*map(median, values)))
        phases = (median(each.phases_ms[phase] for each in found) for phase in perf_analyzer.SERVER_SIDE)
        yield str(concurrency), *cells, *(f"{ms:.2f}" for ms in phases)


def ratio_row(ratio: Ratio) -> tuple[str, ...]:
    target = f"{'<=' if ratio.at_most else '>='} {ratio.target:.2f}"
    return ratio.what, f"{ratio.paired:.2f}", f"{ratio.of_bests:.2f}", target, "met" if ratio.is_met else "missed"


def _median_memory(found: Sequence[Memory]) -> tuple[str, str]:
    if not found:
        return "-", "-"
    return f"{median(each.pss_mb for each in found):.0f}", f"{median(each.rss_mb for each in found):.0f}"


def table(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(header))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines]
    return "\n".join([title, *(f"  {line}" for line in padded)])
