"""The multigrid-reduction-in-time cycle: relax, restrict, solve coarser, correct.

Full approximation scheme of Falgout et al., "Parallel time integration with multigrid",
SIAM J. Sci. Comput. 36(6), 2014; with F-relaxation and two levels it is Parareal.
With C_j the C-points of a level, e_j the end value of the interval that starts at C_j,
and G the coarse step:

    C-relaxation              C_{j+1} = e_j
    residual                  r_{j+1} = e_j - C_{j+1}
    coarse problem            V_{j+1} = G(V_j) + tau_{j+1},  tau_{j+1} = e_j - G(C_j)
    coarse-grid correction    C_j = V_j

Every level is swept when `cycle` is entered and when it is left.
"""

from typing import Any, NamedTuple

import numpy as np

from mgresnet.layers.memory import empty
from mgresnet.mgrit.coarsest import Coarsest
from mgresnet.mgrit.level import Level, March
from mgresnet.mgrit.propagator import Array
from mgresnet.parallel.comm import TimeComm

CYCLES = {"V": ("V",), "W": ("W", "W"), "F": ("F", "V")}  # visits of the next level


class Method(NamedTuple):
    """What to do on a level and below."""

    shape: str  # key of CYCLES
    relaxations: tuple[int, ...]  # FC-sweeps per level, finest first
    weight: float  # of C-relaxation


def cycle(level: Level, comm: TimeComm, method: Method) -> None:
    """Improve a level by one cycle."""
    relax(level, comm, method)
    correct(level, comm, method)
    level.sweep("relax")


def relax(level: Level, comm: TimeComm, method: Method) -> None:
    """FC-relaxation after the sweep that every level has behind it."""
    for _ in range(method.relaxations[0]):
        old = level.c_points()
        first = comm.shift(level.ends[-1], old[0])
        new = np.concatenate([first[None], level.ends])
        if method.weight != 1.0:
            new = method.weight * new + (1.0 - method.weight) * old
        level.set_c_points(new)
        level.sweep("relax")


def residual(level: Level) -> Array:
    """Residual at the C-points 1..M of this rank, (M, *state)."""
    ends = level.ends
    jumps = empty(ends.shape, ends.dtype)
    np.subtract(ends[:-1], level.intervals.u[1:, 0], out=jumps[:-1])
    np.subtract(ends[-1], level.tail.u[0, 0], out=jumps[-1])
    return jumps


def correct(fine: Level, comm: TimeComm, method: Method) -> None:
    """Coarse-grid correction of a level, not swept yet."""
    coarse = fine.coarser
    restrict(fine, coarse)
    if isinstance(coarse, Level):
        coarse.sweep("relax")
        for visit in visits(method):
            cycle(coarse, comm, visit)
    else:
        coarse.solve(comm, coarse.forcing)
    fine.set_c_points(coarse.points())


def start(fine: Level, comm: TimeComm, method: Method) -> None:
    """First C-points, from the coarsest level up: a cycle without its way down."""
    coarse = fine.coarser
    fine.lead.march()
    coarse.begin(fine.lead.u[0, -1])
    if isinstance(coarse, Level):
        coarse.forcing[:] = 0.0
        first, *others = visits(method)
        start(coarse, comm, first)
        coarse.sweep("relax")
        for visit in others:
            cycle(coarse, comm, visit)
    else:
        coarse.solve(comm, coarse.forcing[:0])
    fine.set_c_points(coarse.points())


def chain(level: Level, comm: TimeComm, march: March) -> list[Any]:
    """March through a level, one rank after the other; what `march` returned."""
    level.begin(comm.recv_left(level.lead.u[0, 0]))
    found = level.sweep("solve", march)
    comm.send_right(level.tail.u[0, -1])
    return found


def restrict(fine: Level, coarse: Level | Coarsest) -> None:
    """Pose the coarse problem, with the fine C-points as first approximation."""
    c_points = fine.c_points()
    steps = empty((len(c_points) - 1, 2, *c_points.shape[1:]), c_points.dtype)
    steps[:, 0] = c_points[:-1]
    coarse.propagator.propagate(steps, coarse.forcing[:0, None])
    coarse.work["restrict"] += coarse.propagator.n_steps
    np.subtract(fine.ends, steps[:, 1], out=coarse.forcing)
    coarse.set_points(c_points)


def visits(method: Method) -> list[Method]:
    """What the cycle does on the next level, visit by visit."""
    relaxations = method.relaxations[1:]
    return [Method(s, relaxations, method.weight) for s in CYCLES[method.shape]]
