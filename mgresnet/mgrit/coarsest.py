"""The coarsest level: ranks share its samples, as there are too few steps to share.

A march through all steps cannot be shared over them, and handing it on from rank to
rank leaves all but one waiting.  But samples do not know of each other.  So every rank
marches through the whole level for its share of the samples: states change hands before
and after, in an exchange of all ranks with all, and the march is as parallel as the
sweeps of the finer levels are.
"""

from collections import Counter
from typing import NamedTuple, Self

from mgresnet.layers.memory import empty
from mgresnet.mgrit.propagator import Array, Propagator, spread
from mgresnet.parallel.comm import TimeComm


class Coarsest(NamedTuple):
    """Steps of one rank on the coarsest level; its points are the C-points above."""

    propagator: Propagator  # this rank's steps
    whole: Propagator  # all ranks' steps, for a share of the samples
    forcing: Array  # (n_steps, *state)
    work: Counter[str]

    @classmethod
    def of(cls, propagator: Propagator, state: Array, comm: TimeComm) -> Self:
        """Level of a rank's steps."""
        forcing = empty((propagator.n_steps, *state.shape), state.dtype)
        return cls(propagator, spread(propagator, comm), forcing, Counter())

    def solve(self, points: Array, forcing: Array, comm: TimeComm) -> None:
        """Fill the points (n_steps + 1, *state) from the first; no forcing is zero."""
        march_together(self.whole, points, forcing, comm)
        self.work["solve"] += self.propagator.n_steps


def march_together(
    whole: Propagator, points: Array, forcing: Array, comm: TimeComm
) -> None:
    """Fill this rank's points, all ranks together.

    Parameters
    ----------
    whole : Propagator
        All ranks' steps, for this rank's share of the samples.
    points : ndarray, shape (n_steps + 1, *state)
        The first one of rank 0 is where the march starts.
    forcing : ndarray, shape (n_steps, *state), or empty
        Of this rank's steps; empty on all ranks is zero.
    comm : TimeComm
    """
    if comm.size == 1:
        whole.propagate(points[:1], points[None, 1:], forcing[None])
        return
    start = comm.to_shares(points[: 1 if comm.rank == 0 else 0])
    tau = comm.to_shares(forcing) if len(forcing) else forcing
    u = empty((whole.n_steps + 1, *start.shape[1:]), start.dtype)
    u[0] = start[0]
    whole.propagate(u[:1], u[None, 1:], tau[None])
    comm.from_shares(u, points)
