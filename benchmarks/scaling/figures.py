"""Figures of a scaling study: speed-up, efficiency, and where the time goes."""

from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mgresnet.plotting.style import STYLE
from scaling.report import (
    Points,
    efficiency,
    merged,
    serial_seconds,
    speed_up,
)

MARKERS = "os^Dvx+*P<>"
PHASES = {
    "relax": "C0",
    "coarse": "C3",
    "gradient": "C1",
    "estimate": "C4",
    "update": "C2",
    "computing": "C0",
    "waiting": "C3",
    "other": "0.75",
}
OUTSIDE = {"fontsize": 7, "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


def figures(records: Iterable[dict[str, Any]]) -> Iterator[tuple[str, Figure]]:
    """One figure for every network and clock."""
    points = merged(records)
    groups: dict[str, Points] = {}
    for p in points:
        sizes = f"w{p.width}-b{p.batch_size}"
        sizes = f"n{p.depth}-{sizes}" if p.kind == "strong" else sizes
        if not p.alone:
            groups.setdefault(f"-{p.kind}-{sizes}-{p.clock}", []).append(p)
    for name, group in groups.items():
        yield name, draw(points, sorted(group, key=lambda p: p.ranks))


def draw(points: Points, group: Points) -> Figure:
    """Four panels on one network, by one clock."""
    first = group[0]
    many = [p for p in group if p.ranks == group[-1].ranks]
    ranks = sorted({p.ranks for p in group})
    best = [
        min((p for p in group if p.ranks == n), key=lambda p: p.median) for n in ranks
    ]
    layers = f"{first.depth} layers"
    if first.kind == "weak":
        layers = f"{first.depth // first.ranks} layers per rank"
    title = f"{layers}, width {first.width}, batch {first.batch_size}, {first.clock}"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.4), layout="constrained")
        (left, right), (low_left, low_right) = figure.subplots(2, 2)
        _lines_over_ranks(left, points, group, speed_up)
        left.plot(ranks, ranks, ":", color="0.5", lw=1)
        left.axhline(1.0, color="k", lw=0.8)
        left.set_yscale("log", base=2)
        left.yaxis.set_major_formatter("{x:g}")
        left.set_ylabel("best serial seconds / seconds")
        _lines_over_ranks(right, points, group, efficiency)
        right.axhline(1.0, ls=":", color="0.5", lw=1)
        right.set_ylim(bottom=0.0)
        right.set_ylabel("efficiency")
        right.legend(**OUTSIDE)
        _stacks(low_left, many, [p.label for p in many])
        low_left.set_title(f"all on {ranks[-1]} ranks")
        _stacks(low_right, best, [f"P = {p.ranks}: {p.label}" for p in best])
        low_right.set_title("the fastest on every number of ranks")
        if first.kind == "strong":  # else it is far away
            for axis, shown in ((low_left, many), (low_right, best)):
                _serial_line(axis, points, shown)
        low_right.legend(**OUTSIDE)
        figure.suptitle(title, fontsize=10)
    return figure


def _lines_over_ranks(axis: Axes, points: Points, group: Points, value: Any) -> None:
    """Speed-up or efficiency, one line for every method and coarsening."""
    labels = dict.fromkeys(p.label for p in group)
    for marker, label in zip(cycle(MARKERS), labels, strict=False):
        line = [p for p in group if p.label == label]
        values = [value(points, p) for p in line]
        axis.plot([p.ranks for p in line], values, f"{marker}-", ms=4, label=label)
    ranks = sorted({p.ranks for p in group})
    axis.set_xscale("log", base=2)
    axis.set_xticks(ranks, [str(n) for n in ranks])
    axis.set_xlabel("ranks")


def _stacks(axis: Axes, shown: Points, labels: list[str]) -> None:
    """Milliseconds by phase, one bar per point."""
    stacks = [p.phases() for p in shown]
    left = [0.0] * len(shown)
    for phase in stacks[0]:
        widths = [1e3 * stack[phase] for stack in stacks]
        axis.barh(
            range(len(shown)), widths, left=left, color=PHASES[phase], label=phase
        )
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axis.set_yticks(range(len(shown)), labels, fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("milliseconds of a step")


def _serial_line(axis: Axes, points: Points, shown: Points) -> None:
    """Where the best serial step would end, a mark at every bar."""
    for i, p in enumerate(shown):
        seconds = serial_seconds(points, p, p.depth)
        label = "best serial" if i == 0 else None
        axis.plot([1e3 * seconds] * 2, [i - 0.4, i + 0.4], "k", lw=1.5, label=label)
    axis.use_sticky_edges = False
    axis.set_xlim(left=0.0)
