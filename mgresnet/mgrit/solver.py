"""Iterate the cycle from an initial guess until it is accurate enough."""

import math
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mgresnet.mgrit.cycle import Method, correct, relax, start
from mgresnet.mgrit.level import Level
from mgresnet.mgrit.line import Line
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.mgrit.segment import March, Segment
from mgresnet.parallel.comm import TimeComm

AT_ONCE = 2**18  # bytes of states whose squares are summed in one go
T = TypeVar("T")


class Status(Enum):
    """How a solve ended; the value is the message."""

    CONVERGED = "the residual is within the tolerance"
    MAX_ITERATIONS = "the allowed number of iterations was used"
    NON_FINITE = "states are not finite: smaller weights, or a smaller final_time"


class Measure(NamedTuple):
    """2-norms at every C-point but the first, in time order, the same on all ranks."""

    residuals: NDArray[np.float64]
    states: NDArray[np.float64]
    lost: bool  # whether the last point of any rank is not finite

    @property
    def residual(self) -> float:
        """2-norm of the residual over the C-points."""
        return math.sqrt(np.sum(self.residuals**2))

    def status(self, tolerance: float) -> Status:
        """Compare the residual with the states."""
        scale = math.sqrt(np.sum(self.states**2))
        if self.lost or not math.isfinite(self.residual + scale):
            return Status.NON_FINITE
        close = self.residual <= tolerance * scale
        return Status.CONVERGED if close else Status.MAX_ITERATIONS


class Result(NamedTuple):
    """Outcome of `iterate`.

    `measures[k]` was taken after relaxation and before correction k + 1; `final` is
    that of the points returned.
    """

    points: Array  # those of this rank that are kept, (n_points, *state)
    defects: Array  # residual at C-points 1..M of this rank, (M, *state)
    measures: tuple[Measure, ...]
    final: Measure
    iterations: int
    status: Status
    work: Counter[tuple[int, str]]
    seconds: dict[tuple[int, str], float]
    last: list[Any]  # what the last march through lead, intervals and tail returned


@np.errstate(over="ignore", invalid="ignore")  # shows in the status
def iterate(
    propagator: Propagator,
    initial: Array,
    factors: tuple[int, ...],
    options: MGRITOptions,
    comm: TimeComm,
    guess: Array | None = None,
    *,
    spacing: int = 1,
    last: March | None = None,
) -> Result:
    """Solve ``u[n+1] = Phi_n(u[n])`` for this rank's points.

    Parameters
    ----------
    propagator : Propagator
        This rank's steps.
    initial : ndarray, shape state
        Value at the first point of rank 0; other ranks give the shape and dtype.
    factors : tuple of int
        Coarsening factors in use; empty for serial propagation.
    options : MGRITOptions
    comm : TimeComm
    guess : ndarray, shape (n_points, *state), optional
        First approximation at the points that are kept; only its C-points matter.
        Serial propagation needs none.
    spacing : int
        Steps from a point that is kept to the next: 1, or the first factor.
    last : callable, optional
        What the last sweep does with a segment, if it is to do more than march.
    """
    if not factors or options.initial_guess == "serial":
        return _serial(propagator, initial, options, comm, spacing, last)
    finest = Level.of(propagator, factors, initial, spacing)
    method = Method(
        options.cycle, options.sweeps(len(factors)), options.relaxation_weight
    )
    _guess(finest, initial, options, comm, method, guess)
    measures: list[Measure] = []
    swept = False
    while len(measures) < options.max_iterations:
        finest.sweep("relax")
        relax(finest, comm, method)
        measures.append(_measure(finest, comm))
        status = measures[-1].status(options.tolerance)
        swept = status is Status.NON_FINITE or (
            status is Status.CONVERGED and options.tolerance > 0.0
        )
        if swept:
            break
        correct(finest, comm, method)
    work = [level.work for level in finest.hierarchy()]
    finest = finest._replace(coarser=None)  # its memory is free for the last sweep
    found = []
    if last is not None or not swept:
        found = finest.sweep("relax", last or Segment.march)
    final = _measure(finest, comm)
    return Result(
        defects=_defects(finest),
        points=finest.points(),
        measures=tuple(measures),
        final=final,
        iterations=len(measures) - swept,
        status=final.status(options.tolerance),
        work=Counter(_by_level(w.steps for w in work)),
        seconds=_by_level(w.seconds for w in work),
        last=found,
    )


def _serial(
    propagator: Propagator,
    initial: Array,
    options: MGRITOptions,
    comm: TimeComm,
    spacing: int,
    last: March | None,
) -> Result:
    """One march through all steps leaves no residual."""
    line = Line.of(propagator, initial, spacing)
    found = line.solve(initial, comm, last or Segment.march)
    end = line.points[-1:]
    sums = np.array([0.0]), _square_sums(end), np.array([_is_lost(end)])
    final = _gathered(sums, comm)
    defects, status = np.zeros_like(end), final.status(options.tolerance)
    books = Counter(_by_level([line.work.steps])), _by_level([line.work.seconds])
    return Result(line.points, defects, (), final, 0, status, *books, found)


def _guess(
    finest: Level,
    initial: Array,
    options: MGRITOptions,
    comm: TimeComm,
    method: Method,
    guess: Array | None,
) -> None:
    """Set the C-points of the finest level."""
    finest.begin(initial)
    if guess is None and options.initial_guess == "coarse":
        start(finest, comm, method)
        return
    if guess is not None:
        finest.set_points(guess)
    elif options.initial_guess == "constant":
        first = initial[None] if comm.rank == 0 else initial[None][:0]
        finest.c_points[:] = comm.gather(first)
    else:
        finest.c_points[:] = 0.0
    if comm.rank == 0:
        finest.begin(initial)


def _measure(finest: Level, comm: TimeComm) -> Measure:
    """Norms per C-point, gathered in time order so that all ranks see the same."""
    behind = finest.c_points[1:]
    residuals = _square_sums(finest.ends, behind)
    lost = np.full(len(behind), _is_lost(finest.line[-1]))
    return _gathered((residuals, _square_sums(behind), lost), comm)


def _gathered(sums: tuple[NDArray[Any], ...], comm: TimeComm) -> Measure:
    """Norms from the sums of squares of every rank, and whether its end is lost."""
    gathered = comm.gather(np.stack(sums, axis=1))
    residuals, states = np.sqrt(gathered[:, :2].T)
    return Measure(residuals, states, bool(gathered[:, 2].any()))


def _is_lost(values: Array) -> float:
    return float(not np.isfinite(values).all())


def _square_sums(values: Array, others: Array | None = None) -> NDArray[np.float64]:
    """Sum of squares of every state, or of its difference from another one.

    It does not depend on the states beside it, so a few at a time will do.
    """
    sums = np.empty(len(values))
    few = max(AT_ONCE // values[:1].nbytes, 1)
    for i in range(0, len(values), few):
        some = values[i : i + few]
        if others is not None:
            some = some - others[i : i + few]
        rows = some.reshape(len(some), -1).astype(np.float64, copy=False)
        np.einsum("ij,ij->i", rows, rows, out=sums[i : i + few])
    return sums


def _defects(finest: Level) -> Array:
    """Residual at the C-points 1..M of this rank, in place where ends lie apart."""
    ends, behind = finest.ends, finest.c_points[1:]
    apart = finest.intervals.u.shape[1] == 1
    return np.subtract(ends, behind, out=ends if apart else None)


def _by_level(books: Iterable[dict[str, T]]) -> dict[tuple[int, str], T]:
    """Books of all levels in one, finest first."""
    return {(i, kind): n for i, book in enumerate(books) for kind, n in book.items()}
