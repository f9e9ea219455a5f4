"""A training step on P clocks, phase by phase as `learning` goes through it.

Where `solve.gradient`, `accuracy.gradient_error` or `learning.trainer` changes, the
function that names it here does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.parallel.machine import Machine
from mgresnet.parallel.shares import share_length
from mgresnet.perfmodel.clocks import Ints, Ranks
from mgresnet.perfmodel.coarsest import Solve, gather_coefficients, march_together
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.solves import (
    NUMBER,
    Work,
    approach,
    iterate,
    leave,
    result,
    slabs,
)
from mgresnet.solve.roundtrip import leaves_sweep
from mgresnet.timeline.grid import TimeGrid


@dataclass(frozen=True)
class Configuration:
    """What is to be predicted.

    Parameters
    ----------
    net : Network
    batch : int
        Samples.
    itemsize : int
        Bytes of a number: 8 or 4.
    forward, adjoint : MGRITOptions
        With the same coarsening; all ``max_iterations`` are done.
    keep : {"all", "c-points"}
        Which states are kept.
    """

    net: Network
    batch: int
    itemsize: int
    forward: MGRITOptions
    adjoint: MGRITOptions
    keep: str = "all"

    @property
    def grid(self) -> TimeGrid:
        """Levels."""
        return TimeGrid(self.net.depth, self.net.final_time, self.forward.coarsening)

    @property
    def sample(self) -> int:
        """Bytes of the state of a sample between two layers."""
        return math.prod(self.net.layer.state_shape) * self.itemsize

    @property
    def state(self) -> int:
        """Bytes of the states of a batch between two layers."""
        return self.sample * self.batch

    @property
    def coefficients(self) -> tuple[int, ...]:
        """Bytes of the coefficients of a coarse step."""
        operator = self.net.layer.coarse(self.forward.coarse_operator)
        n_moments = operator.moments(np.zeros((2, 1, 1)), 2, 1).size
        return (n_moments * self.net.layer.n_params * self.itemsize,)

    @property
    def serial(self) -> bool:
        """Whether both solves march through all layers."""
        both = (self.forward, self.adjoint)
        return not any(options.iterates(self.grid.factors) for options in both)

    @property
    def fused(self) -> bool:
        """Whether a gradient leaves the last sweep forward to the adjoint solve."""
        grid, back = self.grid, replace(self.grid, coarsening=self.adjoint.coarsening)
        return self.keep == "c-points" and leaves_sweep(grid, self.forward, back)


class Prediction(NamedTuple):
    """Outcome of `predict`."""

    seconds: float  # until the last rank is done
    phases: dict[str, float]  # seconds of its clock
    messages: Ints  # sent by every rank
    bytes: Ints
    work: dict[str, Work]  # by solve


class Course(NamedTuple):
    """A configuration on its way through the phases."""

    config: Configuration
    rates: Rates
    ranks: Ranks
    layers: Ints  # of every rank
    work: dict[str, Work]

    @property
    def ahead(self) -> Solve:
        """For solves forward."""
        config = self.config
        sizes = config.sample, config.batch, config.coefficients
        return Solve(self.ranks, self.rates.forward, *sizes, linearised=False)

    @property
    def back(self) -> Solve:
        """For adjoint solves, whose coarse steps are linearised at states."""
        ranks, costs = self.ranks.reversed(), self.rates.adjoint
        return self.ahead._replace(ranks=ranks, costs=costs, linearised=True)


def predict(
    task: str, config: Configuration, rates: Rates, machine: Machine, size: int
) -> Prediction:
    """Let P clocks go through a task.

    Parameters
    ----------
    task : {"forward", "adjoint", "gradient", "step"}
        A solve (backwards with the gradient for the layers), `value_and_gradient`, or a
        step of `train`.
    config : Configuration
    rates : Rates
    machine : Machine
    size : int
        Number of ranks.

    Raises
    ------
    ValueError
        If the network has too few intervals for the ranks, or the task is unknown.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; choose from {', '.join(TASKS)}")
    layers = slabs(config.grid, size)
    ranks = Ranks.start(size, machine)
    course = Course(config, rates, ranks, layers, {})
    TASKS[task](course)
    phases = {name: float(t) for name, t in ranks.spent.items() if t}
    return Prediction(ranks.elapsed, phases, ranks.messages, ranks.bytes, course.work)


def forward(c: Course) -> None:
    """`solve_forward`."""
    factors, options = c.config.grid.factors, c.config.forward
    c.work["forward"] = iterate(c.ahead, c.layers, factors, options)


