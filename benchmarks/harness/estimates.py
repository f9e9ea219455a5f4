"""Estimates of the gradient's error beside the true one."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import mgresnet as mg
from harness.problem import norm, relative_error
from harness.table import Rows, distinct, select, table
from mgresnet.solve.objectives import Objective

HEAD = ["true error", "estimate / true error", "least to largest"]


def ratios(
    net: Any,
    params: Any,
    batch: Any,
    objective: Objective,
    solvers: Mapping[int, mg.MGRITOptions],
) -> Rows:
    """True relative error, and estimate over true error, by corrections."""
    serial = mg.MGRITOptions.serial(next(iter(solvers.values())).coarsening)
    exact, _ = _gradient(net, params, batch, objective, serial)
    rows = []
    for k, solver in solvers.items():
        inexact, info = _gradient(net, params, batch, objective, solver)
        true = float(relative_error(inexact, exact))
        given = net, params, info.forward, info.adjoint, batch[1]
        how = {"objective": objective, "options": solver}
        estimate = mg.estimate_gradient_error(*given, **how).total
        ratio = float(estimate / true / norm(exact))
        rows.append({"corrections": k, "true": true, "ratio": ratio})
    return rows


def compared(rows: Rows, keys: Sequence[str]) -> str:
    """Medians over the seeds, and the range of the ratios."""
    lines = []
    for case in distinct(rows, *keys):
        chosen = select(rows, **dict(zip(keys, case, strict=True)))
        true = statistics.median(row["true"] for row in chosen)
        ratio = [row["ratio"] for row in chosen]
        spread = f"{min(ratio):.2f} to {max(ratio):.2f}"
        lines.append([*case, f"{true:.1e}", f"{statistics.median(ratio):.2f}", spread])
    return table([*keys, *HEAD], lines)


def _gradient(
    net: Any, params: Any, batch: Any, objective: Objective, way: mg.MGRITOptions
) -> Any:
    """Gradient, and the solutions it is from."""
    how = {"objective": objective, "forward": way, "adjoint": way}
    _, found, info = mg.value_and_gradient(net, params, *batch, **how)
    return found, info
