"""There and back on one slab: a forward solve, and the adjoint with the gradient.

C-points of a solve are final before its last sweep, which finds their residual and the
states between.  Where only C-points are kept, the adjoint's last sweep passes through
every interval again to find these states; so the one forward is left out, and what it
would have found, the states behind the intervals, is noted there.  With F-relaxation a
gradient with k corrections of the states then takes k sweeps forward, none of them
without any.
"""

from typing import NamedTuple

from mgresnet.arrays.layout import Array, absent, samples_first
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import CPoints, solve_c_points
from mgresnet.solve.propagation import Back, Posed, check_layers, propagate
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import (
    Indices,
    Solution,
    as_solution,
    guess_points,
    kept_points,
)
from mgresnet.timeline.grid import TimeGrid
from mgresnet.timeline.propagators import Forward


class Known(NamedTuple):
    """A `Trajectory` of which only C-points are known, before the last sweep."""

    states: Array
    kept: Indices
    slab: range
    layers: Forward


class Swept(NamedTuple):
    """A forward solve that is complete."""

    slab: Slab  # of the way back
    trajectory: Solution

    def back(
        self, seed: Array, options: MGRITOptions, guess: Solution | None, keep: str
    ) -> tuple[Solution, Solution]:
        """Forward and adjoint solution from dJ/du_N (*state_shape, batch)."""
        none = absent(seed.dtype)
        problem = Back(self.slab, self.trajectory, seed, none)
        return self.trajectory, problem.propagate(options, guess, keep, True, none)


class Unswept(NamedTuple):
    """A forward solve that lacks its last sweep, or at least what that would find."""

    batch: Posed
    slab: Slab  # of the way back
    c_points: CPoints

    @property
    def trajectory(self) -> Known:
        """C-points."""
        slab, points = self.batch.slab, self.c_points.finest.points
        kept = kept_points(len(slab.layers), slab.grid.spacing)
        states = samples_first(points, points.ndim - 2)
        return Known(states, kept, slab.layers, self.batch.layers)

    def back(
        self, seed: Array, options: MGRITOptions, guess: Solution | None, keep: str
    ) -> tuple[Solution, Solution]:
        """Forward and adjoint solution from dJ/du_N (*state_shape, batch)."""
        slab, none, found = self.batch.slab, absent(seed.dtype), self.c_points
        problem = Back(self.slab, self.trajectory, seed, none)
        ends = none if found.swept else found.finest.ends
        adjoint = problem.propagate(options, guess, keep, True, ends)
        result, layers = found.measure(slab.comm), self.batch.layers
        states = as_solution(result, slab.layers, slab.grid.spacing, backwards=False)
        return self.batch.complete(states, layers), adjoint


def leaves_sweep(grid: TimeGrid, forward: MGRITOptions, back: TimeGrid) -> bool:
    """Whether the adjoint's last sweep passes through the same intervals again."""
    return grid.spacing == back.spacing and forward.iterates(grid.factors)


def go_there(
    batch: Posed,
    options: MGRITOptions,
    back: Slab,
    guess: Solution | None,
    keep: str,
) -> Swept | Unswept:
    """Solve forward, but for a sweep that the way back will do.

    Parameters
    ----------
    batch : Posed
    options : MGRITOptions
    back : Slab
        With the levels of the adjoint solve.
    guess : Solution, optional
    keep : {"all", "c-points", "auto"}
    """
    slab, grid = batch.slab, batch.slab.grid
    check_layers(back, slab.layers)
    if batch.keeps_all(keep) or not leaves_sweep(grid, options, back.grid):
        return Swept(back, propagate(batch, options, guess, keep))
    start = guess_points(guess, slab.layers, grid.spacing, batch.first)
    problem = batch.layers, batch.first, grid.factors, options, slab.comm
    found = solve_c_points(*problem, start)
    if not found.swept:
        found.finest.leave()
    return Unswept(batch, back, found)
