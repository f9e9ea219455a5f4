"""Figures of studies: bands over seeds, survival curves, estimates with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mgresnet.plotting.style import STYLE

Curve = tuple[ArrayLike, ArrayLike]  # abscissae (n,), and values (n_runs, n)
COLUMNS = 3


def draw_bands(
    panels: Mapping[str, Mapping[str, Curve]],
    x_label: str,
    y_label: str,
    *,
    x_scale: str = "linear",
    y_scale: str = "log",
) -> Figure:
    """Medians over runs, with bands from the smallest to the largest value.

    Parameters
    ----------
    panels : mapping of title to mapping of label to (x, values)
        x has shape (n,), values have (n_runs, n).
    x_label, y_label, x_scale, y_scale : str
    """
    with mpl.rc_context(STYLE):
        figure, axes = _grid(len(panels))
        for axis, (title, curves) in zip(axes, panels.items(), strict=False):
            for label, (x, values) in curves.items():
                runs = np.atleast_2d(np.asarray(values, np.float64))
                (line,) = axis.plot(x, np.median(runs, axis=0), label=label)
                low, high = runs.min(axis=0), runs.max(axis=0)
                axis.fill_between(x, low, high, color=line.get_color(), alpha=0.15)
            axis.set(title=title, xlabel=x_label, ylabel=y_label)
            axis.set(xscale=x_scale, yscale=y_scale)
        axes[0].legend()
        return figure


def draw_survival(
    panels: Mapping[str, Mapping[str, Sequence[float]]], budget: int, x_label: str
) -> Figure:
    """Part of the runs that is still there after so many steps.

    Parameters
    ----------
    panels : mapping of title to mapping of label to sequence of float
        Steps at which runs ended; those that did not have the budget.
    budget : int
    x_label : str
    """
    with mpl.rc_context(STYLE):
        figure, axes = _grid(len(panels))
        for axis, (title, groups) in zip(axes, panels.items(), strict=False):
            for label, times in groups.items():
                ended = np.sort([t for t in times if t < budget])
                part = 1.0 - np.arange(len(ended) + 1) / len(times)
                x = np.concatenate([[0.0], ended, [budget]])
                axis.step(x, [*part, part[-1]], where="post", label=label)
            axis.set(title=title, xlabel=x_label, ylabel="part of the runs")
            axis.legend(fontsize="x-small")
        return figure


def draw_estimates(
    estimates: Mapping[str, tuple[float, float, float]], x_label: str
) -> Figure:
    """Means with confidence intervals, one below the other.

    Parameters
    ----------
    estimates : mapping of label to (mean, low, high)
    x_label : str
    """
    with mpl.rc_context(STYLE):
        figure = Figure((6.0, 0.8 + 0.22 * len(estimates)), layout="constrained")
        axis = figure.subplots()
        for i, (mean, low, high) in enumerate(estimates.values()):
            axis.plot([low, high], [i, i], color="C0")
            axis.plot(mean, i, "o", color="C0", markersize=4)
        axis.axvline(0.0, color="0.5", linewidth=0.8)
        axis.set(yticks=range(len(estimates)), yticklabels=list(estimates))
        axis.set(xlabel=x_label)
        axis.invert_yaxis()
        return figure


def _grid(n: int) -> tuple[Figure, Any]:
    """Figure with so many panels."""
    columns = min(n, COLUMNS)
    rows = -(-n // columns)
    figure = Figure((4.0 * columns, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[n:]:
        axis.remove()
    return figure, axes
