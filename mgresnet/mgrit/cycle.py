"""The multigrid-reduction-in-time cycle: relax, restrict, solve coarser, correct.

Full approximation scheme of Falgout et al., "Parallel time integration with multigrid",
SIAM J. Sci. Comput. 36(6), 2014; with F-relaxation and two levels it is Parareal.
With C_j the C-points of a level, e_j the end value of the interval that starts at C_j,
and G the coarse step:

    C-relaxation              C_{j+1} = e_j
    residual                  r_{j+1} = e_j - C_{j+1}
    coarse problem            V_{j+1} = G(V_j) + tau_{j+1},  tau_{j+1} = e_j - G(C_j)
    coarse-grid correction    C_j = V_j

A cycle leaves new C-points; the sweep behind them is what comes next, here or there.
"""

from typing import NamedTuple

import numpy as np

from mgresnet.mgrit.coarsest import Coarsest
from mgresnet.mgrit.level import Level
from mgresnet.mgrit.propagator import Array
from mgresnet.parallel.comm import TimeComm

CYCLES = {"V": ("V",), "W": ("W", "W"), "F": ("F", "V")}  # visits of the next level


class Method(NamedTuple):
    """What to do on a level and below."""

    shape: str  # key of CYCLES
    relaxations: tuple[int, ...]  # FC-sweeps per level, finest first
    weight: float  # of C-relaxation


def cycle(level: Level, comm: TimeComm, method: Method) -> None:
    """Improve the C-points of a level by one cycle."""
    level.sweep()
    relax(level, comm, method)
    correct(level, comm, method)


def relax(level: Level, comm: TimeComm, method: Method) -> None:
    """FC-relaxation after the sweep that every level has behind it."""
    for _ in range(method.relaxations[0]):
        c_points, weight = level.c_points, method.weight
        first = comm.shift(level.ends[-1], c_points[0])
        if weight == 1.0:
            c_points[1:], c_points[0] = level.ends, first
        else:
            new = np.concatenate([first[None], level.ends])
            c_points[:] = weight * new + (1.0 - weight) * c_points
        level.sweep()


def correct(fine: Level, comm: TimeComm, method: Method) -> None:
    """Coarse-grid correction of a level that is swept: new C-points."""
    coarse = fine.coarser
    restrict(fine, coarse)
    if isinstance(coarse, Level):
        coarse.set_points(fine.c_points)
        for visit in visits(method):
            cycle(coarse, comm, visit)
        refine(coarse, fine)
    else:
        coarse.solve(fine.c_points, coarse.forcing, comm)


def start(fine: Level, comm: TimeComm, method: Method, forcing: Array) -> None:
    """First C-points, from the coarsest level up: a cycle without its way down.

    Parameters
    ----------
    fine : Level
    comm : TimeComm
    method : Method
    forcing : ndarray, shape (n_steps, *state), or of size zero
        Of the level; intervals have the sum of theirs.
    """
    coarse = fine.coarser
    fine.enter()
    if forcing.size:
        _, inside, _ = fine.cut_forcing(forcing)
        forcing = inside.sum(axis=1)
    if isinstance(coarse, Level):
        coarse.points[0] = fine.c_points[0]
        coarse.forcing[:] = forcing if forcing.size else 0.0
        first, *others = visits(method)
        start(coarse, comm, first, forcing)
        for visit in others:
            cycle(coarse, comm, visit)
        refine(coarse, fine)
    else:
        coarse.solve(fine.c_points, forcing, comm)


def refine(coarse: Level, fine: Level) -> None:
    """Fill the C-points of a level with all points of the next one."""
    coarse.sweep_into(fine.c_points)
    coarse.settle(fine.c_points)


def restrict(fine: Level, coarse: Level | Coarsest) -> None:
    """Pose the coarse problem: its forcing is what coarse steps miss."""
    tau, starts = coarse.forcing, fine.c_points[:-1]
    with coarse.work.book("restrict", coarse.n_steps):
        coarse.propagator.propagate(starts, tau[:, None], tau[:0])
        np.subtract(fine.ends, tau, out=tau)


def visits(method: Method) -> list[Method]:
    """What the cycle does on the next level, visit by visit."""
    relaxations = method.relaxations[1:]
    return [Method(s, relaxations, method.weight) for s in CYCLES[method.shape]]
