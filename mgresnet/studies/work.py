"""Work in units of the papers: one exact gradient of the finest network is 1.

A solve with k corrections sweeps k + 1 times through all layers, and k times through
the coarse steps, each as dear as its stages; a march through all layers is one sweep.
A value for a line search is half of a gradient with as many corrections.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.learning.ladder import SERIAL, Plan
from mgresnet.learning.oracle import Both
from mgresnet.learning.record import Record
from mgresnet.mgrit.options import MGRITOptions

Floats = NDArray[np.float64]


def plans_of(record: Record, options: MGRITOptions) -> Both:
    """How both solves of a step were done, by options unless plans were chosen."""
    if record.plans is not None:
        return Both(*record.plans)
    how = options.coarsening, options.coarse_operator
    serial = not options.iterates(options.coarsening)
    return Both(
        *(
            Plan(*how, SERIAL if serial else k)
            for k in (record.forward_iterations, record.adjoint_iterations)
        )
    )


def sweeps(plan: Plan) -> float:
    """Marches through all layers that a solve on two levels is worth."""
    if plan.iterations == SERIAL:
        return 1.0
    scheme = COARSE_OPERATORS[plan.operator].scheme(plan.interval)
    coarse = len(scheme.b) / plan.interval
    return plan.iterations + 1 + plan.iterations * coarse


def work_units(
    records: Iterable[Record], options: MGRITOptions, depth: int
) -> list[float]:
    """Units done after every step, with the values that `lbfgs` has asked for.

    Parameters
    ----------
    records : iterable of Record
        Those of nested iteration may be of networks with fewer layers.
    options : MGRITOptions
        Of both solves.
    depth : int
        Layers of the finest network.
    """
    spent, asked = [], 0
    for record in records:
        there, back = map(sweeps, plans_of(record, options))
        values = getattr(record.state.optimiser, "values", 0)
        layers = sum(record.state.depth) / depth
        spent.append(layers * (there + back + (values - asked) * there) / 2.0)
        asked = values
    return [*itertools.accumulate(spent)]


def rounded(values: Iterable[float]) -> list[float]:
    """Six digits, which are enough for a curve."""
    return [float(f"{value:.6g}") for value in values]


def on_grid(
    x: Sequence[float], y: Sequence[float], grid: Sequence[float] | Floats
) -> list[float]:
    """Last value that was known at every place of a grid; the first before any."""
    places = np.searchsorted(np.asarray(x), np.asarray(grid), side="right") - 1
    return [y[max(place, 0)] for place in places.tolist()]
