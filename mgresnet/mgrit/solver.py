"""Iterate the cycle from an initial guess until it is accurate enough."""

import functools
import logging
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import numpy as np

from mgresnet.arrays.layout import absent
from mgresnet.kernels.norms import compare
from mgresnet.mgrit.cycle import Method, correct, relax, start
from mgresnet.mgrit.level import Level
from mgresnet.mgrit.line import Line
from mgresnet.mgrit.measure import Measure, gathered, measure
from mgresnet.mgrit.measure import Status as Status
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.mgrit.work import Work
from mgresnet.parallel.comm import TimeComm

T = TypeVar("T")


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

    @property
    def lost(self) -> bool:
        """Whether the last measure found numbers that are not finite."""
        return self.swept and self.measures[-1].status(0.0) is Status.NON_FINITE

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
        final = measure(finest, u, points[-1], comm, defects)
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
    result = solve_c_points(*problem, guess, forcing).sweep(outputs, comm)
    if result.status is not Status.NON_FINITE:
        return result
    exact = _serial(propagator, initial, spacing, options, comm, forcing, outputs)
    if exact.status is Status.NON_FINITE:
        return result
    if comm.rank == 0:
        _say_once(Status.MARCHED.value)
    return result._replace(
        points=exact.points,
        defects=np.zeros_like(result.defects),
        final=Measure.of(np.zeros_like(result.final.about)),
        status=Status.MARCHED,
        work=result.work + exact.work,
        seconds=result.seconds | exact.seconds,
    )


_say_once = functools.cache(logging.getLogger("mgresnet").warning)


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
    none, tolerance = absent(initial.dtype), options.reachable(initial.dtype)
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
        measures.append(measure(finest, finest.ends[:, None], finest.points[-1], comm))
        status = measures[-1].status(tolerance)
        swept = status is Status.NON_FINITE or (
            status is Status.CONVERGED and tolerance > 0.0
        )
        if swept:
            break
        correct(finest, comm, method)
    work = [level.work for level in finest.hierarchy()]
    finest = finest._replace(coarser=None)  # its memory is free for the last sweep
    return CPoints(finest, tuple(measures), swept, work, tolerance)


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
    final = gathered(squares, False, comm)
    status = final.status(options.tolerance)
    books = Counter(_by_level([work.steps])), _by_level([work.seconds])
    none = np.zeros(end.shape, end.dtype)
    return Result(line.points, none, (), final, 0, status, *books)


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


def _by_level(books: Iterable[dict[str, T]]) -> dict[tuple[int, str], T]:
    """Books of all levels in one, finest first."""
    return {(i, kind): n for i, book in enumerate(books) for kind, n in book.items()}
