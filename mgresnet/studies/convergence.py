"""Few iterations, whatever the depth?  Residuals on trained weights and on others.

Two levels and F-relaxation, T = 5; intervals of 16 layers, which become shorter in time
as layers become more, and 16 intervals whatever the depth.  Weights are those of a
spline over depth or one row for each layer, as they are drawn, and after training on
the Peaks function: at random weights everything converges, after training it need not.

References
----------
.. [1] R. Datar, H. Köstler, talk abstract: fast convergence for more than 1900 layers.
.. [2] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural Networks",
   SIAM J. Math. Data Sci. 2(1), 2020.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from mgresnet.control import BSpline, Control, Free
from mgresnet.data import batches, load_problem
from mgresnet.layers import Dense, Linear
from mgresnet.learning.optimisers import adam
from mgresnet.learning.trainer import train
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.solve.gradient import value_and_gradient
from mgresnet.solve.regression import LeastSquares
from mgresnet.studies.study import Case, Request, Row, Study

CONTROLS: dict[str, Control] = {"free": Free(), "spline": BSpline(12)}
OPERATORS = ("injection", "mean", "matched", "third_order")
MOST = 8
INTERVALS = 16
DIGITS = 1e-6
WAYS = ("forward", "adjoint")


def cases(request: Request) -> list[Case]:
    """Both kinds of weights, drawn and trained, for every depth and seed."""
    depths = (64, 128) if request.quick else (64, 256, 1024, 2048)
    steps = 10 if request.quick else 150
    return [
        {"control": name, "steps": n, "depth": depth, "coarsening": m, "seed": seed}
        for seed in request.repetitions(5)
        for name in CONTROLS
        for n in (0, steps)
        for depth in depths
        for m in sorted({INTERVALS, depth // INTERVALS})
        if m > 1
    ]


@lru_cache(maxsize=1)
def network(
    control: str, steps: int, depth: int, seed: int
) -> tuple[Network, Params, Any]:
    """Network with drawn or trained weights, and a batch."""
    data = load_problem("peaks-regression", n_train=400, seed=seed).train
    ends = Linear(2, 8, "tanh"), Linear(8, 1)
    net = Network(Dense(8), depth, 5.0, *ends, CONTROLS[control])
    params = net.init(seed)
    if steps:
        some = batches(data, 100, epochs=1 + steps // 4, seed=seed)
        taken = (batch for _, batch in zip(range(steps), some, strict=False))
        how: dict[str, Any] = {"optimiser": adam(0.01), "objective": LeastSquares()}
        *_, last = train(net, params, taken, **how)
        params = last.params
    return net, params, (data.inputs[:100], data.targets[:100])


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Relative residuals before each correction, of both solves."""
    given = (case[name] for name in ("control", "steps", "depth", "seed"))
    net, params, batch = network(*given)
    found: dict[str, Any] = {}
    for operator in OPERATORS:
        options = MGRITOptions(
            (case["coarsening"],),
            max_iterations=MOST,
            tolerance=0.0,
            coarse_operator=operator,
        )
        how: dict[str, Any] = {"forward": options, "adjoint": options, "keep": "all"}
        value, _, info = value_and_gradient(
            net, params, *batch, objective=LeastSquares(), **how
        )
        found[operator] = {
            way: relative(getattr(info, way), case["coarsening"]) for way in WAYS
        }
        found["loss"] = value
    return found


def relative(solution: Any, m: int) -> list[float]:
    """Residuals over the norm of the C-points, finite ones alone."""
    size = float(np.linalg.norm(solution.states[::m]))
    residuals = [*solution.residuals, solution.final_residual]
    return [float(r) / size for r in residuals if np.isfinite(r)]


def corrections(histories: list[list[float]]) -> str:
    """How many it takes to a residual of `DIGITS`, for the seeds from least to most."""
    within = [[k for k, r in enumerate(h) if r <= DIGITS] for h in histories]
    counts = sorted(some[0] if some else MOST + 1 for some in within)
    least, most = (f">{MOST}" if n > MOST else str(n) for n in (counts[0], counts[-1]))
    return least if least == most else f"{least}..{most}"


def about(case: Case) -> str:
    """Name of the weights."""
    return f"{'trained' if case['steps'] else 'drawn'} {case['control']}"


def groups(rows: list[Row]) -> dict[tuple[str, int, int], list[Row]]:
    """Rows of all seeds by weights, depth and coarsening."""
    found: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        key = about(row.case), row.case["depth"], row.case["coarsening"]
        found.setdefault(key, []).append(row)
    return found


def histories(some: list[Row], operator: str, way: str) -> list[list[float]]:
    """Residuals of all seeds."""
    return [row.result[operator][way] for row in some]


def table(rows: list[Row]) -> list[str]:
    """Corrections that are needed, forward and back, for every operator."""
    seeds = len({row.case["seed"] for row in rows})
    lines = [
        f"corrections to a relative residual of {DIGITS:.0e}, forward + adjoint, from "
        f"least to most of {seeds} seeds",
        f"{'weights':15s} {'depth':>6s} {'m':>4s} "
        + "".join(f"{o:>15s}" for o in OPERATORS),
    ]
    for (weights, depth, m), some in groups(rows).items():
        cells = (
            " + ".join(corrections(histories(some, operator, way)) for way in WAYS)
            for operator in OPERATORS
        )
        numbers = "".join(f"{cell:>15s}" for cell in cells)
        lines.append(f"{weights:15s} {depth:6d} {m:4d} {numbers}")
    return lines


def draw(rows: list[Row]) -> dict[str, Any]:
    """Residuals of the deepest networks, of all seeds."""
    from mgresnet.plotting.convergence import draw_histories

    deepest = max(row.case["depth"] for row in rows)
    figures = {}
    for m in sorted({INTERVALS, deepest // INTERVALS}):
        some = {k: v for k, v in groups(rows).items() if k[1:] == (deepest, m)}
        for way in WAYS:
            panels = {
                f"{weights}, {deepest} layers, m = {m}": {
                    operator: _padded(histories(part, operator, way))
                    for operator in OPERATORS
                }
                for (weights, *_), part in some.items()
            }
            y_label = f"relative residual, {way}"
            figures[f"{way}-{m}"] = draw_histories(panels, y_label=y_label)
    return figures


def _padded(some: list[list[float]]) -> list[list[float]]:
    """Histories of all seeds, equally long."""
    return [history + [np.nan] * (MOST + 1 - len(history)) for history in some]


STUDY = Study(
    "iterations over depth, on drawn and on trained weights",
    cases,
    measure,
    table,
    draw,
)
