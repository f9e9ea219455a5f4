"""The coarsest level: ranks share its samples, as there are too few steps to share.

A march through all steps cannot be shared over them, and handing it on from rank to
rank leaves all but one waiting.  But samples do not know of each other.  So every rank
marches through the whole level for its share of the samples: states change hands before
and after, in an exchange of all ranks with all, and the march is as parallel as the
sweeps of the finer levels are.  Large batches go piece by piece, which needs less
memory.
"""

from typing import NamedTuple, Self

from mgresnet.layers.memory import empty
from mgresnet.mgrit.propagator import Array, Propagator, spread
from mgresnet.mgrit.work import Work
from mgresnet.parallel.comm import TimeComm
from mgresnet.parallel.shares import from_shares, pieces, to_shares


class Coarsest(NamedTuple):
    """Steps of one rank on the coarsest level; its points are the C-points above."""

    propagator: Propagator
    forcing: Array  # (n_steps, *state)
    work: Work

    @classmethod
    def of(cls, propagator: Propagator, state: Array) -> Self:
        """Level of a rank's steps."""
        forcing = empty((propagator.n_steps, *state.shape), state.dtype)
        return cls(propagator, forcing, Work.none())

    def solve(self, points: Array, forcing: Array, comm: TimeComm) -> None:
        """Fill the points (n_steps + 1, *state) from the first; no forcing is zero."""
        with self.work.book("solve", self.propagator.n_steps):
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
    if comm.size == 1:
        propagator.propagate(points[:1], points[None, 1:], forcing[None])
        return
    whole = spread(propagator, comm)
    n_points, one = whole.n_steps + 1, points[0, ..., :1].nbytes
    for samples in pieces(points.shape[-1], comm.size, n_points * one):
        some = points[..., samples]
        start = to_shares(some[: 1 if comm.rank == 0 else 0], comm)
        tau = to_shares(forcing[..., samples], comm) if len(forcing) else forcing
        u = empty((n_points, *start.shape[1:]), start.dtype)
        u[0] = start[0]
        whole.share(samples).propagate(u[:1], u[None, 1:], tau[None])
        from_shares(u, some, comm)
