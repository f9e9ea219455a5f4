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

Panels = Mapping[str, Mapping[str, ArrayLike]]


def draw_histories(
    panels: Panels,
    *,
    theory: Panels | None = None,
    y_label: str = "residual, 2-norm over the C-points",
) -> Figure:
    """Residuals before every correction, one panel per case.

    Parameters
    ----------
    panels : mapping of title to mapping of label to ndarray
        Histories (n_iterations,), or one row for each of several runs: then the
        geometric mean is drawn, and the range shaded.
    theory : the same, optional
        Drawn dashed, in the colour of the measured line of the same label.
    y_label : str
    """
    with mpl.rc_context(STYLE):
        figure, axes = _row(len(panels))
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for i, (label, values) in enumerate(lines.items()):
                corrections = np.arange(np.shape(values)[-1])
                _line(axis, corrections, values, i, label)
                expected = (theory or {}).get(title, {}).get(label)
                if expected is not None:
                    k = np.arange(len(np.asarray(expected)))
                    axis.plot(k, expected, "--", color=f"C{i}", lw=2.5, alpha=0.5)
            axis.set(title=title, xlabel="corrections made", yscale="log")
        axes[0].set_ylabel(y_label)
        axes[0].legend(fontsize=8)
        return figure


def draw_factors(
    panels: Panels,
    abscissae: Sequence[int],
    x_label: str = "layers m in a coarse step",
    *,
    theory: Panels | None = None,
) -> Figure:
    """Convergence factor per iteration over m or over depth, one panel per case.

    Parameters
    ----------
    panels : mapping of title to mapping of label to ndarray
        Factors (n_abscissae,), or one row for each of several runs.
    abscissae : sequence of int
    x_label : str
    theory : the same, optional
        Drawn dashed, in the colour of the measured line of the same label.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _row(len(panels))
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for i, (label, values) in enumerate(lines.items()):
                _line(axis, abscissae, values, i, label)
                expected = (theory or {}).get(title, {}).get(label)
                if expected is not None:
                    axis.plot(
                        abscissae, expected, "--", color=f"C{i}", lw=2.5, alpha=0.5
                    )
            axis.axhline(1.0, color="0.6", lw=0.8)
            axis.set(title=title, xlabel=x_label, yscale="log")
            _powers(axis, abscissae)
        axes[0].set_ylabel("residual ratio per iteration")
        axes[0].legend(fontsize=8)
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
                _line(axis, depths, values, i, label, logarithmic=False)
            axis.set(title=title, xlabel="depth N", ylim=(0.0, None))
            _powers(axis, depths)
        axes[0].set_ylabel(f"iterations to {tolerance:.0e}")
        axes[0].legend(fontsize=8)
        return figure


def draw_levels(depth: int, coarsening: Sequence[int]) -> Figure:
    """Points of every level over depth, with the C-points marked.

    Parameters
    ----------
    depth : int
        Number of layers.
    coarsening : sequence of int
        Coarsening factors, as in the options of a solve.
    """
    grid = TimeGrid(depth, 1.0, tuple(coarsening))
    factors: tuple[int | None, ...] = (*grid.factors, None)
    span = 1
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        height = 0.7 + 0.45 * len(factors)
        figure = Figure(figsize=(9.0, height), layout="constrained")
        axis = figure.subplots()
        for level, (n, m) in enumerate(zip(grid.steps, factors, strict=True)):
            points = np.arange(n + 1) * span
            axis.axhline(-level, color="0.8", lw=1, zorder=0)
            axis.plot(points, np.full(n + 1, -level), "|", color="0.4", ms=6)
            if m is not None:
                kept = points[::m]
                axis.plot(kept, np.full(len(kept), -level), "o", color="C3", ms=4)
                span *= m
        names = [f"level {i}: {n} steps" for i, n in enumerate(grid.steps)]
        axis.set(yticks=-np.arange(len(names)), yticklabels=names, xlabel="layer n")
        axis.spines["left"].set_visible(False)
        return figure


def _row(n: int) -> tuple[Figure, Sequence[Any]]:
    figure = Figure(figsize=(0.6 + 3.0 * n, 3.3), layout="constrained")
    return figure, figure.subplots(1, n, squeeze=False, sharey=True)[0]


def _line(
    axis: Any,
    x: ArrayLike,
    values: ArrayLike,
    i: int,
    label: str,
    *,
    logarithmic: bool = True,
) -> None:
    """Mean and range of several runs, or the line of one."""
    runs = np.atleast_2d(np.asarray(values, np.float64))
    mean = _geometric_mean(runs) if logarithmic else runs.mean(axis=0)
    style = f"{MARKERS[i % len(MARKERS)]}-"
    axis.plot(x, mean, style, color=f"C{i}", ms=4, lw=1.2, label=label)
    if len(runs) > 1:
        low, high = runs.min(axis=0), runs.max(axis=0)
        axis.fill_between(x, low, high, color=f"C{i}", alpha=0.2, lw=0)


def _geometric_mean(runs: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        mean: NDArray[np.float64] = np.exp(np.log(runs).mean(axis=0))
    return mean


def _powers(axis: Any, values: Sequence[int]) -> None:
    """Logarithmic axis with a tick at every value."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(values, [str(value) for value in values], fontsize=8)
    axis.minorticks_off()
