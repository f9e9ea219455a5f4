"""The phases of a solve on P clocks, function by function as `mgrit` has them.

Where `mgrit.cycle`, `mgrit.level` or `mgrit.solver` changes, the function of the same
name here does; `chain` is what `mgrit.line` does.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.mgrit.cycle import Method, visits
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.perfmodel.clocks import Ints
from mgresnet.perfmodel.coarsest import Coarsest, Solve, solve, tally
from mgresnet.perfmodel.cost import Cost
from mgresnet.timeline.grid import TimeGrid

NUMBER = 8  # bytes
NORMS = 3 * NUMBER  # for each C-point: of its residual and its state; whether finite
Work = dict[tuple[int, str], Ints]  # steps of every rank, by level and kind


class Level(NamedTuple):
    """A level on all ranks in order of propagation."""

    steps: Ints  # (size,)
    c_points: Ints  # (size,), those of a rank but its first
    lead: Ints  # (size,), steps before the first C-point
    tail: Ints  # (size,), steps behind the last one
    cost: Cost  # of a sweep
    work: dict[str, Ints]  # steps by kind, (size,)
    coarser: Any  # next Level, or the Coarsest; None of a serial propagation

    @classmethod
    def of(cls, steps: Ints, factors: tuple[int, ...], run: Solve, cost: Cost) -> Self:
        """Cut the ranks' steps into intervals, and those of the coarser levels."""
        if not factors:
            one, none = np.ones_like(steps), np.zeros_like(steps)
            return cls(steps, one, none, none, cost, {}, None)
        m, *others = factors
        coarse, remainder = steps // m, steps % m
        lead = remainder * run.linearised  # the adjoint meets the remainder first
        coarser: Any = (
            Level.of(coarse, tuple(others), run, run.costs.coarse)
            if others
            else Coarsest(coarse, {})
        )
        return cls(steps, coarse, lead, remainder - lead, cost, {}, coarser)

    def hierarchy(self) -> Iterator["Level | Coarsest"]:
        """Yield this level and all coarser ones."""
        yield self
        if isinstance(self.coarser, Level):
            yield from self.coarser.hierarchy()
        elif self.coarser is not None:
            yield self.coarser


def slabs(grid: TimeGrid, size: int) -> Ints:
    """Number of layers of every rank: `TimeGrid.slab` for all ranks at once."""
    grid.slab(0, size)  # refuses too many ranks
    ends = np.arange(1, size + 1) * grid.steps[-1] // size * grid.interval
    ends[-1] = grid.depth
    layers: Ints = np.diff(ends, prepend=0)
    return layers


def sweep(level: Level, run: Solve, kind: str, cost: Cost | None = None) -> None:
    """F-relaxation."""
    run.ranks.compute((cost or level.cost).at(level.steps))
    tally(level.work, kind, level.steps)
    run.ranks.charge("relaxation")


def leave(level: Level, run: Solve) -> None:
    """March the tail."""
    run.ranks.compute(np.where(level.tail > 0, level.cost.at(level.tail), 0.0))
    tally(level.work, "relax", level.tail)
    run.ranks.charge("relaxation")


def cycle(level: Level, run: Solve, method: Method) -> None:
    """Improve a level by one cycle."""
    relax(level, run, method)
    correct(level, run, method)
    sweep(level, run, "relax")


def relax(level: Level, run: Solve, method: Method) -> None:
    """FC-relaxation."""
    for _ in range(method.relaxations[0]):
        run.ranks.shift(run.state)
        run.ranks.compute(run.costs.relax.at(level.c_points))
        sweep(level, run, "relax")


def correct(fine: Level, run: Solve, method: Method) -> None:
    """Coarse-grid correction."""
    coarse = fine.coarser
    restrict(coarse, run)
    if isinstance(coarse, Level):
        sweep(coarse, run, "relax")
        for visit in visits(method):
            cycle(coarse, run, visit)
        set_c_points(fine, run)
    else:
        solve(coarse, run)


def start(fine: Level, run: Solve, method: Method) -> None:
    """First C-points, from the coarsest level up."""
    coarse = fine.coarser
    run.ranks.compute(np.where(fine.lead > 0, fine.cost.at(fine.lead), 0.0))
    if isinstance(coarse, Level):
        first, *others = visits(method)
        start(coarse, run, first)
        sweep(coarse, run, "relax")
        for visit in others:
            cycle(coarse, run, visit)
        set_c_points(fine, run)
    else:
        solve(coarse, run, forced=False)


def chain(level: Level, run: Solve) -> None:
    """March through a level, one rank after the other."""
    run.ranks.chain(level.cost.at(level.steps), run.state)
    tally(level.work, "solve", level.steps)
    run.ranks.charge("chain")


def restrict(coarse: Level | Coarsest, run: Solve) -> None:
    """Pose the coarse problem."""
    run.ranks.compute(run.costs.restrict.at(coarse.steps))
    tally(coarse.work, "restrict", coarse.steps)
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
    if not options.iterates(factors):
        line = Level.of(steps, (), run, run.costs.serial)
        chain(line, run)
        return result(line, run)
    finest = approach(run, steps, factors, options)
    sweep(finest, run, "relax", run.costs.last)
    return result(finest, run)


def approach(
    run: Solve, steps: Ints, factors: tuple[int, ...], options: MGRITOptions
) -> Level:
    """All of `iterate` but its last sweep."""
    run.ranks.compute(run.costs.rest.at(steps))
    run.ranks.charge("rest")
    finest = Level.of(steps, factors, run, run.costs.sweep)
    sweeps = options.sweeps(len(factors))
    method = Method(options.cycle, sweeps, options.relaxation_weight)
    _guess(finest, run, options, method)
    for _ in range(options.max_iterations):
        sweep(finest, run, "relax")
        relax(finest, run, method)
        measure(finest, run)
        correct(finest, run, method)
    return finest


def _guess(finest: Level, run: Solve, options: MGRITOptions, method: Method) -> None:
    """Set the first C-points."""
    if options.initial_guess == "coarse":
        start(finest, run, method)
    if options.initial_guess == "constant":
        run.ranks.gather(run.state * (np.arange(run.ranks.size) == 0))


def result(finest: Level, run: Solve) -> Work:
    """Measure; return the work of every rank."""
    gather_norms(finest, run)  # measuring them is part of the rest
    return {
        (i, kind): steps
        for i, level in enumerate(finest.hierarchy())
        for kind, steps in level.work.items()
    }
