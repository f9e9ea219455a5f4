"""Iterate the cycle from an initial guess until it is accurate enough."""

import math
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mgresnet.kernels.norms import compare
from mgresnet.mgrit.cycle import Method, correct, relax, start
from mgresnet.mgrit.level import Level
from mgresnet.mgrit.line import Line
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.mgrit.segment import March, Segment
from mgresnet.mgrit.work import Work
from mgresnet.parallel.comm import TimeComm

T = TypeVar("T")


class Status(Enum):
    """How a solve ended; the value is the message."""

    CONVERGED = "the residual is within the tolerance"
    MAX_ITERATIONS = "the allowed number of iterations was used"
    NON_FINITE = "states are not finite: smaller weights, or a smaller final_time"


class Measure(NamedTuple):
    """What every C-point but the first is like, the same on all ranks."""

    about: NDArray[np.float64]
    """In time order: squared 2-norms of residual and state; whether its rank is lost,
    as the last point of the rank is not finite."""

    @property
    def residuals(self) -> NDArray[np.float64]:
        """2-norm of every residual."""
        norms: NDArray[np.float64] = np.sqrt(self.about[:, 0])
        return norms

    @property
    def residual(self) -> float:
        """2-norm of the residual over the C-points."""
        return math.sqrt(self.about[:, 0].sum())

    @property
    def state(self) -> float:
        """2-norm of the states over the C-points."""
        return math.sqrt(self.about[:, 1].sum())

    def status(self, tolerance: float) -> Status:
        """Compare the residual with the states."""
        residual, state = self.residual, self.state
        if not math.isfinite(residual + state) or self.about[:, 2].any():
            return Status.NON_FINITE
        close = residual <= tolerance * state
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


class Approach(NamedTuple):
    """C-points of a solve as they are returned, found before its last sweep."""

    finest: Level
    measures: tuple[Measure, ...]
    swept: bool  # whether the last sweep is done
    work: list[Work]  # of all levels, finest first
    tolerance: float

    @np.errstate(over="ignore", invalid="ignore")
    def result(self, comm: TimeComm, found: list[Any]) -> Result:
        """Measure, now that the last sweep is done, which has found something."""
        finest = self.finest
        apart = finest.intervals.u.shape[1] == 1
        defects = finest.ends if apart else np.empty_like(finest.ends, order="C")
        final = _measure(finest, comm, defects)
        return Result(
            points=finest.points(),
            defects=defects,
            measures=self.measures,
            final=final,
            iterations=len(self.measures) - self.swept,
            status=final.status(self.tolerance),
            work=Counter(_by_level(w.steps for w in self.work)),
            seconds=_by_level(w.seconds for w in self.work),
            last=found,
        )


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
    if not options.iterates(factors):
        return _serial(propagator, initial, options, comm, spacing, last)
    problem = propagator, initial, factors
    found = approach(*problem, options, comm, guess, spacing=spacing)
    if last is None and found.swept:
        return found.result(comm, [])
    return found.result(comm, found.finest.sweep("relax", last or Segment.march))


@np.errstate(over="ignore", invalid="ignore")  # shows in the status
def approach(
    propagator: Propagator,
    initial: Array,
    factors: tuple[int, ...],
    options: MGRITOptions,
    comm: TimeComm,
    guess: Array | None,
    *,
    spacing: int,
) -> Approach:
    """Do what `iterate` does, but for the last sweep, which leaves C-points alone."""
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
    return Approach(finest, tuple(measures), swept, work, options.tolerance)


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
    defects = np.zeros_like(end)
    squares = compare(end[:, None], end)
    squares[:, 0] = 0.0  # also where infinity less infinity is not a number
    final = _gathered(squares, False, comm)
    status = final.status(options.tolerance)
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


def _measure(finest: Level, comm: TimeComm, defects: Array | None = None) -> Measure:
    """Compare C-points with the ends of the intervals; defects are filled."""
    squares = compare(finest.intervals.u, finest.c_points[1:], defects)
    has_tail = finest.tail.propagator.n_steps > 0
    return _gathered(squares, has_tail and not np.isfinite(finest.line[-1]).all(), comm)


def _gathered(squares: NDArray[np.float64], lost: bool, comm: TimeComm) -> Measure:
    """Measure from the squared norms of every rank, and whether its end is lost."""
    about = np.empty((len(squares), 3))
    about[:, :2], about[:, 2] = squares, lost
    return Measure(comm.gather(about))


def _by_level(books: Iterable[dict[str, T]]) -> dict[tuple[int, str], T]:
    """Books of all levels in one, finest first."""
    return {(i, kind): n for i, book in enumerate(books) for kind, n in book.items()}
