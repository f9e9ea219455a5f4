r"""Control over depth: how rows of parameters become the parameters of layers.

`Free` gives every layer a row of its own, `Shared` one row to all, and `BSpline` makes
them values of a spline with few coefficients,

.. math:: \theta_n = \sum_{k=1}^{K} B_k\bigl((n + \tfrac12)/N\bigr)\, c_k

with clamped uniform B-splines on [0, 1].  Weights that vary smoothly with depth are
what coarse levels can represent (SpliNet: S. Günther, W. Pazner, D. Qi, "Spline
parameterization of neural network controls for deep learning", arXiv:2103.00301).

Rows that all ranks need are held by all of them; every rank adds up what all layers
contribute to them, in the same order.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import floats, integer
from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.kernels import combine
from mgresnet.parallel.comm import TimeComm
from mgresnet.parallel.shares import from_shares, to_shares

Indices = NDArray[np.intp]


class Control(Protocol):
    """Rows of parameters, and the parameters of layers that they make."""

    @property
    def shared(self) -> bool:
        """Whether every rank holds all rows."""

    def n_rows(self, depth: int) -> int:
        """Number of rows of a whole network."""

    def owned(self, slab: range) -> slice:
        """Rows that the rank with these layers holds."""

    def values(self, rows: Array, depth: int, layers: range) -> Array:
        """Parameters of some layers, (len(layers), n_params), from the rows held."""

    def basis(self, depth: int) -> Array:
        """What the rows mean to every layer, (depth, n_rows)."""

    def reach(self, depth: int, block: int) -> int:
        """Largest number of rows that a block of so many layers sees."""

    def pull_back(
        self, d_theta: Array, depth: int, slab: range, block: int, comm: TimeComm
    ) -> Array:
        """Gradient for the rows held, from that for the layers of a slab.

        Parameters
        ----------
        d_theta : ndarray, shape (len(slab), n_params)
        depth : int
        slab : range
        block : int
            Slabs consist of so many layers, or a multiple; the last one may have a
            rest.
        comm : TimeComm
        """


@dataclass(frozen=True)
class Free:
    """Parameters of its own for every layer."""

    shared = False

    def n_rows(self, depth: int) -> int:
        """One for each layer."""
        return depth

    def owned(self, slab: range) -> slice:
        """Those of the rank's layers."""
        return slice(slab.start, slab.stop)

    def values(self, rows: Array, depth: int, layers: range) -> Array:
        """The rows themselves."""
        return rows

    def basis(self, depth: int) -> Array:
        """Every layer has its own row."""
        return np.eye(depth)

    def reach(self, depth: int, block: int) -> int:
        """As many as there are layers."""
        return min(depth, block)

    def pull_back(
        self, d_theta: Array, depth: int, slab: range, block: int, comm: TimeComm
    ) -> Array:
        """The same."""
        return d_theta


