r"""What is kept and sent of a state at an interface: an image of it, and back.

.. math:: z = M u, \qquad u \approx \tfrac{1}{c} M^T z, \qquad M M^T = c I .

So :math:`M (M^T z / c) = z`: what was kept is kept again as it is.  Averages over
windows of k x k points have :math:`c = 1 / k^2`, and their transpose over c repeats
every average in its window.  Numbers are rounded to the type in which they are kept,
also where they are sent nowhere, so that nothing depends on who owns what.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import FLOATS, members, provides
from mgresnet.arrays.layout import Array, samples_last
from mgresnet.layers.protocol import Map


@dataclass(frozen=True)
class Whole:
    """The map that leaves all features as they are."""

    n_inputs: int
    n_params = 0

    @property
    def n_outputs(self) -> int:
        """As many features as before."""
        return self.n_inputs

    def apply(self, theta: Array, x: Array) -> Array:
        """The same."""
        return x

    def pull_back(self, theta: Array, x: Array, seed: Array) -> tuple[Array, Array]:
        """The same."""
        return theta, seed


class Filter(NamedTuple):
    """A linear map of the states of a stage, and the type in which numbers are kept."""

    map: Any  # Map without parameters
    scale: float  # c
    shape: tuple[int, ...]  # of a state
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Numbers that are kept of a state."""
        return int(self.map.n_outputs)

    def __str__(self) -> str:
        return f"{type(self.map).__name__} of {self.size} {self.dtype}"

    @property
    def bytes(self) -> int:
        """Bytes of these."""
        return self.size * self.dtype.itemsize

    def keep(self, states: Array) -> Array:
        """Kept numbers (batch, size) of states (*state_shape, batch)."""
        return self._down(states).astype(self.dtype)

    def expand(self, kept: Array, dtype: Any) -> Array:
        """States (*state_shape, batch) from kept numbers."""
        return self._up(kept.astype(dtype) / dtype.type(self.scale))

    def seed(self, kept: Array, dtype: Any) -> Array:
        """Transpose of `keep`: an adjoint of a state from that of kept numbers."""
        return self._up(kept.astype(dtype))

    def gradient(self, adjoints: Array) -> Array:
        """Transpose of `expand`: for kept numbers, from adjoints of states."""
        return self._down(adjoints) / adjoints.dtype.type(self.scale)

    def _down(self, states: Array) -> Array:
        rows = np.ascontiguousarray(np.moveaxis(states, -1, 0))
        nothing = np.zeros(0, states.dtype)
        kept: Array = self.map.apply(nothing, rows.reshape(len(rows), -1))
        return kept

    def _up(self, kept: Array) -> Array:
        nothing = np.zeros(0, kept.dtype)
        rows = np.zeros((len(kept), math.prod(self.shape)), kept.dtype)
        states = self.map.pull_back(nothing, rows, kept)[1]
        return samples_last(states.reshape(len(kept), *self.shape), len(self.shape))


def filter_of(given: Map | None, shape: tuple[int, ...], dtype: Any) -> Filter:
    """Filter for states of a shape; without a map they are kept as they are.

    Raises
    ------
    TypeError, ValueError
        If the map is none, takes other states, has parameters, or its rows are not
        orthogonal and of one length.
    """
    n, kind = math.prod(shape), _kept_in(dtype)
    chosen: Any = Whole(n) if given is None else given
    needed = [name for name in members(Map) if name != "init"]
    example = f"Pool({shape})" if len(shape) == 3 else "None, for whole states"
    provides("filter", chosen, needed, example)
    if chosen.n_inputs != n or chosen.n_params:
        raise ValueError(
            f"the filter takes {chosen.n_inputs} features and has {chosen.n_params} "
            f"parameter(s), needed one for states of shape {shape} without any; try "
            f"{example}"
        )
    return Filter(chosen, _scale(chosen, example), shape, kind)


def _kept_in(dtype: Any) -> np.dtype[Any]:
    """Type in which numbers are kept, or what is wrong with it."""
    try:
        kind: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind not in FLOATS:
        raise TypeError(f"dtype is {dtype!r}; needed np.float64 or np.float32")
    return kind


@np.errstate(invalid="ignore", over="ignore")  # NaN is no multiple
def _scale(chosen: Map, example: str) -> float:
    """The c of a map, or what is wrong with it, by two samples of random numbers."""
    rng, none = np.random.default_rng(2), np.zeros(0)
    u, z = (rng.standard_normal((2, m)) for m in (chosen.n_inputs, chosen.n_outputs))
    down, up = chosen.apply(none, u), chosen.pull_back(none, u, z)[1]
    for name, got, like in (("apply", down, z), ("pull_back", up, u)):
        if (np.shape(got), np.asarray(got).dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"{name} of {chosen!r} makes {np.asarray(got).dtype} {np.shape(got)} "
                f"of two samples in float64, needed float64 {like.shape}"
            )
    one, other = float(np.vdot(z, down)), float(np.vdot(up, u))
    if not abs(one - other) <= 1e-10 * np.linalg.norm(up) * np.linalg.norm(u):
        raise ValueError(
            f"pull_back of {chosen!r} is not the transpose of apply: <z, M u> is "
            f"{one:.6g}, <M^T z, u> {other:.6g}; the second array that it returns has "
            "to be M^T seed"
        )
    back = chosen.apply(none, up)
    scale = float(np.vdot(back, z) / np.vdot(z, z))
    if not scale > 0.0 or np.abs(back - scale * z).max() > 1e-10 * scale:
        raise ValueError(
            f"{chosen!r} times its transpose is no multiple of the identity, needed "
            f"rows that are orthogonal and of one length; try {example}"
        )
    return scale
