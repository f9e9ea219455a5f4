"""The coarsest level: a march that all ranks have to do together.

There are too few steps to share, and a rank cannot begin before the one in front of it
is done.  But samples do not know of each other, and there are two ways to use that:

hand on
    Two ranks march through their own steps in turns of samples, as in serial
    propagation.  Only one state changes hands for all steps.  So do more ranks where a
    batch has to stay whole.
share
    Among more ranks most would wait.  Every rank marches through the whole level for
    its share of the samples: states change hands before and after, in an exchange of
    all ranks with all, and the march is as parallel as the sweeps of finer levels are.

Large batches go piece by piece either way; the numbers are the same.
"""

from typing import NamedTuple, Self

from mgresnet.arrays.memory import empty
from mgresnet.mgrit.line import Line
from mgresnet.mgrit.propagator import Array, Propagator, spreadable
from mgresnet.mgrit.work import Work
from mgresnet.parallel.comm import TimeComm
from mgresnet.parallel.shares import from_shares, pieces, to_shares

FEW = 2  # ranks that hand the march on


class Coarsest(NamedTuple):
    """Steps of one rank on the coarsest level; its points are the C-points above."""

    propagator: Propagator
    forcing: Array  # (n_steps, *state)
    work: Work

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.propagator.n_steps

    @classmethod
    def of(cls, propagator: Propagator, state: Array) -> Self:
        """Level of a rank's steps."""
        forcing = empty((propagator.n_steps, *state.shape), state.dtype)
        return cls(propagator, forcing, Work.none())

    def solve(self, points: Array, forcing: Array, comm: TimeComm) -> None:
        """Fill the points (n_steps + 1, *state) from the first; no forcing is zero."""
        with self.work.book("solve", self.n_steps):
            march_together(self.propagator, points, forcing, comm)


def march_together(
    propagator: Propagator, points: Array, forcing: Array, comm: TimeComm
) -> None:
    """Fill this rank's points, all ranks together.

    Parameters
    ----------
    propagator : Propagator
        This rank's steps.
    points : ndarray, shape (n_steps + 1, *state)
        The first one of rank 0 is where the march starts.
    forcing : ndarray, shape (n_steps, *state), or empty
        Of this rank's steps; empty on all ranks is zero.
    comm : TimeComm
    """
    if comm.size <= FEW or propagator.sample_block == 0:
        Line.of(propagator, points[0], points, 1, forcing).solve(points[0], comm)
    else:
        _share(propagator, points, forcing, comm)


def _share(
    propagator: Propagator, points: Array, forcing: Array, comm: TimeComm
) -> None:
    """March through the steps of all ranks, for a share of the samples."""
    whole = spreadable(propagator, comm).whole(comm)
    n_points, one = whole.n_steps + 1, points[0, ..., :1].nbytes
    block = propagator.sample_block
    for samples in pieces(points.shape[-1], comm.size, n_points * one, block):
        some = points[..., samples]
        start = to_shares(some[: 1 if comm.rank == 0 else 0], comm, block)
        tau = forcing
        if forcing.size:
            tau = to_shares(forcing[..., samples], comm, block)[None]
        u = empty((n_points, *start.shape[1:]), start.dtype)
        u[0] = start[0]
        whole.share(samples).propagate(u[:1], u[None, 1:], tau)
        from_shares(u, some, comm)
