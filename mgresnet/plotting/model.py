"""Figure of a prediction: speed-up over ranks, and what the time goes into."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from mgresnet.plotting.style import STYLE

CURVES = {
    "speedup": ("layers, as asked for", "o-"),
    "best": ("layers, best coarsening", "s--"),
    "pipeline": ("pipeline, best micro-batches", "^:"),
    "data_parallel": ("shares of the batch", "v:"),
}


def save_prediction(
    path: Path, rows: Sequence[dict[str, Any]], serial: float, even: int | None
) -> None:
    """Draw what `mgresnet model` has found.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    rows : sequence of dict
        One for each number of ranks, as in model.json.
    serial : float
        Seconds on one rank, layer after layer.
    even : int or None
        Ranks from which on layer-parallel propagation is faster.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        _speedups(left, rows, even)
        _phases(right, [row for row in rows if "phases" in row], serial)
        figure.savefig(path, dpi=150)


def _speedups(axes: Any, rows: Sequence[dict[str, Any]], even: int | None) -> None:
    for name, (label, style) in CURVES.items():
        some = [row for row in rows if name in row]
        if some:
            x, y = [row["ranks"] for row in some], [row[name] for row in some]
            axes.loglog(x, y, style, markersize=4, label=label)
    axes.axhline(1.0, color="black", linewidth=0.8)
    if even:
        axes.axvline(even, color="black", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"break-even {even}",
            (even, 1.0),
            (4, -10),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set(xlabel="ranks", ylabel="speed-up over the best serial run")
    axes.set_xscale("log", base=2)
    axes.legend(fontsize=8)


def _phases(axes: Any, rows: Sequence[dict[str, Any]], serial: float) -> None:
    names = dict.fromkeys(name for row in rows for name in row["phases"])
    places, bottom = np.arange(len(rows)), np.zeros(len(rows))
    for name in names:
        part = np.array([row["phases"].get(name, 0.0) / serial for row in rows])
        axes.bar(places, part, bottom=bottom, width=0.8, label=name)
        bottom += part
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(places, [str(row["ranks"]) for row in rows])
    axes.set(xlabel="ranks", ylabel="time over that of the best serial run")
    axes.legend(fontsize=8)