@dataclass(frozen=True)
class Shared:
    """The same parameters for all layers, as in a recurrent network."""

    shared = True

    def n_rows(self, depth: int) -> int:
        """One."""
        return 1

    def owned(self, slab: range) -> slice:
        """All."""
        return slice(None)

    def values(self, rows: Array, depth: int, layers: range) -> Array:
        """The only row: ``Steps.shared`` says that it is everybody's."""
        return rows

    def basis(self, depth: int) -> Array:
        """All layers have the same row, (depth, 1)."""
        return np.ones((depth, 1))

    def reach(self, depth: int, block: int) -> int:
        """The only one."""
        return 1

    def pull_back(
        self, d_theta: Array, depth: int, slab: range, block: int, comm: TimeComm
    ) -> Array:
        """Sum over all layers: block by block, then over the blocks of all ranks."""
        rows, n_all = combine.add_blocks(d_theta, block), -(-depth // block)
        return add_over_ranks(rows, np.ones((n_all, 1), d_theta.dtype), comm)


@dataclass(frozen=True)
class BSpline:
    """Spline over depth; its coefficients are the parameters of the network.

    Parameters
    ----------
    n_coefficients : int
        K, at least ``degree + 1``.
    degree : int
        Of the polynomial pieces: 0 is piecewise constant, 3 twice differentiable.
    """

    n_coefficients: int
    degree: int = 3

    shared = True

    def __post_init__(self) -> None:
        for name in ("degree", "n_coefficients"):
            integer(name, getattr(self, name), 0)
        if self.n_coefficients <= self.degree:
            raise ValueError(
                f"n_coefficients is {self.n_coefficients}, needed at least "
                f"{self.degree + 1} (degree + 1)"
            )

    def n_rows(self, depth: int) -> int:
        """One for each coefficient."""
        return self.n_coefficients

    def owned(self, slab: range) -> slice:
        """All coefficients."""
        return slice(None)

    def values(self, coefficients: Array, depth: int, layers: range) -> Array:
        """Parameters of some of the layers, (len(layers), n_params).

        Parameters
        ----------
        coefficients : ndarray, shape (n_coefficients, n_params)
        depth : int
            Number N of layers of the whole network.
        layers : range
        """
        shape = (self.n_coefficients, "n_params")
        coefficients = floats("coefficients", coefficients, shape)
        _check_layers(layers, integer("depth", depth, 1))
        some = self.basis(depth)[layers.start : layers.stop : layers.step]
        return combine.combine(some, coefficients)

    def pull_back(
        self, d_theta: Array, depth: int, slab: range, block: int, comm: TimeComm
    ) -> Array:
        """Gradient for the coefficients, the same on every rank."""
        return add_over_ranks(*self.condense(d_theta, depth, slab, block), comm)

    def basis(self, depth: int) -> Array:
        """B-splines at the middles of all layers, (depth, n_coefficients)."""
        return _basis(self.n_coefficients, self.degree, depth)

    def reach(self, depth: int, block: int) -> int:
        """Largest number of B-splines that a block of so many layers sees."""
        firsts, factors = _blocks(self.n_coefficients, self.degree, depth, block)
        return len(factors) // len(firsts)

    def condense(
        self, d_theta: Array, depth: int, layers: range, block: int
    ) -> tuple[Array, Array]:
        """Rows, fewer than layers, whose sum is the gradient for the coefficients.

        A block of layers sees few splines; its sums over them do not depend on how many
        blocks a rank has.

        Parameters
        ----------
        d_theta : ndarray, shape (len(layers), n_params)
            Gradient for some of the layers.
        depth : int
        layers : range
            They start with a block, and end with one or with the last layer.
        block : int
            Number of layers in a block.

        Returns
        -------
        rows : ndarray, shape (n_own, n_params)
            Of these blocks; of the layers, if blocks are too short to make them fewer.
        factors : ndarray, shape (n_all, n_coefficients)
            With those of all layers, ``factors.T @ rows`` is the gradient.
        """
        _check_layers(layers, integer("depth", depth, 1))
        d_theta = floats("d_theta", d_theta, (len(layers), "n_params"))
        if layers.step != 1 or layers.start % integer("block", block, 1):
            raise ValueError(f"layers is {layers}, needed one that starts a block")
        basis, reach = self.basis(depth), self.reach(depth, block)
        if block <= reach:
            return d_theta, basis
        firsts, factors = _blocks(self.n_coefficients, self.degree, depth, block)
        some = firsts[layers.start // block : -(-layers.stop // block)]
        own = basis[layers.start : layers.stop]
        rows = combine.combine_blocks(own, some, reach, block, d_theta)
        return rows, factors


def add_over_ranks(rows: Array, factors: Array, comm: TimeComm) -> Array:
    """``factors.T @ rows`` for the rows of all ranks, the same on every rank.

    Every rank adds all rows, (n_local, n), in their order, for its share of columns; so
    nothing depends on who has which rows.  Columns come back the way they went,
    whichever way time runs: as if every rank had K steps, all with the same points.
    """
    columns = to_shares(rows, comm)
    if len(columns) != len(factors):  # before a kernel reads it
        raise ValueError(
            f"ranks have gradients of {len(columns)} blocks of layers, the network has "
            f"{len(factors)}; give the comm of the solves"
        )
    share = combine.combine_transposed(factors, columns)
    if comm.size == 1:
        return share
    points = np.concatenate([share] * comm.size + [share[:1]])
    whole = empty((len(share) + 1, rows.shape[1]), rows.dtype)
    from_shares(points, whole, comm)
    return whole[:-1]


def _check_layers(layers: range, depth: int) -> None:
    """Refuse what are no layers of a network."""
    known = isinstance(layers, range) and layers.step > 0 and layers.start >= 0
    if not known or layers.stop > depth:
        raise ValueError(f"layers is {layers!r}, needed a part of range(0, {depth})")


@lru_cache(maxsize=16)
def _basis(n_coefficients: int, degree: int, depth: int) -> Array:
    """B-splines at the middles of all layers, (depth, n_coefficients)."""
    from scipy.interpolate import BSpline as ScipySpline  # slow to import

    inner = np.linspace(0.0, 1.0, n_coefficients - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)])
    middles = (np.arange(depth) + 0.5) / depth
    basis: Array = ScipySpline.design_matrix(middles, knots, degree).toarray()
    return basis


@lru_cache(maxsize=16)
def _blocks(
    n_coefficients: int, degree: int, depth: int, block: int
) -> tuple[Indices, Array]:
    """First spline of every block of layers, and which ones it sees, one by one.

    Every block has as many rows of zeros and a one as the one that sees most needs.
    """
    seen = _basis(n_coefficients, degree, depth) != 0.0
    seen = np.logical_or.reduceat(seen, np.arange(0, depth, block))
    firsts = seen.argmax(axis=1)
    reach = int((n_coefficients - seen[:, ::-1].argmax(axis=1) - firsts).max())
    firsts = np.minimum(firsts, n_coefficients - reach)
    places = firsts[:, None] + np.arange(reach)
    return firsts, np.eye(n_coefficients)[places.ravel()]
