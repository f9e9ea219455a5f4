"""Iterate the cycle from an initial guess until it is accurate enough."""

import math
from collections import Counter
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.mgrit.cycle import Method, chain, correct, relax, residual, start
from mgresnet.mgrit.level import Level, March, Segment
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.parallel.comm import TimeComm


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
        line = Level.of(propagator, (), initial, comm, spacing)
        line.begin(initial)
        found = chain(line, comm, last or Segment.march)
        return _result(line, (), 0, options, comm, [line.work], found)
    finest = Level.of(propagator, factors, initial, comm, spacing)
    method = Method(
        options.cycle, options.sweeps(len(factors)), options.relaxation_weight
    )
    _guess(finest, initial, options, comm, method, guess)
    measures: list[Measure] = []
    swept = False
    while len(measures) < options.max_iterations:
        finest.sweep("relax")
        relax(finest, comm, method)
        measures.append(_measure(finest, residual(finest), comm))
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
    n = len(measures) - swept
    return _result(finest, tuple(measures), n, options, comm, work, found)


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
    if guess is None:
        guess = np.zeros_like(finest.points())
        if options.initial_guess == "constant":
            guess[:] = comm.gather(initial[None][: 1 if comm.rank == 0 else 0])
    finest.set_points(guess)
    if comm.rank == 0:
        finest.begin(initial)


def _measure(finest: Level, jumps: Array, comm: TimeComm) -> Measure:
    """Norms per C-point, gathered in time order so that all ranks see the same."""
    states = finest.intervals.u[1:, 0], finest.tail.u[:, 0]
    of_states = np.concatenate([_square_sums(u) for u in states])
    lost = not np.isfinite(finest.tail.u[0, -1]).all()
    columns = (_square_sums(jumps), of_states, np.full(len(jumps), float(lost)))
    gathered = comm.gather(np.stack(columns, axis=1))
    residuals, states = np.sqrt(gathered[:, :2].T)
    return Measure(residuals, states, bool(gathered[:, 2].any()))


def _square_sums(values: Array) -> NDArray[np.float64]:
    """Sum of squares of every state; it does not depend on the states beside it."""
    rows = values.reshape(len(values), math.prod(values.shape[1:]))
    rows = rows.astype(np.float64, copy=False)
    sums: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows)
    return sums


def _result(
    finest: Level,
    measures: tuple[Measure, ...],
    iterations: int,
    options: MGRITOptions,
    comm: TimeComm,
    work: list[Counter[str]],
    found: list[Any],
) -> Result:
    defects = residual(finest)
    final = _measure(finest, defects, comm)
    status, points = final.status(options.tolerance), finest.points()
    kinds = {(i, kind): n for i, level in enumerate(work) for kind, n in level.items()}
    total = Counter(kinds)
    return Result(points, defects, measures, final, iterations, status, total, found)
