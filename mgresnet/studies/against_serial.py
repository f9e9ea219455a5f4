"""One training run, serial or parallel over layers: losses, work, modelled seconds.

Seconds on P ranks are those of the performance model for the corrections that every
step made, from costs measured here once, and a network like InfiniBand; on no more
ranks than there are intervals.  Serial training takes one rank, however many there are.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from mgresnet.data import Problem, batches
from mgresnet.learning.controller import planned_options
from mgresnet.learning.evaluation import evaluate
from mgresnet.learning.ladder import Plan
from mgresnet.learning.record import Record
from mgresnet.learning.trainer import train
from mgresnet.learning.transforms import Transform
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.parallel.machine import MACHINES
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.measure import measure_rates
from mgresnet.perfmodel.predict import predict, serial_seconds
from mgresnet.solve.objectives import Objective
from mgresnet.studies.study import Request
from mgresnet.studies.work import rounded, work_units

SERIAL, PARALLEL = "layer-serial", "layer-parallel"
WAYS = (SERIAL, PARALLEL)
OPTIONS = MGRITOptions((16,), max_iterations=20, tolerance=0.0)
EXACT = MGRITOptions.serial(OPTIONS.coarsening)
MACHINE = MACHINES["infiniband"]
POINTS = 50  # of a curve


def run(
    way: str,
    net: Network,
    problem: Problem,
    request: Request,
    objective: Objective,
    optimiser: Transform,
    **sizes: Any,
) -> dict[str, Any]:
    """Train, and evaluate by exact propagation.

    Parameters
    ----------
    way : str
        One of `WAYS`; in parallel the controller keeps errors of gradients below 5 %.
    net, problem, request, objective, optimiser
    sizes : int
        ``steps``, ``batch`` and ``seed``.
    """
    steps, batch, seed = (sizes[name] for name in ("steps", "batch", "seed"))
    batch = min(batch, len(problem.train.inputs))
    passes = 1 + steps // (len(problem.train.inputs) // batch)
    some = batches(problem.train, batch, passes, seed, drop_last=True)
    taken = (each for _, each in zip(range(steps), some, strict=False))
    how: dict[str, Any] = {"optimiser": optimiser, "objective": objective}
    options = EXACT if way == SERIAL else OPTIONS
    if way == PARALLEL:
        ways = {"forward": options, "adjoint": options, "ranks": max(request.ranks)}
        how |= {**ways, "gradient_tolerance": 0.05, "check_every": 10}
    records = list(train(net, net.init(seed), taken, **how))
    last, units = records[-1], work_units(records, options, net.depth)
    exact = evaluate(net, last.params, *problem.validation, objective=objective)
    places = np.unique(np.linspace(0, len(records) - 1, POINTS).astype(int)).tolist()
    smooth = running_mean([record.loss for record in records])
    clocks = {str(p): seconds(records, net, options, batch, p) for p in request.ranks}
    return {
        "step": places,
        "loss": rounded(smooth[i] for i in places),
        "units": rounded(units[i] for i in places),
        "seconds": {p: rounded(t[i] for i in places) for p, t in clocks.items()},
        "validation_loss": exact.loss,
        "score": exact.score,
        "params": sum(part.size for part in last.params if part is not None),
        "corrections": float(np.mean([r.forward_iterations for r in records])),
    }


def running_mean(values: Sequence[float], width: int = 20) -> list[float]:
    """Mean of the last values, of batches that are all different."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    means: list[float] = ((sums[ends] - sums[starts]) / (ends - starts)).tolist()
    return means


def seconds(
    records: Sequence[Record],
    net: Network,
    options: MGRITOptions,
    batch: int,
    ranks: int,
) -> list[float]:
    """Modelled seconds on so many ranks until the end of every step."""
    body = Network(net.layer, net.depth, net.final_time, control=net.control)
    plan = partial(Plan, options.coarsening, options.coarse_operator)
    counts = [
        (plan(record.forward_iterations), plan(record.adjoint_iterations))
        for record in records
    ]
    took = [
        _step_seconds(
            body, batch, ranks, *map(partial(planned_options, options), plans)
        )
        for plans in counts
    ]
    total: list[float] = np.cumsum(took).tolist()
    return total


@lru_cache
def _rates(net: Network, batch: int) -> Rates:
    """Costs, measured once for a network; those of few corrections serve for all."""
    few = MGRITOptions(OPTIONS.coarsening, max_iterations=1, tolerance=0.0)
    return measure_rates("step", Configuration(net, batch, 8, few, few))


@lru_cache
def _step_seconds(
    net: Network,
    batch: int,
    ranks: int,
    forward: MGRITOptions,
    adjoint: MGRITOptions,
) -> float:
    """Seconds of a step; serial ones are those of a single rank."""
    rates = _rates(net, batch)
    config = Configuration(net, batch, 8, forward, adjoint)
    if config.serial:
        return serial_seconds("step", config, rates)
    size = min(ranks, config.grid.steps[-1])
    return predict("step", config, rates, MACHINE, size).seconds
