"""Tables and figures of the studies of convergence, from their results alone."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from harness.table import Rows, distinct, floats, geometric_mean, select, short, table
from mgresnet.plotting import draw_factors, draw_histories, draw_iterations

Study = dict[str, Any]


def report(results: dict[str, Study]) -> str:
    """A table of means over the seeds for every study."""
    return "\n\n".join(TABLES[name](study) for name, study in results.items())


def figures(results: dict[str, Study]) -> Iterator[tuple[str, Any]]:
    """What is drawn of the studies that are there."""
    for name, study in results.items():
        yield from FIGURES.get(name, lambda study: ())(study)


def _table(rows: Rows, keys: tuple[str, ...], **columns: Callable[[Any], str]) -> str:
    """The entries that tell rows apart, and what is made of the others."""
    head = [*keys, *(name.replace("_", " ") for name in columns)]
    made = columns.values()
    return table(head, ([*(r[k] for k in keys), *(f(r) for f in made)] for r in rows))


def _histories(study: Study) -> str:
    def worst_third_over_first(row: Any) -> str:
        runs = np.array(row["residuals"])
        return f"{(runs[:, 2] / runs[:, 0]).max():.1e}"

    return "Residuals before corrections 1, 2, ...\n\n" + _table(
        study["rows"],
        ("weights", "final_time", "direction", "operator"),
        residuals=lambda row: short(geometric_mean(row["residuals"])),
        worst_third_over_first=worst_third_over_first,
    )


def _factors(study: Study) -> str:
    keys = ("weights", "activation", "final_time", "direction", "coarsening")
    return f"Factor per iteration, depths {study['depths']}\n\n" + _table(
        study["rows"], (*keys, "operator"), factors=lambda row: short(row["mean"])
    )


def _depths(study: Study) -> str:
    def spread(row: Any) -> str:
        counts = [[21 if c is None else c for c in run] for run in row["iterations"]]
        ends = zip(np.min(counts, axis=0), np.max(counts, axis=0), strict=True)
        return " ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in ends)

    keys = ("weights", "final_time", "direction", "coarsening", "operator")
    title = f"Iterations, least and most of the seeds, depths {study['long_depths']}"
    return f"{title}\n\n{_table(study['rows'], keys, iterations=spread)}"


def _gradients(study: Study) -> str:
    return "Relative errors of gradients\n\n" + _table(
        study["rows"],
        ("weights", "final_time", "operator", "corrections"),
        mean=lambda row: f"{geometric_mean(row['errors']):.1e}",
        worst=lambda row: f"{max(row['errors']):.1e}",
    )


def _guesses(study: Study) -> str:
    return "Relative residuals when 0, 1, 2, ... coarse solves have been made\n\n" + (
        _table(
            study["rows"],
            ("weights", "batch", "step", "guess"),
            residuals=lambda row: short(row["residuals"]),
        )
    )


TABLES = {
    "histories": _histories,
    "factors": _factors,
    "depths": _depths,
    "gradients": _gradients,
    "guesses": _guesses,
}


def _draw_histories(study: Study) -> Iterable[tuple[str, Any]]:
    rows = select(study["rows"], final_time=5.0)
    for direction in ("forward", "adjoint"):
        panels = {}
        for weights in distinct(rows, "weights"):
            chosen = select(rows, weights=weights, direction=direction)
            panels[weights] = {r["operator"]: floats(r["residuals"]) for r in chosen}
        yield f"-histories-{direction}", draw_histories(panels)


def _draw_factors(study: Study) -> Iterable[tuple[str, Any]]:
    rows = select(study["rows"], activation="tanh", final_time=5.0, direction="forward")
    two = [row for row in rows if len(row["coarsening"]) == 1]
    middle = len(study["depths"]) // 2 - 1
    panels: dict[str, Any] = {}
    over_depth: dict[str, Any] = {}
    for weights, operator in distinct(two, "weights", "operator"):
        chosen = select(two, weights=weights, operator=operator)
        (at_16,) = select(chosen, coarsening=[16])
        factors = floats([row["mean"][middle] for row in chosen])
        panels.setdefault(weights, {})[operator] = factors
        over_depth.setdefault(weights, {})[operator] = floats(at_16["mean"])
    m = [
        coarsening[0]
        for coarsening in dict.fromkeys(tuple(r["coarsening"]) for r in two)
    ]
    yield "-factors", draw_factors(panels, m)
    title = "depth N, with m = 16"
    yield "-factors-depth", draw_factors(over_depth, study["depths"], title)


def _draw_depths(study: Study) -> Iterable[tuple[str, Any]]:
    rows = select(study["rows"], final_time=5.0, direction="forward")
    for weights, name in (("smooth", "smooth"), ("trained spline", "trained")):
        panels: dict[str, Any] = {}
        for row in select(rows, weights=weights):
            counts = floats(row["iterations"])
            panels.setdefault(row["coarsening"], {})[row["operator"]] = counts
        figure = draw_iterations(panels, study["long_depths"], 1e-8)
        yield f"-depths-{name}", figure


FIGURES = {
    "histories": _draw_histories,
    "factors": _draw_factors,
    "depths": _draw_depths,
}
