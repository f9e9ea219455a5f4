"""A gradient whose estimated error is small enough."""

import math
import operator
import time
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mgresnet.accuracy.gradient_error import GradientError, estimate
from mgresnet.arrays.checks import real
from mgresnet.arrays.trees import Gather, global_norm
from mgresnet.chain import Chain
from mgresnet.learning.controller import (
    SERIAL,
    Adaptive,
    Fixed,
    Plan,
    largest_affordable,
    planned_options,
)
from mgresnet.learning.portions import Portion, take_portion
from mgresnet.learning.watch import Watch
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.parallel.grid import as_process_grid
from mgresnet.solve.gradient import GradientProblem, Info, pose_gradient
from mgresnet.solve.objectives import Objective
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.stages import own_gather


class Both(NamedTuple):
    """Something about the forward solve and the same about the adjoint."""

    forward: Any
    adjoint: Any


class Accurate(NamedTuple):
    """A gradient, how good it is, and what it took."""

    value: float
    gradient: Any
    info: Info
    norm: float
    error: GradientError  # relative to the norm
    plans: Both  # Plan that led to this gradient
    watch: Watch  # on the error of this rank's portion
    iterations: Both  # done, or SERIAL
    seconds: Counter[str]


def accurate_gradient(
    net: Network | Chain,
    params: Any,
    inputs: Any,
    targets: Any,
    *,
    rules: Both,
    plans: Both,
    objective: Objective,
    regularisation: Regularisation | None,
    comm: Any,
    keep: str = "auto",
    watch: Watch | None = None,
) -> Accurate:
    """Carry out plans, and iterate on from there while the rules find the error large.

    Parameters
    ----------
    net : Network
    params : Params
        What this rank owns.
    inputs, targets : ndarray
        Of the whole batch.
    rules : Both
        `Fixed` or `Adaptive`, for each solve.
    plans : Both
        `Plan` for each solve.
    objective, regularisation
        As in `value_and_gradient`.
    comm : ProcessGrid, or what `value_and_gradient` takes
        A grid divides the batch over its data ranks.
    keep : {"all", "c-points", "auto"}
        As in `value_and_gradient`.
    watch : Watch, optional
        From an earlier step, to predict the error, which is estimated only if that is
        too large.
    """
    grid = as_process_grid(comm)
    gather = own_gather(net, grid.layer)
    portion = take_portion(inputs, targets, grid.data)
    seconds: Counter[str] = Counter()
    taken = done = Both(0, 0)
    own = None
    while True:
        options = Both(*map(_options, rules, plans, done))
        loss = portion.targets, objective, regularisation
        ways = options.forward, options.adjoint, grid.layer
        problem = pose_gradient(net, params, portion.inputs, *loss, *ways)
        mine = problem.find(own, None, keep)
        own = mine[2]
        judged = watch and _judge(portion, mine, watch.extrapolate(own), gather)
        if judged is None or not _holds(rules, judged.error):
            started = time.perf_counter()
            seen = _estimate(problem, own)
            seconds.update({"estimate": time.perf_counter() - started})
            judged = _judge(portion, mine, seen, gather)
        value, gradient, info, norm, error, seen = judged
        seconds.update(info.seconds)
        solved = (info.forward.iterations, info.adjoint.iterations)
        taken = Both(*map(operator.add, taken, solved))
        serial = [plan.iterations == SERIAL for plan in plans]
        if rules.forward.accepts(error.total) or all(serial):
            counts = Both(*np.where(serial, SERIAL, taken).tolist())
            found = (info, norm, error, plans, seen, counts, seconds)
            return Accurate(value, gradient, *found)
        watch = None
        done = Both(*(plan.iterations for plan in plans))
        plans = _more(rules, plans, error)


class Judged(NamedTuple):
    """What a whole batch has; the error is relative to the norm."""

    value: float
    gradient: Any
    info: Info
    norm: float
    error: GradientError
    seen: Watch  # on the error of this rank's portion


def _judge(
    portion: Portion, mine: tuple[float, Any, Info], seen: Watch, gather: Gather
) -> Judged:
    """Put the portions together, with what each has seen of its error."""
    value, gradient, own = mine
    value, gradient, absolute, info = portion.whole(value, gradient, seen.error, own)
    norm = global_norm(gradient, gather)
    error = GradientError(*(part / max(norm, 1e-300) for part in absolute))
    return Judged(value, gradient, info, norm, error, seen)


def _holds(rules: Both, predicted: GradientError) -> bool:
    """Whether an error need not be estimated to be accepted."""
    accepted: bool = rules.forward.accepts(predicted.total)
    return accepted and math.isfinite(predicted.total)


def _estimate(problem: GradientProblem, info: Info) -> Watch:
    """Estimate the error of the gradient of a portion."""
    net, owned, slab = problem.net, problem.owned, problem.slabs[0]
    options = slab.options, problem.backs[0].options
    loss = problem.targets, problem.objective
    given = net, owned, info.forward, info.adjoint, *loss, options, slab.comm
    return Watch.at(estimate(*given), info)


def adaptive_rules(
    forward: MGRITOptions,
    adjoint: MGRITOptions,
    tolerance: float,
    interval: int,
    ranks: int,
) -> Both:
    """Rules that keep the relative error of every gradient below a tolerance."""
    if not real("gradient_tolerance", tolerance) > 0.0:
        raise ValueError(
            f"gradient_tolerance is {tolerance}, needed a number > 0 such as 0.01, or "
            "None to follow the options"
        )
    rules = []
    for options in (forward, adjoint):
        largest = largest_affordable(options, interval, ranks)
        rules.append(Adaptive(replace(options, tolerance=0.0), tolerance, largest))
    return Both(*rules)


def next_plans(rules: Both, found: Accurate) -> Both:
    """Plans for the step after this one."""
    plans, error, info = found.plans, found.error, found.info
    return Both(
        rules.forward.next(plans.forward, error.forward, info.forward),
        rules.adjoint.next(plans.adjoint, error.adjoint, info.adjoint),
    )


def _options(rule: Fixed | Adaptive, plan: Plan, done: int) -> Any:
    return planned_options(rule.options, plan, max(done, 0))


def _more(rules: Both, plans: Both, error: GradientError) -> Both:
    """Do more for the solve that adds the larger part of the error, if it can.

    Solves that ran off to infinity are no start for further iterations.
    """
    if not math.isfinite(error.total):
        return Both(rules.forward.give_up(), rules.adjoint.give_up())
    forward_first = error.forward >= error.adjoint
    if plans.adjoint.iterations == SERIAL or (
        forward_first and plans.forward.iterations != SERIAL
    ):
        return plans._replace(forward=rules.forward.more(plans.forward))
    return plans._replace(adjoint=rules.adjoint.more(plans.adjoint))
