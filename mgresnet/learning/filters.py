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
    n, kind = math.prod(shape), np.dtype(dtype)
    if kind not in FLOATS:
        raise TypeError(f"dtype is {dtype!r}; needed np.float64 or np.float32")
    chosen: Any = Whole(n) if given is None else given
    needed = [name for name in members(Map) if name != "init"]
    provides("filter", chosen, needed, "Pool((16, 32, 32))")
    if chosen.n_inputs != n or chosen.n_params:
        raise ValueError(
            f"the filter takes {chosen.n_inputs} features and has {chosen.n_params} "
            f"parameter(s), needed one for states of shape {shape} without any; try "
            "Pool(state_shape), or None"
        )
    found = Filter(chosen, 1.0, shape, np.dtype(np.float64))
    z = np.random.default_rng(2).standard_normal((2, found.size))
    back = found.keep(found.seed(z, found.dtype))
    scale = float(np.vdot(back, z) / np.vdot(z, z))
    if not scale > 0.0 or np.abs(back - scale * z).max() > 1e-10 * scale:
        raise ValueError(
            f"{chosen!r} times its transpose is no multiple of the identity, needed "
            "rows that are orthogonal and of one length; try Pool(state_shape), which "
            "averages"
        )
    return Filter(chosen, scale, shape, kind)
