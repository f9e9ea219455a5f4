"""Figures of a training run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mgresnet.data import Split
from mgresnet.learning.evaluation import EpochRow
from mgresnet.learning.record import Record
from mgresnet.plotting.style import STYLE


def save_curves(
    path: Path, records: Sequence[Record], rows: Sequence[EpochRow], score_name: str
) -> None:
    """Draw loss, score and residuals over a training run.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    records : sequence of Record
        One per step.
    rows : sequence of EpochRow
        Lines of the table, the last one of the last epoch.
    score_name : str
        Label of the score.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.4), layout="constrained")
        axes = figure.subplots(1, 3)
        _losses(axes[0], records, rows)
        _scores(axes[1], rows, score_name)
        _residuals(axes[2], records)
        figure.savefig(path, dpi=150)


def save_regions(
    path: Path,
    x: NDArray[Any],
    predicted: NDArray[Any],
    truth: NDArray[Any],
    points: Split,
) -> None:
    """Draw predicted classes beside the true ones.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    x : ndarray, shape (n,)
        Coordinates of a square grid, in both directions.
    predicted, truth : ndarray of int, shape (n, n)
        Classes on the grid, rows along the second coordinate.
    points : Split
        Labelled points to draw on top.
    """
    n_classes = int(truth.max()) + 1
    colours = ListedColormap(
        mpl.colormaps["viridis"](np.linspace(0.08, 0.95, n_classes))
    )
    norm = BoundaryNorm(np.arange(n_classes + 1) - 0.5, n_classes)
    extent = (x[0], x[-1], x[0], x[-1])
    right = float(np.mean(predicted == truth))
    titles = (f"network, {right:.1%} of the square right", "truth, with new data")
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(8.6, 4.0), layout="compressed")
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        for axis, classes, title in zip(axes, (predicted, truth), titles, strict=True):
            image = axis.imshow(
                classes, origin="lower", extent=extent, cmap=colours, norm=norm
            )
            axis.set(title=title, xlabel="$x_1$")
        axes[0].set_ylabel("$x_2$")
        axes[1].scatter(
            *points.inputs.T,
            c=points.targets,
            cmap=colours,
            norm=norm,
            s=9,
            edgecolors="white",
            linewidths=0.4,
        )
        bar = figure.colorbar(image, ax=axes, ticks=range(n_classes), shrink=0.85)
        bar.set_label("class")
        figure.savefig(path, dpi=150)


def _losses(axis: Any, records: Sequence[Record], rows: Sequence[EpochRow]) -> None:
    steps = np.arange(1, len(records) + 1) / len(records) * rows[-1].epoch
    axis.semilogy(
        steps,
        [r.loss for r in records],
        color="0.75",
        lw=0.8,
        label="training, per batch",
    )
    epochs = [row.epoch for row in rows]
    axis.semilogy(
        epochs,
        [row.training.loss for row in rows],
        "C0.-",
        label="training data, inexact",
    )
    axis.semilogy(
        epochs, [row.exact.loss for row in rows], "C1.--", label="training data, exact"
    )
    axis.semilogy(
        epochs, [row.validation.loss for row in rows], "C2.-", label="new data, exact"
    )
    axis.set(xlabel="epoch", title="loss")
    axis.legend(fontsize=8)


def _scores(axis: Any, rows: Sequence[EpochRow], name: str) -> None:
    epochs = [row.epoch for row in rows]
    axis.plot(
        epochs, [row.training.score for row in rows], "C0.-", label="training, inexact"
    )
    axis.plot(
        epochs, [row.exact.score for row in rows], "C1.--", label="training, exact"
    )
    axis.plot(
        epochs, [row.validation.score for row in rows], "C2.-", label="new data, exact"
    )
    axis.set(xlabel="epoch", title=name)
    axis.legend(fontsize=8)


def _residuals(axis: Any, records: Sequence[Record]) -> None:
    """Residual 2-norms of the states and adjoints that the gradients were taken at."""
    steps = [record.step for record in records]
    axis.plot(
        steps, [r.forward_residual for r in records], "C0-", lw=1, label="forward"
    )
    axis.plot(
        steps, [r.adjoint_residual for r in records], "C3-", lw=1, label="adjoint"
    )
    if any(r.forward_residual or r.adjoint_residual for r in records):
        axis.set_yscale("log")
    axis.set(xlabel="step", title="residual of the solves")
    axis.legend(fontsize=8)
