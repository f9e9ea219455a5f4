"""What a solve found, and which points of it are kept."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array, samples_first, samples_last
from mgresnet.mgrit.solver import Result, Status
from mgresnet.solve.slab import span

Indices = NDArray[np.intp]
KEEPS = ("all", "c-points", "auto")
BUDGET = 2**26  # bytes of states up to which "auto" keeps all


class Trajectory(Protocol):
    """What an adjoint solve wants to know of a forward one; see `Solution`."""

    @property
    def states(self) -> Array:
        """States at the ends of layers."""

    @property
    def kept(self) -> Indices:
        """Which ends."""

    @property
    def slab(self) -> range:
        """Layers of this rank."""

    @property
    def layers(self) -> Any:
        """What a forward solve propagated with."""


@dataclass(frozen=True, repr=False)
class Solution:
    """States or adjoints of this rank's layers, and how they were found.

    Parameters
    ----------
    states : ndarray, shape (n_local + 1, batch, *state_shape)
        At the ends of this rank's layers, in layer order: ``states[n]`` is u_n, or
        dJ/du_n, for n counted from the first layer of the slab.  With
        ``keep="c-points"`` only those listed in `kept`.
    kept : ndarray of int, shape (len(states),)
        Which n the states are for; with ``keep="all"`` 0, 1, .., n_local.
    slab : range
        This rank's layers.
    residuals : ndarray, shape (n_measured,)
        2-norm over the C-points of the residual; entry k was taken after relaxation and
        before correction k + 1.
    point_residuals : ndarray, shape (n_measured, n_c_points)
        The same for every C-point, in the order of propagation.
    final_residual : float
        2-norm over the C-points of the residual of the states returned.
    iterations : int
        Number of coarse-grid corrections.
    status : Status
        CONVERGED, MAX_ITERATIONS or NON_FINITE; its value is a message.
    work : Counter
        Steps this rank evaluated, keyed by level and kind ("relax", "restrict",
        "solve").
    seconds : dict
        What they took by the clock on the wall, with the messages of a solve on the
        coarsest level.
    defects : ndarray, shape (n_local_c_points, batch, *state_shape)
        Residual at this rank's C-points, in layer order: at the end of every interval,
        or, for adjoints, at its start.
    inputs : ndarray, shape (batch, *input_shape), or None
        What a forward solve started from.
    opening : ndarray, shape (n_params,), or None
        Parameters of the opening, on the rank that has it.
    layers : Forward, or None
        What a forward solve propagated with; where all states are kept its tape has
        what the layers want to know for the way back.
    forcing : ndarray, shape (n_local, *state_shape, batch), or None
        What every step of an adjoint solve added, in pseudo-time.
    gradient : ndarray, shape (n_local, n_params), or None
        For the parameters of this rank's layers, of an adjoint solve that was asked.
    d_inputs : ndarray, shape (n_local, 1, *input_shape, batch), or None
        For what these layers take.
    """

    states: Array
    kept: Indices
    slab: range
    residuals: NDArray[np.float64]
    point_residuals: NDArray[np.float64]
    final_residual: float
    iterations: int
    status: Status
    work: Counter[tuple[int, str]]
    seconds: dict[tuple[int, str], float]
    defects: Array
    inputs: Any = None
    opening: Any = None
    layers: Any = None
    forcing: Any = None
    gradient: Any = None
    d_inputs: Any = None

    @property
    def final(self) -> Array:
        """Last state of the slab, (batch, *state_shape)."""
        last: Array = self.states[-1]
        return last

    @property
    def converged(self) -> bool:
        """Whether the states returned are within the tolerance."""
        return self.status is Status.CONVERGED


@lru_cache
def kept_points(n_layers: int, spacing: int) -> Indices:
    """Every so many of the points 0..n_layers, and the last; not to be modified."""
    points: Indices = np.append(np.arange(0, n_layers, spacing), n_layers)
    points.flags.writeable = False
    return points


def keeps_all(keep: str, n_layers: int, spacing: int, state: Array) -> bool:
    """Whether states of all layers are kept, or C-points alone.

    Parameters
    ----------
    keep : {"all", "c-points", "auto"}
        "auto" keeps all states that need little memory, or have no C-points.
    n_layers, spacing : int
        Of the rank that has most layers, so that all ranks keep alike.
    state : ndarray
        One state.

    Raises
    ------
    ValueError
        If `keep` is something else.
    """
    if keep not in KEEPS:
        raise ValueError(f"unknown keep {keep!r}; choose from {', '.join(KEEPS)}")
    if keep == "auto":
        return spacing >= n_layers or n_layers * state.nbytes <= BUDGET
    return keep == "all"


def as_solution(result: Result, slab: range, spacing: int, backwards: bool) -> Solution:
    """Solution in layer order, samples first."""
    order = slice(None, None, -1 if backwards else 1)
    histories = [measure.residuals for measure in result.measures]
    ndim = result.points.ndim - 2
    return Solution(
        states=samples_first(result.points[order], ndim),
        kept=kept_points(len(slab), spacing),
        slab=slab,
        residuals=np.array([measure.residual for measure in result.measures]),
        point_residuals=np.array(histories) if histories else np.empty((0, 0)),
        final_residual=result.final.residual,
        iterations=result.iterations,
        status=result.status,
        work=result.work,
        seconds=result.seconds,
        defects=samples_first(result.defects[order], ndim),
    )


def guess_points(
    guess: Solution | Array | None, slab: range, spacing: int, first: Array
) -> Array | None:
    """First approximation of the C-points, samples last, in layer order.

    Parameters
    ----------
    guess : Solution or ndarray, shape (n_local + 1, batch, *state_shape), or None
        A solution may have kept other points; those that lack are zero.
    slab : range
    spacing : int
    first : ndarray, shape (*state_shape, batch)
    """
    if guess is None:
        return None
    wanted = kept_points(len(slab), spacing)
    if isinstance(guess, Solution):
        states, kept = guess.states, guess.kept
    else:
        states, kept = np.asarray(guess), np.arange(len(slab) + 1)
    *shape, batch = first.shape
    needed = (len(kept), batch, *shape)
    if states.shape != needed or kept[-1] != len(slab):
        raise ValueError(
            f"guess has shape {states.shape}, needed {needed}: the states at the ends "
            f"of layers {span(slab)} for the same batch"
        )
    if not np.array_equal(kept, wanted):
        places = np.minimum(np.searchsorted(kept, wanted), len(kept) - 1)
        known = kept[places] == wanted
        states = np.where(known.reshape(-1, *[1] * first.ndim), states[places], 0.0)
    return samples_last(states.astype(first.dtype, copy=False), first.ndim - 1)
