"""There and back on one slab: a forward solve, and the adjoint with the gradient.

C-points of a solve are final before its last sweep, which finds their residual and the
states between.  Where only C-points are kept, the adjoint's last sweep passes through
every interval again to find these states; so the one forward is left out, and what it
would have found, the states behind the intervals, is noted there.  With F-relaxation a
gradient with k corrections of the states then takes k sweeps forward, none of them
without any.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array, absent, samples_first
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import CPoints, solve_c_points
from mgresnet.network import Params
from mgresnet.solve.ahead import Posed, propagate
from mgresnet.solve.back import Back, open_back, opening_gradient, seeds
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import (
    Indices,
    Solution,
    guess_points,
    kept_points,
)
from mgresnet.timeline.grid import TimeGrid
from mgresnet.timeline.propagators import Forward

# Adjoint behind the last layer (*state_shape, batch), and what earlier states add,
# (n_local, *state_shape, batch) in pseudo-time, or of size zero.
Seed = tuple[Array, Array]


class Known(NamedTuple):
    """A `Trajectory` of which only C-points are known, before the last sweep."""

    states: Array
    kept: Indices
    slab: range
    layers: Forward


class Swept(NamedTuple):
    """A forward solve that is complete."""

    batch: Posed
    trajectory: Solution

    def back(
        self, slab: Slab, seed: Seed, guess: Solution | None, keep: str
    ) -> tuple[Solution, Solution]:
        """Forward and adjoint solution."""
        problem, none = Back(slab, self.trajectory, *seed), absent(seed[0].dtype)
        return self.trajectory, problem.propagate(guess, keep, True, none)


class Unswept(NamedTuple):
    """A forward solve that lacks its last sweep, or at least what that would find."""

    batch: Posed
    c_points: CPoints

    @property
    def trajectory(self) -> Known:
        """C-points."""
        slab, points = self.batch.slab, self.c_points.finest.points
        kept = kept_points(len(slab.layers), slab.grid.spacing)
        states = samples_first(points, points.ndim - 2)
        return Known(states, kept, slab.layers, self.batch.layers)

    def back(
        self, slab: Slab, seed: Seed, guess: Solution | None, keep: str
    ) -> tuple[Solution, Solution]:
        """Forward and adjoint solution."""
        none, found, batch = absent(seed[0].dtype), self.c_points, self.batch
        problem = Back(slab, self.trajectory, *seed)
        ends = none if found.swept else found.finest.ends
        adjoint = problem.propagate(guess, keep, True, ends)
        result, spacing = found.measure(batch.slab.comm), batch.slab.grid.spacing
        return batch.solution(result, spacing, batch.layers), adjoint


def leaves_sweep(grid: TimeGrid, forward: MGRITOptions, back: TimeGrid) -> bool:
    """Whether the adjoint's last sweep passes through the same intervals again."""
    return grid.spacing == back.spacing and forward.iterates(grid.factors)


def go_there(
    batch: Posed, back: Slab, guess: Solution | None, keep: str
) -> Swept | Unswept:
    """Solve forward, but for a sweep that the way back will do.

    Parameters
    ----------
    batch : Posed
    back : Slab
        Of the adjoint solve.
    guess : Solution, optional
    keep : {"all", "c-points", "auto"}
        C-points suffice if those of the adjoint solve are among them.
    """
    slab, grid = batch.slab, batch.slab.grid
    if back.grid.spacing % grid.spacing:
        return Swept(batch, propagate(batch, guess, "all"))
    if batch.keeps_all(keep) or not leaves_sweep(grid, slab.options, back.grid):
        return Swept(batch, propagate(batch, guess, keep))
    start = guess_points(guess, slab.layers, grid.spacing, batch.first)
    problem = batch.layers, batch.first, grid.factors, slab.options, slab.comm
    found = solve_c_points(*problem, start)
    if found.lost:
        return Swept(batch, propagate(batch, guess, keep))
    if not found.swept:
        found.finest.leave()
    return Unswept(batch, found)


def go_back(
    there: Sequence[Swept | Unswept],
    owned: Sequence[Params],
    backs: Sequence[Slab],
    seed: Array,
    guesses: Sequence[Any],
    keep: str,
) -> tuple[list[tuple[Solution, Solution]], list[Array | None]]:
    """Solutions of all stages, from the last to the first, and openings' gradients."""
    ends = seeds(backs[-1], there[-1].trajectory, seed)
    solved: list[tuple[Solution, Solution]] = []
    openings: list[Array | None] = []
    stages = [*zip(there, owned, backs, guesses, strict=True)]
    for i, (way, own, back, guess) in reversed([*enumerate(stages)]):
        solved.insert(0, way.back(back, ends, guess, keep))
        d_opening, d_inputs = None, None
        if back.is_first and i > 0:
            d_opening, d_inputs = open_back(back.net, own, *solved[0])
        elif back.is_first:
            d_opening = opening_gradient(back.net, own, *solved[0])
        openings.insert(0, d_opening)
        if i > 0:
            last = np.zeros_like(there[i - 1].batch.first)
            if d_inputs is not None:  # the stage before ends on this rank
                rows = d_inputs.reshape(len(d_inputs), *last.shape[:-1])
                last[:] = np.moveaxis(rows, 0, -1)
            ends = last, absent(last.dtype)
    return solved, openings
