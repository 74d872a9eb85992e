"""Figures -> one picture: the wakes in parts, side by side."""

from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import matplotlib as mpl

from tests.benchmark.cluster.figures import Samples, spans_ms
from tests.benchmark.cluster.timeline import ANSWER, AUTOSCALER, CONTAINER, KUBELET, PROBE, Wake

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {AUTOSCALER: "#b8bec6", CONTAINER: "#8f98a3", KUBELET: "#d9c9a0", PROBE: "#e0a030", ANSWER: "#5f9e6e"}
MEANINGS = {
    AUTOSCALER: "Knative decides to scale",
    CONTAINER: "Kubernetes makes pod and container",
    KUBELET: "the kubelet tells the pod's address",
    PROBE: "Knative probes, request comes",
    ANSWER: "answer",
}
# The process's phases in turn: neighbours must be told apart, no more.
PROCESS = ("#3b6ea5", "#6f9bc8")


def draw(samples: Samples, path: Path) -> None:
    """Write the cold requests as an SVG, if there are any."""
    woken = {name: found for name, rounds in samples.cold.items() if (found := [each for each in rounds if each])}
    if not woken:
        return
    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    # White, because a README may be read on black.
    figure, axes = pyplot.subplots(figsize=(8, 1.5 + 0.55 * len(woken)), facecolor="white", layout="constrained")
    longest = max(median(each.total_ms for each in rounds) for rounds in woken.values())
    for row, rounds in enumerate(woken.values()):
        _bar(axes, row, rounds, longest)
    axes.set_yticks(range(len(woken)), list(woken), fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(0, longest * 1.12)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Request at zero pods to answer, ms (medians)", fontsize=10)
    patches = [Patch(color=COLOURS[part], label=meaning) for part, meaning in MEANINGS.items()]
    patches.insert(2, Patch(color=PROCESS[0], label="the process starts"))
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _bar(axes: "Axes", row: int, rounds: list[Wake], longest: float) -> None:
    left, shades = 0.0, cycle(PROCESS)
    for part, width in spans_ms(rounds).items():
        axes.barh(row, width, left=left, height=0.7, color=COLOURS.get(part) or next(shades), linewidth=0)
        along = width > 0.013 * longest * max(3, len(part))
        # The others' colours are in the legend.
        if along or (part not in COLOURS and width > 0.016 * longest):
            colour, turned = "black" if part in COLOURS else "white", 0 if along else 90
            axes.text(
                left + width / 2, row, part, ha="center", va="center", fontsize=6.5, color=colour, rotation=turned
            )
        left += width
    axes.text(left, row, f" {left:.0f}", va="center", fontsize=9)
