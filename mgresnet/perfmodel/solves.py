"""The phases of a solve on P clocks, function by function as `mgrit` has them.

Where `mgrit.cycle` or `mgrit.solver` changes, the function of the same name here does.
"""

from typing import NamedTuple

import numpy as np

from mgresnet.mgrit.cycle import Method, visits
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.perfmodel.clocks import Ints, Ranks
from mgresnet.perfmodel.cost import Cost, Costs
from mgresnet.timeline.grid import TimeGrid

NORMS = 16  # bytes for each C-point: those of its residual and of its state
NUMBER = 8  # bytes
Work = dict[tuple[int, str], Ints]  # steps of every rank, by level and kind


class Level(NamedTuple):
    """A level on all ranks in order of propagation; the coarsest is one interval."""

    steps: Ints  # (size,)
    c_points: Ints  # (size,), those of a rank but its first
    lead: Ints  # (size,), steps before the first C-point
    cost: Cost  # of a sweep
    work: dict[str, Ints]  # steps by kind, (size,)

    def tally(self, kind: str) -> None:
        """Count the steps of a sweep."""
        self.work[kind] = self.work.get(kind, 0) + self.steps


class Solve(NamedTuple):
    """Where a solve happens and what its parts cost."""

    ranks: Ranks
    costs: Costs
    state: int  # bytes


def slabs(grid: TimeGrid, size: int) -> Ints:
    """Number of layers of every rank: `TimeGrid.slab` for all ranks at once."""
    grid.slab(0, size)  # refuses too many ranks
    ends = np.arange(1, size + 1) * grid.steps[-1] // size * grid.interval
    ends[-1] = grid.depth
    layers: Ints = np.diff(ends, prepend=0)
    return layers


def build_levels(steps: Ints, factors: tuple[int, ...], costs: Costs) -> list[Level]:
    """Levels of slabs in the order of propagation, finest first."""
    levels, cost = [], costs.sweep
    for m in factors:
        remainder = steps % m
        remainder[1:] = 0  # only the adjoint meets it first
        levels.append(Level(steps, steps // m, remainder, cost, {}))
        steps, cost = steps // m, costs.coarse
    last = cost if factors else costs.serial
    one, none = np.ones_like(steps), np.zeros_like(steps)
    return [*levels, Level(steps, one, none, last, {})]


def sweep(level: Level, run: Solve, kind: str, cost: Cost | None = None) -> None:
    """F-relaxation."""
    run.ranks.compute((cost or level.cost).at(level.steps))
    level.tally(kind)
    run.ranks.charge("relaxation")


def cycle(levels: list[Level], run: Solve, method: Method) -> None:
    """One cycle from the given level down."""
    relax(levels[0], run, method)
    correct(levels, run, method)
    sweep(levels[0], run, "relax")


def relax(level: Level, run: Solve, method: Method) -> None:
    """FC-relaxation."""
    for _ in range(method.relaxations[0]):
        run.ranks.shift(run.state)
        run.ranks.compute(run.costs.relax.at(level.c_points))
        sweep(level, run, "relax")


def correct(levels: list[Level], run: Solve, method: Method) -> None:
    """Coarse-grid correction."""
    fine, *coarser = levels
    restrict(coarser[0], run)
    if len(coarser) == 1:
        solve(coarser[0], run)
    else:
        sweep(coarser[0], run, "relax")
        for visit in visits(method):
            cycle(coarser, run, visit)
    set_c_points(fine, run)


def start(levels: list[Level], run: Solve, method: Method) -> None:
    """First C-points from the coarsest level up."""
    fine, *coarser = levels
    if not coarser:
        solve(fine, run)
        return
    run.ranks.compute(np.where(fine.lead > 0, fine.cost.at(fine.lead), 0.0))
    first, *others = visits(method)
    start(coarser, run, first)
    if len(coarser) > 1:
        sweep(coarser[0], run, "relax")
        for visit in others:
            cycle(coarser, run, visit)
    set_c_points(fine, run)


def solve(coarsest: Level, run: Solve, cost: Cost | None = None) -> None:
    """March through the coarsest level, one rank after the other."""
    run.ranks.chain((cost or coarsest.cost).at(coarsest.steps), run.state)
    coarsest.tally("solve")
    run.ranks.charge("coarse solve")


def restrict(coarse: Level, run: Solve) -> None:
    """Pose the coarse problem."""
    run.ranks.compute(run.costs.restrict.at(coarse.steps))
    coarse.tally("restrict")
    run.ranks.charge("restriction")


def set_c_points(fine: Level, run: Solve) -> None:
    """Take the C-points from the next level."""
    run.ranks.compute(run.costs.correct.at(fine.c_points))
    run.ranks.charge("restriction")


def measure(finest: Level, run: Solve) -> None:
    """Gather norms of residuals and states at the C-points."""
    run.ranks.compute(run.costs.measure.at(finest.c_points))
    gather_norms(finest, run)


def gather_norms(finest: Level, run: Solve) -> None:
    """Exchange what was measured."""
    run.ranks.gather(NORMS * finest.c_points)
    run.ranks.charge("norms")


def iterate(
    run: Solve, steps: Ints, factors: tuple[int, ...], options: MGRITOptions
) -> Work:
    """Solve as `mgrit.solver.iterate` does; return the work of every rank.

    Parameters
    ----------
    run : Solve
    steps : ndarray of int, shape (size,)
        Layers of every rank, in the order of propagation.
    factors : tuple of int
        Coarsening factors in use.
    options : MGRITOptions
        All ``max_iterations`` are done.
    """
    if not factors or options.initial_guess == "serial":
        levels = build_levels(steps, (), run.costs)
        solve(levels[0], run)
        return _result(levels, run)
    levels = build_levels(steps, factors, run.costs)
    finest, sweeps = levels[0], options.sweeps(len(factors))
    method = Method(options.cycle, sweeps, options.relaxation_weight)
    run.ranks.compute(run.costs.rest.at(steps))
    run.ranks.charge("rest")
    _guess(levels, run, options, method)
    for _ in range(options.max_iterations):
        sweep(finest, run, "relax")
        relax(finest, run, method)
        measure(finest, run)
        correct(levels, run, method)
    sweep(finest, run, "relax", run.costs.last)
    return _result(levels, run)


def _guess(
    levels: list[Level], run: Solve, options: MGRITOptions, method: Method
) -> None:
    """Set the first C-points."""
    if options.initial_guess == "coarse":
        start(levels, run, method)
    if options.initial_guess == "constant":
        run.ranks.gather(run.state * (np.arange(run.ranks.size) == 0))


def _result(levels: list[Level], run: Solve) -> Work:
    gather_norms(levels[0], run)  # measuring them is part of the rest
    run.ranks.sum(NUMBER)
    run.ranks.charge("norms")
    return {
        (i, kind): steps
        for i, level in enumerate(levels)
        for kind, steps in level.work.items()
    }
