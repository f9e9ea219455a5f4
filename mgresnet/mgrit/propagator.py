"""What the engine sees of a time stepper."""

from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mgresnet.parallel.comm import TimeComm

Array = NDArray[np.floating]


class Propagator(Protocol):
    """Recursion ``u[n+1] = Phi_n(u[n]) + g[n+1]``: what the engine sees of it."""

    @property
    def n_steps(self) -> int:
        """Number of steps."""

    @property
    def sample_block(self) -> int:
        """Samples, along the last axis of a state, that are not to be treated apart.

        Multiples of it may be, with the same bits; 0 is the whole batch.
        """

    def propagate(self, starts: Any, u: Any, forcing: Any, /) -> None:
        """Fill the blocks u ``(n_blocks, k, *state)`` with what follows their starts.

        Starts are ``(n_blocks, *state)``.  The blocks are consecutive, and a column is
        ``n_steps / (n_blocks * k)`` steps behind the one before.  Forcing is
        ``(n_blocks, n_steps / n_blocks, *state)``.  What has size zero is neither read
        nor written.
        """

    def cut(self, m: int, /) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""

    def coarsen(self, m: int, /) -> "Propagator":
        """One step for every m steps; m divides n_steps."""


class Whole(Protocol):
    """Steps of all ranks in time order."""

    @property
    def n_steps(self) -> int:
        """Number of steps."""

    def share(self, samples: slice, /) -> Propagator:
        """Keep this rank's share of some samples; all ranks do this together."""


@runtime_checkable
class Spreadable(Protocol):
    """A propagator that several ranks can solve together on the coarsest level.

    Samples are independent of each other and lie along the last axis of a state.
    """

    def for_samples(self, samples: slice, /) -> Propagator:
        """The same steps for some samples, with all that is known before a start."""

    def whole(self, comm: TimeComm, /) -> Whole:
        """Steps of all ranks."""


def spreadable(propagator: Propagator, comm: TimeComm) -> Spreadable:
    """Return a propagator that several ranks can solve together.

    Raises
    ------
    TypeError
        If this kind of propagator cannot be solved by several ranks.
    """
    if not isinstance(propagator, Spreadable):
        raise TypeError(
            f"{type(propagator).__name__} cannot be solved by {comm.size} ranks; "
            "needed methods for_samples(samples) and whole(comm), as those of Forward, "
            "or one rank"
        )
    return propagator
