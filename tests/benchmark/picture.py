"""Figures -> one picture: starts in phases, throughput by concurrency, memory."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import matplotlib as mpl

from tests.benchmark.figures import Samples
from tests.benchmark.report import phases
from tests.benchmark.throughput import CONCURRENCIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(samples: Samples, path: Path) -> None:
    """Write the parts that were measured, below each other, as a PNG."""
    mpl.use("Agg")
    from matplotlib import pyplot

    parts = []
    if samples.start:
        parts += [_starts, _memories]
    if any(samples.served.values()):
        parts.insert(1, _throughput)
    if not parts:
        return
    figure, axes = pyplot.subplots(len(parts), figsize=(10, 3.6 * len(parts)), squeeze=False, layout="constrained")
    for part, each in zip(parts, axes[:, 0], strict=True):
        part(samples, each)
        each.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _starts(samples: Samples, axes: "Axes") -> None:
    names = list(samples.start)
    longest = max(median(each.first_answer_ms for each in found) for found in samples.start.values())
    palette = mpl.colormaps["tab20"]
    colours: dict[str, tuple[float, float, float, float]] = {}
    for row, name in enumerate(names):
        total = median(each.first_answer_ms for each in samples.start[name])
        left = 0.0
        ends = {**phases(samples, name), "first answer": total}
        for phase, end in ends.items():
            width = max(0.0, end - left)
            axes.barh(row, width, left=left, color=colours.setdefault(phase, palette(len(colours))), edgecolor="white")
            if width > 0.04 * longest:
                axes.text(left + width / 2, row, phase, ha="center", va="center", fontsize=7, rotation=60)
            left = max(left, end)
        axes.text(left, row, f"  {total:.0f} ms", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title("Process start to first correct prediction, ms (medians)")


def _throughput(samples: Samples, axes: "Axes") -> None:
    sides = {name: [each for each in rounds if each] for name, rounds in samples.served.items() if any(rounds)}
    width = 0.8 / len(sides)
    for index, (name, rounds) in enumerate(sides.items()):
        rates = [median(each.at(concurrency).per_s for each in rounds) for concurrency in CONCURRENCIES]
        places = [place + index * width for place in range(len(CONCURRENCIES))]
        bars = axes.bar(places, rates, width * 0.95, label=name, color=f"C{index}")
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    middle = 0.4 - width / 2
    axes.set_xticks(
        [place + middle for place in range(len(CONCURRENCIES))], [f"{each} at once" for each in CONCURRENCIES]
    )
    axes.set_title("Throughput, JPEG bodies, requests a second (medians)")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def _memories(samples: Samples, axes: "Axes") -> None:
    held = {name: median(each.memory.pss_mb for each in found) for name, found in samples.start.items()}
    for name, rounds in samples.served.items():
        first = [each.memory_first.pss_mb for each in rounds if each and each.memory_first]
        if first:
            held.setdefault(name, median(first))
    bars = axes.barh(list(held), list(held.values()), color="C0")
    axes.bar_label(bars, fmt=" %.0f", fontsize=9)
    axes.invert_yaxis()
    axes.set_title("Memory after the first prediction, MB (PSS of all processes, medians)")
