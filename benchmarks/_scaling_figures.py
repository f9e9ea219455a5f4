"""Figures of a scaling study: speed-up, efficiency, and where the time goes."""

from pathlib import Path

import matplotlib as mpl
from _scaling_report import Point, Points, efficiency, serial_seconds, speed_up
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mgresnet.plotting.style import STYLE

DOTS = 150  # per inch
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


def save_figures(points: Points, path: Path) -> None:
    """One figure for every network and clock, beside the JSON file."""
    parallel = [p for p in points if not p.alone]
    groups: dict[str, Points] = {}
    for p in parallel:
        sizes = f"w{p.width}-b{p.batch_size}"
        sizes = f"n{p.depth}-{sizes}" if p.kind == "strong" else sizes
        groups.setdefault(f"{p.kind}-{sizes}-{p.clock}", []).append(p)
    for name, group in groups.items():
        figure = draw_scaling(points, sorted(group, key=lambda p: p.ranks))
        figure.savefig(path.with_name(f"{path.stem}-{name}.png"), dpi=DOTS)


def draw_scaling(points: Points, group: Points) -> Figure:
    """Four panels on one network, by one clock."""
    first = group[0]
    many = [p for p in group if p.ranks == group[-1].ranks]
    ranks = sorted({p.ranks for p in group})
    best = [min((p for p in group if p.ranks == n), key=_median) for n in ranks]
    layers = f"{first.depth} layers"
    if first.kind == "weak":
        layers = f"{first.depth // first.ranks} layers per rank"
    title = f"{layers}, width {first.width}, batch {first.batch_size}, {first.clock}"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.4), layout="constrained")
        (left, right), (low_left, low_right) = figure.subplots(2, 2)
        _speed_ups(left, points, group, ranks)
        _efficiencies(right, points, group, ranks)
        _stacks(low_left, many, [p.label for p in many])
        low_left.set_title(f"all on {ranks[-1]} ranks")
        _stacks(low_right, best, [f"P = {p.ranks}: {p.label}" for p in best])
        low_right.set_title("the fastest on every number of ranks")
        if first.kind == "strong":  # else it is far away
            for axis, shown in ((low_left, many), (low_right, best)):
                _serial_line(axis, points, shown)
        low_right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.suptitle(title, fontsize=10)
    return figure


def _speed_ups(axis: Axes, points: Points, group: Points, ranks: list[int]) -> None:
    for label, marker, line in _lines(group):
        values = [speed_up(points, p) for p in line]
        axis.plot([p.ranks for p in line], values, f"{marker}-", ms=4, label=label)
    axis.plot(ranks, ranks, ":", color="0.5", lw=1)
    axis.axhline(1.0, color="k", lw=0.8)
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylabel("best serial seconds / seconds")
    _over_ranks(axis, ranks)


def _efficiencies(axis: Axes, points: Points, group: Points, ranks: list[int]) -> None:
    for label, marker, line in _lines(group):
        values = [efficiency(points, p) for p in line]
        axis.plot([p.ranks for p in line], values, f"{marker}-", ms=4, label=label)
    axis.axhline(1.0, ls=":", color="0.5", lw=1)
    axis.set_ylim(bottom=0.0)
    axis.set_ylabel("efficiency")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _over_ranks(axis, ranks)


def _over_ranks(axis: Axes, ranks: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(ranks, [str(n) for n in ranks])
    axis.set_xlabel("ranks")


def _lines(group: Points) -> list[tuple[str, str, Points]]:
    """Points with the same method and coarsening."""
    labels = list(dict.fromkeys(p.label for p in group))
    return [
        (label, MARKERS[i % len(MARKERS)], [p for p in group if p.label == label])
        for i, label in enumerate(labels)
    ]


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


def _median(point: Point) -> float:
    return point.median
