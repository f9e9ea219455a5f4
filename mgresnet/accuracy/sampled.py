r"""A propagation known by its coarse steps and by what they miss on some intervals.

Interval j of m layers, started from u, ends at

.. math:: e_j(u) = G_j(u) + \delta_j(u), \qquad \delta_j = \Phi_j^m - G_j,

and only the defect :math:`\delta_j` costs m layers.  It is evaluated on chosen
intervals and interpolated linearly in depth between them.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import Forward, march

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class SampledIntervals:
    """Interval ends as coarse steps plus an interpolated defect.

    Towards the engine a fine propagator of M steps that is coarsened by 1.

    Parameters
    ----------
    fine : Forward or Adjoint
        The layers of the chosen intervals, one interval after the other.
    coarse : Forward or Adjoint
        One step for each of all M intervals.
    chosen : ndarray of int, shape (n_chosen,)
        Which intervals are evaluated, in the order of propagation.
    """

    fine: Any
    coarse: Any
    chosen: Indices

    sample_block = 0

    @property
    def n_steps(self) -> int:
        """Number of intervals."""
        return int(self.coarse.n_steps)

    def propagate(self, starts: Array, u: Array, forcing: Array) -> None:
        """Fill the end of every interval, in place.

        Parameters
        ----------
        starts : ndarray, shape (M, *state)
        u : ndarray, shape (M, 1, *state)
        forcing : ndarray, shape (M, 1, *state), or empty for none
        """
        missed = self.defect(starts)
        self.coarse.propagate(starts, u, forcing)
        u[:, 0] += interpolate(missed, self.chosen, self.n_steps)

    def defect(self, starts: Array) -> Array:
        """What coarse steps from all M starts miss on the chosen intervals."""
        ends = march(self.coarse, starts, 1)[:, 0]
        layers = march(self.fine, starts[self.chosen], self.span)
        missed: Array = layers[:, -1] - ends[self.chosen]
        return missed

    @property
    def span(self) -> int:
        """Number of layers m in an interval."""
        return int(self.fine.n_steps) // len(self.chosen)

    def cut(self, m: int) -> tuple[Any, Self, Any]:
        """Nothing before, all intervals, nothing after."""
        return self.coarse.part(0, 0), self, self.coarse.part(0, 0)

    def coarsen(self, m: int) -> Any:
        """The coarse steps."""
        return self.coarse


def interpolate(values: Array, at: Indices, n: int) -> Array:
    """Values at 0..n-1, piecewise linear between those at the given indices."""
    if len(at) == n:
        return values
    j = np.arange(n)
    right = np.searchsorted(at, j)
    left = np.maximum(right - 1, 0)
    share = (j - at[left]) / np.maximum(at[right] - at[left], 1)
    share = share.astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    between: Array = (1 - share) * values[left] + share * values[right]
    return between


def sample(
    fine: Forward, m: int, first: Array, fewest: int, accuracy: float
) -> SampledIntervals:
    """Choose as many intervals as the defect needs along the coarse trajectory.

    Parameters
    ----------
    fine : Forward
        All layers; a remainder is left out.
    m : int
        Layers per interval.
    first : ndarray, shape state
        Where the trajectory starts.
    fewest : int
        Number of intervals to begin with; it doubles until the new ones are predicted.
    accuracy : float
        Largest error, relative in the 2-norm, of what interpolation foretells.
    """
    n = fine.n_steps // m
    fine = fine.part(0, n * m)
    coarse = fine.coarsen(m)
    starts = _starts(coarse, first[None], n)[0]
    model = _choose(fine, coarse, _spread(n, fewest))
    known = model.defect(starts)
    while len(model.chosen) < n:
        finer = _choose(fine, coarse, _spread(n, 2 * len(model.chosen) - 1))
        defect = finer.defect(starts)
        predicted = interpolate(known, model.chosen, n)[finer.chosen]
        model, known = finer, defect
        if np.linalg.norm(defect - predicted) <= accuracy * np.linalg.norm(defect):
            break
    return model


def transpose(model: SampledIntervals, points: Array) -> SampledIntervals:
    """Adjoint of a sampled forward propagation at its points (M + 1, *state)."""
    starts = np.ascontiguousarray(points[:-1])
    layers = _starts(model.fine, starts[model.chosen], model.span)
    states = layers.reshape(-1, *points.shape[1:])
    return SampledIntervals(
        Adjoint(model.fine, states),
        Adjoint(model.coarse, starts),
        model.n_steps - 1 - model.chosen[::-1],
    )


def _starts(propagator: Any, firsts: Array, k: int) -> Array:
    """Where each of the k steps of every block starts, (n_blocks, k, *state)."""
    behind = march(propagator, firsts, k)
    return np.concatenate([firsts[:, None], behind[:, :-1]], axis=1)


def _spread(n: int, k: int) -> Indices:
    """At most k of 0..n-1, evenly spread, with both ends."""
    return np.unique(np.rint(np.linspace(0, n - 1, min(k, n))).astype(np.intp))


def _choose(fine: Forward, coarse: Forward, chosen: Indices) -> SampledIntervals:
    m = fine.n_steps // coarse.n_steps
    rows = (chosen[:, None] * m + np.arange(m)).reshape(-1)
    return SampledIntervals(fine.with_steps(fine.steps.take(rows)), coarse, chosen)
