"""How large the residual at C-points is beside the states, the same on all ranks."""

import math
from enum import Enum
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mgresnet.kernels.norms import compare, totals
from mgresnet.mgrit.level import Level
from mgresnet.mgrit.propagator import Array
from mgresnet.parallel.comm import TimeComm


class Status(Enum):
    """How a solve ended, from good to bad; the value is the message."""

    CONVERGED = "the residual is within the tolerance"
    MARCHED = (
        "a coarse level was not finite, so all layers were marched through: smaller "
        "factors, another coarse operator, or a smaller final_time"
    )
    MAX_ITERATIONS = "the allowed number of iterations was used"
    NON_FINITE = (
        "states are not finite: smaller weights, a smaller final_time, or in training "
        "a smaller learning rate (of auxiliary variables, a smaller step)"
    )

    @property
    def converged(self) -> bool:
        """Whether states are as exact as was asked."""
        return self in (Status.CONVERGED, Status.MARCHED)


class Measure(NamedTuple):
    """What every C-point but the first is like, the same on all ranks."""

    about: NDArray[np.float64]
    """In time order: squared 2-norms of residual and state, in units of 4^e; e;
    whether its rank is lost, as the last point of the rank is not finite."""
    residual: float
    """2-norm of the residual over the C-points."""
    state: float
    """2-norm of the states over the C-points."""
    lost: bool
    """Whether a rank is."""

    @classmethod
    def of(cls, about: NDArray[np.float64]) -> Self:
        """Norms over all C-points."""
        residual, state, in_units, lost = totals(about)
        if in_units:
            both = _norm_in_units(about, 0), _norm_in_units(about, 1)
        else:
            both = math.sqrt(residual), math.sqrt(state)
        return cls(about, *both, lost)

    @property
    @np.errstate(over="ignore")  # shows in the status
    def residuals(self) -> NDArray[np.float64]:
        """2-norm of every residual."""
        roots = np.sqrt(self.about[:, 0])
        norms: NDArray[np.float64] = np.ldexp(roots, _units(self.about))
        return norms

    def status(self, tolerance: float) -> Status:
        """Compare the residual with the states."""
        if self.lost or not math.isfinite(self.residual + self.state):
            return Status.NON_FINITE
        close = self.residual <= tolerance * self.state
        return Status.CONVERGED if close else Status.MAX_ITERATIONS


def _units(about: NDArray[np.float64]) -> NDArray[np.int64]:
    return about[:, 2].astype(np.int64)


@np.errstate(over="ignore")  # shows in the status
def _norm_in_units(about: NDArray[np.float64], column: int) -> float:
    """Root of a sum of squares that have units, in the largest of these."""
    e = _units(about)
    most = e.max()
    total = np.ldexp(about[:, column], 2 * (e - most)).sum()
    return float(np.ldexp(np.sqrt(total), most))


def measure(
    finest: Level, u: Array, last: Array, comm: TimeComm, defects: Array | None = None
) -> Measure:
    """Compare C-points with the intervals' ends ``u[:, -1]``; defects are filled."""
    squares = compare(u, finest.c_points[1:], defects)
    has_tail = finest.parts[2].n_steps > 0
    return gathered(squares, has_tail and not np.isfinite(last).all(), comm)


def gathered(squares: NDArray[np.float64], lost: bool, comm: TimeComm) -> Measure:
    """Measure from the squared norms of every rank, and whether its end is lost."""
    about = np.empty((len(squares), 4))
    about[:, :3], about[:, 3] = squares, lost
    return Measure.of(comm.gather(about))
