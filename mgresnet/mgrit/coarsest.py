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
    """Points of one rank on the coarsest level."""

    propagator: Propagator  # this rank's steps
    whole: Propagator  # all ranks' steps, for a share of the samples
    values: Array  # (n_steps + 1, *state)
    forcing: Array  # (n_steps, *state)
    work: Counter[str]

    @classmethod
    def of(cls, propagator: Propagator, state: Array, comm: TimeComm) -> Self:
        """Level of a rank's steps."""
        n = propagator.n_steps
        values, forcing = (empty((k, *state.shape), state.dtype) for k in (n + 1, n))
        whole = spread(propagator, comm)
        return cls(propagator, whole, values, forcing, Counter())

    def points(self) -> Array:
        """All points, in order."""
        return self.values

    def set_points(self, values: Array) -> None:
        """Replace the first point; the others wait for `solve`."""
        self.begin(values[0])

    def begin(self, first: Array) -> None:
        """Replace the first point."""
        self.values[0] = first

    def solve(self, comm: TimeComm, forcing: Array) -> None:
        """March from the first rank's first point; no forcing is zero."""
        march_together(self.whole, self.values, forcing, comm)
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
    first = points[: 1 if comm.rank == 0 else 0]
    if comm.size == 1:
        whole.propagate(points[None], forcing[None])
        return
    start = comm.to_shares(first)
    tau = comm.to_shares(forcing) if len(forcing) else forcing
    u = empty((1, whole.n_steps + 1, *start.shape[1:]), start.dtype)
    u[0, 0] = start[0]
    whole.propagate(u, tau[None])
    points[:] = comm.from_shares(u[0], len(points) - 1, points.shape[-1])
