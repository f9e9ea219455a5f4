"""Figures on the convergence of MGRIT: what iterations do, over m and over depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from mgresnet.plotting.style import STYLE
from mgresnet.timeline.grid import TimeGrid

MARKERS = "os^Dvx+*"
MOST_INSIDE = 4  # entries of a legend

Lines = Mapping[str, ArrayLike]
Panels = Mapping[str, Lines]


def draw_histories(
    panels: Panels,
    *,
    theory: Panels | None = None,
    first: int = 0,
    y_label: str = "residual, 2-norm over the C-points",
) -> Figure:
    """Residuals over corrections, one panel per case.

    Parameters
    ----------
    panels : mapping of title to mapping of label to ndarray
        Histories (n_iterations,), or one row for each of several runs: then the
        geometric mean is drawn, and the range shaded.
    theory : the same, optional
        Drawn dashed, in the colour of the measured line of the same label.
    first : int
        Number of corrections before the first entry.
    y_label : str
    """
    with mpl.rc_context(STYLE):
        figure, axes = _row(len(panels))
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            length = max(np.shape(values)[-1] for values in lines.values())
            corrections = np.arange(first, first + length)
            _draw(axis, corrections, lines, (theory or {}).get(title, {}))
            axis.set(title=title, xlabel="corrections made", xticks=corrections)
        axes[0].set_ylabel(y_label)
        _legend(figure, axes)
        return figure


def draw_factors(
    panels: Panels,
    abscissae: Sequence[int],
    x_label: str = "layers m in a coarse step",
    *,
    theory: Panels | None = None,
) -> Figure:
    """Residual ratio per iteration over m or over depth, one panel per case.

    Parameters
    ----------
    panels : mapping of title to mapping of label to ndarray
        Factors (n_abscissae,), or one row for each of several runs; nan where there is
        none.
    abscissae : sequence of int
    x_label : str
    theory : the same as `panels`, optional
        Drawn dashed, in the colour of the measured line of the same label.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _row(len(panels))
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            _draw(axis, abscissae, lines, (theory or {}).get(title, {}))
            axis.axhline(1.0, color="0.6", lw=0.8)
            axis.set(title=title, xlabel=x_label)
            _powers(axis, abscissae)
        axes[0].set_ylabel("residual ratio per iteration")
        _legend(figure, axes)
        return figure


def draw_iterations(panels: Panels, depths: Sequence[int], tolerance: float) -> Figure:
    """Iterations to a tolerance over depth, one panel per case.

    Parameters
    ----------
    panels : mapping of title to mapping of label to ndarray
        Iterations (n_depths,), or one row for each of several runs; nan where the
        tolerance was not reached.
    depths : sequence of int
    tolerance : float
    """
    with mpl.rc_context(STYLE):
        figure, axes = _row(len(panels))
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for i, (label, values) in enumerate(lines.items()):
                runs = np.atleast_2d(np.asarray(values, np.float64))
                _line(axis, depths, runs, runs.mean(axis=0), i, label)
            axis.set(title=title, xlabel="depth N")
            _powers(axis, depths)
        axes[0].set_ylabel(f"iterations to {tolerance:.0e}")
        axes[0].set_ylim(bottom=0.0)
        _legend(figure, axes)
        return figure


def draw_levels(depth: int, coarsening: Sequence[int]) -> Figure:
    """Points of every level over depth, C-points marked.

    Parameters
    ----------
    depth : int
        Number of layers.
    coarsening : sequence of int
        Coarsening factors, as in the options of a solve.
    """
    grid = TimeGrid(depth, 1.0, tuple(coarsening))
    span = 1
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        height = 1.0 + 0.4 * len(grid.steps)
        figure = Figure(figsize=(9.0, height), layout="constrained")
        axis = figure.subplots()
        for level, n in enumerate(grid.steps):
            points = np.arange(n + 1) * span
            axis.plot(points, np.full(n + 1, -level), "|-", color="0.5", ms=7, lw=0.8)
            if level < len(grid.factors):
                kept = points[:: grid.factors[level]]
                axis.plot(kept, np.full(len(kept), -level), "o", color="C3", ms=5)
                span *= grid.factors[level]
        names = [f"level {i}: {n} steps" for i, n in enumerate(grid.steps)]
        axis.set(yticks=-np.arange(len(names)), yticklabels=names, xlabel="layer n")
        axis.set_ylim(-len(names) + 0.5, 0.5)
        axis.spines["left"].set_visible(False)
        return figure


def _row(n: int) -> tuple[Figure, Sequence[Any]]:
    width = 5.0 if n == 1 else 0.6 + 3.0 * n
    figure = Figure(figsize=(width, 3.3), layout="constrained")
    return figure, figure.subplots(1, n, squeeze=False, sharey=True)[0]


def _legend(figure: Figure, axes: Sequence[Any]) -> None:
    """In the first panel, or beside the last one if it is long."""
    handles, labels = axes[0].get_legend_handles_labels()
    if len(labels) > MOST_INSIDE:
        figure.legend(handles, labels, loc="outside right center", fontsize=8)
    else:
        axes[0].legend(fontsize=8)


def _draw(axis: Any, x: ArrayLike, lines: Lines, theory: Lines) -> None:
    """Measured lines, and dashed ones beside them, on a logarithmic axis."""
    for i, (label, values) in enumerate(lines.items()):
        runs = np.atleast_2d(np.asarray(values, np.float64))
        with np.errstate(divide="ignore"):
            mean = np.exp(np.log(runs).mean(axis=0))
        _line(axis, x, runs, mean, i, label)
        if label in theory:
            axis.plot(x, theory[label], "--", color=f"C{i}", lw=3, alpha=0.4)
    axis.set_yscale("log")


def _line(
    axis: Any,
    x: ArrayLike,
    runs: NDArray[np.float64],
    mean: NDArray[np.float64],
    i: int,
    label: str,
) -> None:
    """Mean of several runs, in the range between them."""
    style = f"{MARKERS[i % len(MARKERS)]}-"
    axis.plot(x, mean, style, color=f"C{i}", ms=4, lw=1.2, label=label)
    if len(runs) > 1:
        low, high = runs.min(axis=0), runs.max(axis=0)
        axis.fill_between(x, low, high, color=f"C{i}", alpha=0.2, lw=0)


def _powers(axis: Any, values: Sequence[int]) -> None:
    """Logarithmic axis with a tick at every value."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(values, [str(value) for value in values], fontsize=8)
    axis.minorticks_off()
