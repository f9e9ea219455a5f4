"""A forward solve whose last sweep is part of the adjoint solve.

C-points of a solve are final before its last sweep, which finds their residual and the
states between.  Where only C-points are kept, the adjoint's last sweep passes through
every interval again to find these states; so the one forward is left out, and what it
finds, the states behind the intervals, is noted there.  With F-relaxation a gradient
with k corrections of the states then takes k sweeps forward, none of them without any.
"""

from collections.abc import Callable
from typing import NamedTuple

from mgresnet.arrays.layout import Array, samples_first
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import approach
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm
from mgresnet.slab import time_grid
from mgresnet.solution import Indices, Solution, Trajectory, kept_points
from mgresnet.solve import forward_problem
from mgresnet.timeline.propagators import Forward


class CPoints(NamedTuple):
    """A `Trajectory` of which only C-points are kept."""

    states: Array
    kept: Indices
    slab: range
    layers: Forward


class Unswept(NamedTuple):
    """A forward solve that may lack its last sweep."""

    trajectory: Trajectory
    ends: Array | None  # where states behind the intervals belong, if it does
    swept: Callable[[], Solution]  # the whole solution, when they are there


def leaves_sweep(net: Network, forward: MGRITOptions, adjoint: MGRITOptions) -> bool:
    """Whether the adjoint's last sweep passes through the same intervals again."""
    grid, back = (time_grid(net, options) for options in (forward, adjoint))
    alike = {forward.store, adjoint.store} == {"c-points"}
    return alike and grid.spacing == back.spacing and forward.iterates(grid.factors)


def solve_forward_but_last_sweep(
    net: Network,
    params: Params,
    inputs: Array,
    options: MGRITOptions,
    adjoint: MGRITOptions,
    comm: TimeComm,
    guess: Solution | Array | None,
) -> Unswept:
    """Do what `solve_forward` does, but for a sweep that the adjoint solve will do.

    Parameters
    ----------
    net, params, inputs, options
        As there.
    adjoint : MGRITOptions
        Of the adjoint solve, which has to find the gradient, too, and to note `ends`.
    comm, guess
        As there.
    """
    problem = forward_problem(net, params, inputs, options, comm, guess)
    if not leaves_sweep(net, options, adjoint):
        solution = problem.solve(options, comm)
        return Unswept(solution, None, lambda: solution)
    found = approach(*problem.arguments(options, comm), spacing=problem.spacing)
    finest = found.finest
    if not found.swept:
        with finest.work.book("relax", finest.tail.propagator.n_steps):
            finest.leave()
    states = samples_first(finest.points(), problem.first.ndim - 1)
    kept = kept_points(len(problem.slab), problem.spacing)
    return Unswept(
        CPoints(states, kept, problem.slab, problem.propagator),
        None if found.swept else finest.ends,
        lambda: problem.solution(found.result(comm, [])),
    )
