"""Iterate the cycle from an initial guess until it is accurate enough."""

import math
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import absent
from mgresnet.kernels.norms import compare
from mgresnet.mgrit.cycle import Method, correct, relax, start
from mgresnet.mgrit.level import Level
from mgresnet.mgrit.line import Line
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.propagator import Array, Propagator
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


class Outputs(NamedTuple):
    """What a caller wants of the last sweep of a solve.

    A sweep leaves C-points alone, so that the last one may note what it likes.
    """

    propagator: Propagator  # the steps of the solve, as they are marched in that sweep
    points: Array  # (n_steps + 1, *state), filled; of size zero if C-points are enough


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


class CPoints(NamedTuple):
    """A solve that lacks its last sweep, which leaves C-points as they are.

    It finds the points between them, and the residual of what is returned.
    """

    finest: Level
    measures: tuple[Measure, ...]
    swept: bool  # whether the last measure is that of these C-points
    work: list[Work]  # of all levels, finest first
    tolerance: float

    @np.errstate(over="ignore", invalid="ignore")  # shows in the status
    def sweep(self, outputs: Outputs | None, comm: TimeComm) -> Result:
        """Sweep for the last time, unless that is done and nothing else is wanted."""
        finest = self.finest
        if outputs is not None and outputs.points.size:
            u = finest.sweep_into(outputs.points, outputs.propagator)
            return self._result(outputs.points, u, comm)
        if outputs is not None or not self.swept:
            finest.sweep(outputs and outputs.propagator)
        return self.measure(comm)

    @np.errstate(over="ignore", invalid="ignore")
    def measure(self, comm: TimeComm) -> Result:
        """Take the intervals' ends as a last sweep has left them."""
        return self._result(self.finest.points, self.finest.ends[:, None], comm)

    def _result(self, points: Array, u: Array, comm: TimeComm) -> Result:
        """Compare C-points with the intervals' ends ``u[:, -1]``, and settle them."""
        finest, defects = self.finest, self.finest.ends
        final = _measure(finest, u, points[-1], comm, defects)
        return Result(
            points=finest.settle(points),
            defects=defects,
            measures=self.measures,
            final=final,
            iterations=len(self.measures) - self.swept,
            status=final.status(self.tolerance),
            work=Counter(_by_level(w.steps for w in self.work)),
            seconds=_by_level(w.seconds for w in self.work),
        )


@np.errstate(over="ignore", invalid="ignore")  # shows in the status
def iterate(
    propagator: Propagator,
    initial: Array,
    factors: tuple[int, ...],
    options: MGRITOptions,
    comm: TimeComm,
    *,
    guess: Array | None = None,
    forcing: Array | None = None,
    outputs: Outputs | None = None,
    spacing: int = 1,
) -> Result:
    """Solve ``u[n+1] = Phi_n(u[n]) + g[n+1]`` for this rank's points.

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
        First approximation at all points or at those kept; only its C-points matter.
        Serial propagation needs none.
    forcing : ndarray, shape (n_steps, *state), optional
        None is zero.
    outputs : Outputs, optional
        By default C-points are kept.
    spacing : int
        Steps from a point that serial propagation keeps to the next one by default.
    """
    if not options.iterates(factors):
        return _serial(propagator, initial, spacing, options, comm, forcing, outputs)
    problem = propagator, initial, factors, options, comm
    return solve_c_points(*problem, guess, forcing).sweep(outputs, comm)


@np.errstate(over="ignore", invalid="ignore")  # shows in the status
def solve_c_points(
    propagator: Propagator,
    initial: Array,
    factors: tuple[int, ...],
    options: MGRITOptions,
    comm: TimeComm,
    guess: Array | None = None,
    forcing: Array | None = None,
) -> CPoints:
    """Find the C-points of `iterate`; its last sweep is left to the caller."""
    none = absent(initial.dtype)
    finest = Level.of(
        propagator, factors, initial, none if forcing is None else forcing
    )
    sweeps = options.sweeps(len(factors))
    method = Method(options.cycle, sweeps, options.relaxation_weight)
    _guess(finest, initial, options, comm, method, guess)
    measures: list[Measure] = []
    swept = False
    while len(measures) < options.max_iterations:
        finest.sweep()
        relax(finest, comm, method)
        measures.append(_measure(finest, finest.ends[:, None], finest.points[-1], comm))
        status = measures[-1].status(options.tolerance)
        swept = status is Status.NON_FINITE or (
            status is Status.CONVERGED and options.tolerance > 0.0
        )
        if swept:
            break
        correct(finest, comm, method)
    work = [level.work for level in finest.hierarchy()]
    finest = finest._replace(coarser=None)  # its memory is free for the last sweep
    return CPoints(finest, tuple(measures), swept, work, options.tolerance)


def _serial(
    propagator: Propagator,
    initial: Array,
    spacing: int,
    options: MGRITOptions,
    comm: TimeComm,
    forcing: Array | None,
    outputs: Outputs | None,
) -> Result:
    """One march through all steps leaves no residual.

    What needs whole batches, as sums over samples do, is left to a sweep afterwards, if
    the march itself can go in turns.
    """
    steps, points = outputs or Outputs(propagator, absent(initial.dtype))
    later = comm.size > 1 and propagator.sample_block and not steps.sample_block
    g = absent(initial.dtype) if forcing is None else forcing
    line = Line.of(propagator if later else steps, initial, points, spacing, g)
    work = Work.none()
    with work.book("solve", steps.n_steps):
        line.solve(initial, comm)
    if later:
        with work.book("relax", steps.n_steps):
            line.sweep(steps)
    end = line.points[-1:]
    squares = compare(end[:, None], end)
    squares[:, 0] = 0.0  # also where infinity less infinity is not a number
    final = _gathered(squares, False, comm)
    status = final.status(options.tolerance)
    books = Counter(_by_level([work.steps])), _by_level([work.seconds])
    return Result(line.points, np.zeros_like(end), (), final, 0, status, *books)


def _guess(
    finest: Level,
    initial: Array,
    options: MGRITOptions,
    comm: TimeComm,
    method: Method,
    guess: Array | None,
) -> None:
    """Set the C-points of the finest level."""
    finest.points[0] = initial
    if guess is None and options.initial_guess == "coarse":
        start(finest, comm, method, finest.forcing)
        return
    if guess is not None:
        finest.set_points(guess)
    elif options.initial_guess == "constant":
        first = initial[None] if comm.rank == 0 else initial[None][:0]
        finest.c_points[:] = comm.gather(first)
    else:
        finest.c_points[:] = 0.0
    if comm.rank == 0:
        finest.points[0] = initial


def _measure(
    finest: Level, u: Array, last: Array, comm: TimeComm, defects: Array | None = None
) -> Measure:
    """Compare C-points with the intervals' ends ``u[:, -1]``; defects are filled."""
    squares = compare(u, finest.c_points[1:], defects)
    has_tail = finest.parts[2].n_steps > 0
    return _gathered(squares, has_tail and not np.isfinite(last).all(), comm)


def _gathered(squares: NDArray[np.float64], lost: bool, comm: TimeComm) -> Measure:
    """Measure from the squared norms of every rank, and whether its end is lost."""
    about = np.empty((len(squares), 3))
    about[:, :2], about[:, 2] = squares, lost
    return Measure(comm.gather(about))


def _by_level(books: Iterable[dict[str, T]]) -> dict[tuple[int, str], T]:
    """Books of all levels in one, finest first."""
    return {(i, kind): n for i, book in enumerate(books) for kind, n in book.items()}
