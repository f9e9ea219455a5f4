"""One training run, serial or parallel over layers: losses, work, modelled seconds.

Seconds on P ranks are those of the performance model for the plans that every step
followed, stage after stage of a chain, from costs measured here once, and a network
like InfiniBand; on no more ranks than there are slabs.  Serial training takes one
rank, however many there are.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mgresnet.chain import Chain, networks_of
from mgresnet.data import Problem, batches
from mgresnet.learning.controller import planned_options
from mgresnet.learning.evaluation import evaluate
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
from mgresnet.solve.stages import trees_of
from mgresnet.studies.study import Request
from mgresnet.studies.work import plans_of, rounded, work_units

SERIAL, PARALLEL = "layer-serial", "layer-parallel"
WAYS = (SERIAL, PARALLEL)
OPTIONS = MGRITOptions((16,), max_iterations=20, tolerance=0.0)
MACHINE = MACHINES["infiniband"]
POINTS = 50  # of a curve


class Solver(NamedTuple):
    """How training in parallel solves.

    Parameters
    ----------
    options : MGRITOptions
    tolerance : float
        Of the gradient's relative error, for the controller.
    ranks : int, or None
        That it plans for; by default the most of the request.
    """

    options: MGRITOptions = OPTIONS
    tolerance: float = 0.05
    ranks: int | None = None


CONTROLLED = Solver()


def run(
    way: str,
    net: Network | Chain,
    problem: Problem,
    request: Request,
    objective: Objective,
    optimiser: Transform,
    solver: Solver = CONTROLLED,
    **sizes: Any,
) -> dict[str, Any]:
    """Train, and evaluate by exact propagation.

    Parameters
    ----------
    way : str
        One of `WAYS`.
    net, problem, request, objective, optimiser
    solver : Solver
        In parallel.
    sizes : int
        ``steps``, ``batch`` and ``seed``.
    """
    steps, batch, seed = (sizes[name] for name in ("steps", "batch", "seed"))
    batch = min(batch, len(problem.train.inputs))
    passes = 1 + steps // (len(problem.train.inputs) // batch)
    some = batches(problem.train, batch, passes, seed, drop_last=True)
    taken = (each for _, each in zip(range(steps), some, strict=False))
    how: dict[str, Any] = {"optimiser": optimiser, "objective": objective}
    options = solver.options
    if way == PARALLEL:
        how |= {"ranks": solver.ranks or max(request.ranks), "check_every": 10}
        how |= {"gradient_tolerance": solver.tolerance, "forward": options}
    else:
        how |= {"forward": exactly(options)}
    how |= {"adjoint": how["forward"]}
    records, options = list(train(net, net.init(seed), taken, **how)), how["forward"]
    depth = sum(one.depth for one in networks_of(net))
    last, units = records[-1], work_units(records, options, depth)
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
        "params": sum(
            part.size
            for own in trees_of(net, last.params)
            for part in own
            if part is not None
        ),
        "corrections": float(np.mean([r.forward_iterations for r in records])),
        "plans": [plans_by_name(part, options) for part in quarters(records)],
        "pipeline": {
            str(p): exact_seconds(net, options, batch, p) for p in request.ranks
        },
    }


def running_mean(values: Sequence[float], width: int = 20) -> list[float]:
    """Mean of the last values, of batches that are all different."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    means: list[float] = ((sums[ends] - sums[starts]) / (ends - starts)).tolist()
    return means


def exactly(options: MGRITOptions) -> MGRITOptions:
    """Exact propagation by ranks that own the same layers."""
    return MGRITOptions.serial(options.coarsening, options.slabs)


def quarters(records: Sequence[Record]) -> list[Sequence[Record]]:
    """Those of the four quarters of a run."""
    ends = [len(records) * i // 4 for i in range(5)]
    return [records[i:j] for i, j in itertools.pairwise(ends)]


def plans_by_name(records: Sequence[Record], options: MGRITOptions) -> dict[str, float]:
    """Share of all solves that followed a plan."""
    names = [str(plan) for record in records for plan in plans_of(record, options)]
    counts = Counter(names)
    return {name: n / counts.total() for name, n in counts.most_common()}


def seconds(
    records: Sequence[Record],
    net: Network | Chain,
    options: MGRITOptions,
    batch: int,
    ranks: int,
) -> list[float]:
    """Modelled seconds on so many ranks until the end of every step."""
    took, operator = [], options.coarse_operator
    for record in records:
        ways = [planned_options(options, plan) for plan in plans_of(record, options)]
        given = batch, ranks, operator, *ways
        took.append(sum(_step_seconds(body, *given) for body in bodies(net)))
    total: list[float] = np.cumsum(took).tolist()
    return total


def exact_seconds(
    net: Network | Chain, options: MGRITOptions, batch: int, ranks: int
) -> float:
    """Modelled seconds of an exact step, samples of which go through all ranks."""
    exact, total = exactly(options), 0.0
    for body in bodies(net):
        config = Configuration(body, batch, 8, exact, exact)
        size = min(ranks, config.grid.n_runs)
        rates = _rates(body, batch, options.coarse_operator)
        total += predict("step", config, rates, MACHINE, size).seconds
    return total


def bodies(net: Network | Chain) -> list[Network]:
    """All stages without their maps."""
    return [
        Network(one.layer, one.depth, one.final_time, control=one.control)
        for one in networks_of(net)
    ]


@lru_cache
def _rates(net: Network, batch: int, operator: str) -> Rates:
    """Costs, measured once for a network; those of few corrections serve for all.

    Other coarse operators cost what this one does.
    """
    few = MGRITOptions(
        (min(OPTIONS.coarsening[0], net.depth // 4),),
        max_iterations=1,
        tolerance=0.0,
        coarse_operator=operator,
    )
    return measure_rates("step", Configuration(net, batch, 8, few, few))


@lru_cache
def _step_seconds(
    net: Network,
    batch: int,
    ranks: int,
    operator: str,
    forward: MGRITOptions,
    adjoint: MGRITOptions,
) -> float:
    """Seconds of a step; serial ones are those of a single rank."""
    rates = _rates(net, batch, operator)
    config = Configuration(net, batch, 8, forward, adjoint)
    if config.serial:
        return serial_seconds("step", config, rates)
    size = min(ranks, config.grid.n_runs)
    return predict("step", config, rates, MACHINE, size).seconds
