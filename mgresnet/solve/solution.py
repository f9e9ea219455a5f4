"""What a solve found, and which points of it are kept."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import choose, floats
from mgresnet.arrays.layout import Array, samples_first, samples_last
from mgresnet.mgrit.solver import Result, Status
from mgresnet.solve.slab import span

Indices = NDArray[np.intp]
KEEPS = ("all", "c-points", "auto")
BUDGET = 2**28  # bytes of a rank's states up to which "auto" keeps all

SHOWN = 8  # residuals that are printed at most


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
    """States or adjoints of this rank's layers, and how they were found; a table.

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
    state_norm : float
        2-norm over the C-points of these states.
    iterations : int
        Number of coarse-grid corrections.
    status : Status
        CONVERGED, MARCHED, MAX_ITERATIONS or NON_FINITE; its value is a message.
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
    net : Network, or None
        Of a forward solve.
    own : Params, or None
        This rank's parameters of a forward solve.
    layers : Forward, or None
        What a forward solve propagated with; where all states are kept its tape has
        what the layers want to know for the way back.
    forcing : ndarray, shape (n_local, *state_shape, batch), of size zero, or None
        What an adjoint solve added behind each step, in pseudo-time.
    gradient : ndarray, shape (n_local, n_params), or None
        For the parameters of this rank's layers, of an adjoint solve that was asked.
    d_inputs : ndarray, shape (n_local, 1, *input_shape, batch), or None
        For what these layers take.
    along : int, or None
        Checksum of the last forward state, of `solve_adjoint`.
    """

    states: Array
    kept: Indices
    slab: range
    residuals: NDArray[np.float64]
    point_residuals: NDArray[np.float64]
    final_residual: float
    state_norm: float
    iterations: int
    status: Status
    work: Counter[tuple[int, str]]
    seconds: dict[tuple[int, str], float]
    defects: Array
    inputs: Any = None
    net: Any = None
    own: Any = None
    layers: Any = None
    forcing: Any = None
    gradient: Any = None
    d_inputs: Any = None
    along: int | None = None

    @property
    def final(self) -> Array:
        """Last state of the slab, (batch, *state_shape)."""
        last: Array = self.states[-1]
        return last

    @property
    def relative_residual(self) -> float:
        """Residual of the states returned beside them: what a tolerance is for."""
        if self.final_residual == 0.0:
            return 0.0
        return self.final_residual / self.state_norm if self.state_norm else math.inf

    @property
    def converged(self) -> bool:
        """Whether the states returned are within the tolerance."""
        return self.status.converged

    def for_samples(self, samples: slice) -> Self:
        """What the same solves have for some samples; norms are those of all."""
        if samples == slice(None):
            return self
        known: dict[str, Any] = {"states": self.states[:, samples]}
        known["defects"] = self.defects[:, samples]
        if self.layers is not None:
            known["layers"] = self.layers.for_samples(samples)
            known["inputs"] = self.inputs[samples]
        return replace(self, **known)

    def __repr__(self) -> str:
        steps: Counter[int] = Counter()
        for (level, _), n in self.work.items():
            steps[level] += n
        measured = [f"{r:.1e}" for r in self.residuals]
        if len(measured) > SHOWN:
            measured = [*measured[: SHOWN - 2], "..", measured[-1]]
        rows = {
            "states": f"{self.states.shape} {self.states.dtype}",
            "layers": span(self.slab),
            "status": self.status.name,
            "iterations": self.iterations,
            "residuals": " ".join(measured) or "none",
            "at the end": f"{self.final_residual:.1e}",
            "steps": ", ".join(f"level {k}: {n}" for k, n in sorted(steps.items())),
        }
        return "\n".join(f"{name:10s}  {value}" for name, value in rows.items())


@lru_cache
def kept_points(n_layers: int, spacing: int) -> Indices:
    """Every so many of the points 0..n_layers, and the last; not to be modified."""
    points: Indices = np.append(np.arange(0, n_layers, spacing), n_layers)
    points.flags.writeable = False
    return points


def keeps_all(keep: str, n_layers: int, state: Array) -> bool:
    """Whether states of all layers are kept, or C-points alone.

    Parameters
    ----------
    keep : {"all", "c-points", "auto"}
        "auto" keeps all states, if they fit into the memory that is meant for them.
    n_layers : int
    state : ndarray
        One state.

    Raises
    ------
    ValueError
        If `keep` is something else.
    """
    choose("keep", keep, KEEPS)
    if keep == "auto":
        return n_layers * state.nbytes <= BUDGET
    return keep == "all"


def as_solution(
    result: Result, slab: range, spacing: int, backwards: bool, **known: Any
) -> Solution:
    """Solution in layer order, samples first, with what else is known."""
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
        state_norm=result.final.state,
        iterations=result.iterations,
        status=result.status,
        work=result.work,
        seconds=result.seconds,
        defects=samples_first(result.defects[order], ndim),
        **known,
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
    states, kept = guess, np.arange(len(slab) + 1)
    if not isinstance(guess, np.ndarray) and hasattr(guess, "kept"):
        states, kept = guess.states, guess.kept
    states = floats("guess", states)
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