def adjoint(c: Course) -> None:
    """`solve_adjoint`, behind a forward solve."""
    factors, ahead, options = c.config.grid.factors, c.config.forward, c.config.adjoint
    alike = ahead.coarse_operator == options.coarse_operator
    gathered = alike and ahead.iterates(factors)
    run, layers = c.back._replace(gathered=gathered), c.layers[::-1]
    c.work["adjoint"] = iterate(run, layers, factors, options)


def value_and_gradient(c: Course) -> None:
    """`solve.gradient.value_and_gradient` without regularisation."""
    c.ranks.compute(c.rates.ends.at(c.layers))
    c.ranks.charge("ends")
    swept = forward_but_last_sweep(c)
    close(c)
    c.ranks.charge("ends")
    adjoint(c)
    c.work["forward"] = swept()
    c.ranks.compute(c.rates.collect.at(c.layers.mean()))
    pull_back_control(c)
    c.ranks.charge("control")


def forward_but_last_sweep(c: Course) -> Callable[[], Work]:
    """`solve.roundtrip.go_there`; what is to be done when it is swept."""
    if not c.config.fused:
        forward(c)
        return lambda: c.work["forward"]
    run = c.ahead
    finest = approach(run, c.layers, c.config.grid.factors, c.config.forward)
    leave(finest, run)
    return lambda: result(finest, run)


def close(c: Course) -> None:
    """`solve.gradient.close`: the loss, known to all."""
    c.ranks.sum(NUMBER)


def pull_back_control(c: Course) -> None:
    """Messages of `control.pull_back`."""
    net, block = c.config.net, c.config.grid.interval
    if net.control.shared:
        reach = net.control.reach(net.depth, block)
        add_over_ranks(c, -(-c.layers // block) * reach if reach < block else c.layers)


def add_over_ranks(c: Course, rows: Ints) -> None:
    """Messages of `control.add_over_ranks`, for so many rows of a rank."""
    net = c.config.net
    if not net.control.shared:
        return
    share = share_length(net.layer.n_params, c.ranks.size) * c.config.itemsize
    c.ranks.to_shares(share * rows)
    points = share * (net.control.n_rows(net.depth) + 1)
    c.ranks.from_shares(np.full(c.ranks.size, points))


def estimate_gradient_error(c: Course) -> None:
    """`accuracy.gradient_error`: a coarse solve forward, two back, three norms."""
    intervals = c.layers // c.config.grid.interval
    c.ranks.compute(c.rates.estimate.at(intervals))
    gather_coefficients(c.ahead._replace(gathered=_gathered(c.config)), intervals)
    march_together(c.ahead, intervals)
    for _ in ("now", "corrected"):
        close(c)
    rows = intervals + c.layers % c.config.grid.interval
    for _ in ("both", "alone"):
        march_together(c.back, intervals[::-1])
    for _ in ("both", "alone"):
        add_over_ranks(c, rows)
    for _ in ("total", "forward", "adjoint"):
        global_norm(c, rows)
    c.ranks.charge("estimate")


def _gathered(config: Configuration) -> bool:
    """Whether a solve has gathered coefficients of steps over coarsest intervals."""
    factors, forward, adjoint = config.grid.factors, config.forward, config.adjoint
    alike = forward.coarse_operator == adjoint.coarse_operator
    back = alike and adjoint.iterates(factors)
    return len(factors) == 1 and (forward.iterates(factors) or back)


def global_norm(c: Course, rows: Ints) -> None:
    """`arrays.trees.global_norm` with `own_gather`: one number for each row."""
    net, rows = c.config.net, rows.copy()
    if net.control.shared and net.opening is None and net.head is None:
        return
    if net.control.shared:
        rows[:] = 0
        rows[0] = net.control.n_rows(net.depth)
    rows[0] += net.opening is not None
    rows[-1] += net.head is not None
    c.ranks.gather(NUMBER * rows)


def train(c: Course) -> None:
    """A step of `learning.trainer.train` with a plain oracle: gradient, update."""
    value_and_gradient(c)
    c.ranks.compute(c.rates.update.at(c.layers))
    global_norm(c, c.layers)
    c.ranks.charge("update")


TASKS: dict[str, Callable[[Course], Any]] = {
    "forward": forward,
    "adjoint": adjoint,
    "gradient": value_and_gradient,
    "step": train,
}


def serial_seconds(task: str, config: Configuration, rates: Rates) -> float:
    """Seconds of the same task on one rank, layer after layer, no estimate needed."""
    depth = config.net.depth
    if task == "step":
        return rates.serial.at(depth, config.batch)
    both = rates.forward.serial, rates.adjoint.serial
    parts = {
        "forward": both[:1],
        "adjoint": both[1:],
        "gradient": (*both, rates.ends, rates.collect),
    }
    return sum(float(cost.at(depth)) for cost in parts[task])
