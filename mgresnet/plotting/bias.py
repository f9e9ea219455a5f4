"""Figures on the error of gradients and what it does to training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from mgresnet.learning.bias import BiasBudget
from mgresnet.learning.record import Record
from mgresnet.plotting.style import STYLE

COLOURS = ("0.35", "C0", "C3")


def save_bias(path: Path, runs: Sequence[dict[str, Any]]) -> None:
    """Draw final losses per seed, and estimated over true gradient errors.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    runs : sequence of dict
        With keys problem, control, method, exact_loss, seen_loss, estimated, true.
    """
    problems = list(dict.fromkeys(run["problem"] for run in runs))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(problems), 6.4), layout="constrained")
        axes = figure.subplots(2, len(problems), squeeze=False)
        for column, problem in enumerate(problems):
            chosen = [run for run in runs if run["problem"] == problem]
            _losses(axes[0, column], problem, chosen)
            _errors(axes[1, column], chosen)
        axes[0, 0].set_ylabel("final training loss")
        axes[1, 0].set_ylabel("estimated gradient error")
        axes[1, 0].legend(fontsize=8)
        figure.savefig(path, dpi=150)


def draw_gradient_errors(
    runs: Mapping[str, Sequence[Record]],
    true: Mapping[str, Mapping[int, float]] | None = None,
    tolerance: float | None = None,
) -> Figure:
    """Estimated gradient error and iterations over a training run, a column per run.

    Parameters
    ----------
    runs : mapping of title to sequence of Record
    true : mapping of title to mapping of step to true relative error, optional
        Drawn as dots.
    tolerance : float, optional
        Drawn as a horizontal line.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.4 * len(runs), 4.6), layout="constrained")
        axes = figure.subplots(
            2,
            len(runs),
            squeeze=False,
            sharex=True,
            sharey="row",
            height_ratios=(2, 1),
        )
        for column, (title, records) in enumerate(runs.items()):
            upper, lower = axes[:, column]
            errors = [max(record.gradient_error or 0.0, 1e-16) for record in records]
            upper.semilogy(errors, "C0-", lw=1, label="estimated")
            if true and title in true:
                steps, values = zip(*true[title].items(), strict=True)
                upper.semilogy(steps, values, "C3.", ms=5, label="true")
            if tolerance is not None:
                upper.axhline(tolerance, color="k", ls=":", lw=1)
            upper.set_title(title)
            for kind, colour in (("forward", "C0"), ("adjoint", "C3")):
                counts = [getattr(record, f"{kind}_iterations") for record in records]
                lower.step(range(len(counts)), counts, colour, lw=1, label=kind)
            lower.set_xlabel("step")
        axes[0, 0].set_ylabel("relative gradient error")
        axes[1, 0].set_ylabel("iterations")
        axes[0, 0].legend(fontsize=8)
        axes[1, 0].legend(fontsize=8)
    return figure


def draw_losses(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Losses over epochs, one panel per case, one line per label.

    Parameters
    ----------
    panels : mapping of title to mapping of label to sequence of float
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.4 * len(panels), 3.3), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        styles = ("-", "--", "-.", ":")
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for i, (label, losses) in enumerate(lines.items()):
                epochs = range(1, len(losses) + 1)
                axis.semilogy(epochs, losses, f"C{i}", ls=styles[i % 4], label=label)
            axis.set(title=title, xlabel="epoch")
        axes[0].set_ylabel("loss")
        axes[0].legend(fontsize=8)
    return figure


def draw_bias_budgets(budgets: Mapping[str, BiasBudget]) -> Figure:
    """Both sides of the biased-gradient theorem, and the collected bias.

    Parameters
    ----------
    budgets : mapping of title to BiasBudget
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.4 * len(budgets), 3.3), layout="constrained")
        axes = figure.subplots(1, len(budgets), squeeze=False, sharey=True)[0]
        for axis, (title, budget) in zip(axes, budgets.items(), strict=True):
            axis.semilogy(budget.right, "k--", lw=1, label="right side")
            axis.semilogy(budget.left, "C0-", lw=1, label="left side")
            axis.semilogy(
                budget.weighted_biases, "C3-", lw=1, label="B, collected bias"
            )
            axis.set(title=title, xlabel="step")
        axes[0].legend(fontsize=8)
    return figure


def _losses(axis: Any, problem: str, runs: Sequence[dict[str, Any]]) -> None:
    """Exact inference as dots, what training saw as lines, one column per setting."""
    settings = list(dict.fromkeys((run["control"], run["method"]) for run in runs))
    for x, setting in enumerate(settings):
        members = [run for run in runs if (run["control"], run["method"]) == setting]
        exact = [run["exact_loss"] for run in members]
        colour = COLOURS[_method_index(runs, setting[1])]
        shifts = x + np.linspace(-0.25, 0.25, len(members))
        axis.plot(shifts, exact, "o", ms=3.5, color=colour)
        for shift, run in zip(shifts, members, strict=True):
            axis.plot(
                [shift, shift], [run["seen_loss"], run["exact_loss"]], color=colour
            )
    labels = [f"{control}\n{method.split()[0]}" for control, method in settings]
    axis.set_xticks(range(len(settings)), labels, fontsize=7)
    axis.set(title=problem, yscale="log")


def _errors(axis: Any, runs: Sequence[dict[str, Any]]) -> None:
    """Estimated against true relative error, all checked steps of all runs."""
    for method in dict.fromkeys(run["method"] for run in runs):
        members = [run for run in runs if run["method"] == method]
        true = np.concatenate([run["true"] for run in members])
        estimated = np.concatenate([run["estimated"] for run in members])
        inexact = true > 1e-12
        if inexact.any():
            colour = COLOURS[_method_index(runs, method)]
            axis.loglog(
                true[inexact],
                estimated[inexact],
                ".",
                ms=2,
                color=colour,
                alpha=0.5,
                label=method,
            )
    ends = np.array([1e-5, 10.0])
    axis.plot(ends, ends, "k-", lw=0.8)
    for factor in (1.0 / 3.0, 3.0):
        axis.plot(ends, factor * ends, "k:", lw=0.8)
    axis.set(xlabel="true gradient error", xlim=ends, ylim=ends)


def _method_index(runs: Sequence[dict[str, Any]], method: str) -> int:
    return list(dict.fromkeys(run["method"] for run in runs)).index(method)
