r"""The dense residual layer: forward, adjoint and gradient marches over many layers.

Layer n of a network with step h maps

.. math:: u_{n+1} = u_n + h\,\sigma(W_n u_n + b_n).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mgresnet.arrays.checks import integer
from mgresnet.arrays.layout import Array, absent, whole_rows
from mgresnet.arrays.memory import empty, rows
from mgresnet.kernels import dense, dense_back
from mgresnet.kernels.panels import TILE
from mgresnet.kernels.threads import over_samples, over_tiles
from mgresnet.layers.coarse import COARSE_OPERATORS, CoarseOperator, coarse_operator
from mgresnet.layers.linear import Linear
from mgresnet.layers.scheme import Scheme, euler
from mgresnet.layers.steps import Steps, at_stages


@dataclass(frozen=True)
class Dense:
    """Fully connected residual function ``f(u) = sigma(W u + b)``.

    Parameters
    ----------
    width : int
        Number of features of a state.
    activation : {"tanh", "relu", "smooth_relu", "sigmoid", "identity", "gelu"}
        ``smooth_relu`` is ``x**2 / (4 e) + x / 2 + e / 4`` for ``|x| < e = 0.1`` and
        ``max(x, 0)`` elsewhere; ``relu`` has derivative 1 at 0 [1]_.  ``gelu`` is the
        formula with a tanh, ``approximate="tanh"`` of PyTorch.
    bias : {"vector", "scalar", "none"}
        One bias per feature, one per layer, or no bias.

    Notes
    -----
    The marching methods are those of `mgresnet.layers.protocol.Layer`.

    References
    ----------
    .. [1] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural
       Networks", SIAM J. Math. Data Sci. 2(1), 2020.

    Examples
    --------
    >>> Dense(width=3).n_params
    12
    """

    width: int
    activation: str = "tanh"
    bias: str = "vector"

    input_shape = None
    sample_block = 1
    scheme = euler()

    def __post_init__(self) -> None:
        integer("width", self.width, 1)
        _ = self.map  # checks the names

    @cached_property
    def map(self) -> Linear:
        """The affine map and activation inside the layer."""
        return Linear(self.width, self.width, self.activation, self.bias)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one sample's state."""
        return (self.width,)

    @property
    def n_params(self) -> int:
        """Number of parameters of one layer: the weight, row by row, then the bias."""
        return self.map.n_params

    def init(self, rng: np.random.Generator, n_layers: int) -> Array:
        """Draw independent weights of variance 1 / width and zero biases.

        Returns
        -------
        ndarray, shape (n_layers, n_params)
        """
        return self.map.init(rng, n_layers)

    def pack(self, weight: Array, bias: Array | None = None) -> Array:
        """Parameters of all layers as the rows of one array.

        Parameters
        ----------
        weight : ndarray, shape (n_layers, width, width)
            ``f(u)_i = sigma(sum_j weight[n, i, j] u_j + b_i)``.
        bias : ndarray, shape (n_layers, width) or (n_layers,), or None
            As the layer's ``bias`` says: vector, scalar, none.

        Returns
        -------
        ndarray, shape (n_layers, n_params)
        """
        return self.map.pack(weight, bias)

    def unpack(self, theta: Array) -> tuple[Array, Array | None]:
        """Inverse of `pack`: views of the weights and biases.

        Parameters
        ----------
        theta : ndarray, shape (n_layers, n_params)
        """
        return self.map.unpack(theta)

    def coarse(self, name: str) -> CoarseOperator:
        """Coarse operator of this name."""
        return coarse_operator(name, COARSE_OPERATORS)

    def tape_shape(self, scheme: Scheme) -> tuple[int, ...]:
        """Slopes of the activation at every stage."""
        return (len(scheme.b), self.width)

    def prepare(self, steps: Steps) -> Steps:
        """Weights and one bias per feature of every stage, n rows."""
        theta = at_stages(steps.theta, steps.scheme)
        if self.bias != "vector":
            weight, bias = self.map.prepare(theta)
            flat = weight.reshape(*theta.shape[:2], self.width**2)
            theta = np.concatenate([flat, bias], axis=-1)
        if steps.shared:
            theta = np.repeat(theta, steps.n, axis=0)
        return steps._replace(theta=np.ascontiguousarray(theta), shared=False)

    def march(
        self, steps: Steps, starts: Array, u: Array, forcing: Array, tape: Array
    ) -> None:
        """Fill every block of u with what follows its start (see `Layer.march`)."""
        how = steps.theta, steps.length, *steps.scheme, self.map.kind
        arrays = _rows(starts, _columns(u, starts), forcing, tape)
        size = self.width, len(steps.scheme.b)

        def run(start: int, stop: int) -> None:
            room = dense.workspace(*size, stop - start, u.dtype)
            dense.march(*arrays, *how, start, stop, empty((room,), u.dtype))

        over_samples(run, starts.shape[-1])

    def march_back(
        self,
        steps: Steps,
        starts: Array,
        w: Array,
        forcing: Array,
        states: Array,
        tape: Array,
        d_theta: Array,
        d_inputs: Array,
    ) -> None:
        """Fill every block of w, backwards (see `Layer.march_back`)."""
        none = absent(w.dtype)
        if len(steps.scheme.b) > 1 and not tape.size:
            shape = (steps.n, *self.tape_shape(steps.scheme), w.shape[-1])
            tape = rows(shape, w.dtype)
            self.march(steps, states, none, none, tape)
        if d_theta.size or not tape.size:
            self._pull_back(steps, starts, w, forcing, states, tape, none, d_theta)
            return
        how = steps.theta, steps.length, *steps.scheme
        arrays = _rows(starts, w, forcing, tape)
        size = self.width, len(steps.scheme.b)

        def run(start: int, stop: int) -> None:
            room = dense.workspace(*size, stop - start, w.dtype)
            dense.march_adjoint(*arrays, *how, start, stop, empty((room,), w.dtype))

        over_samples(run, starts.shape[-1])

    def retrace(
        self,
        steps: Steps,
        starts: Array,
        w: Array,
        forcing: Array,
        points: Array,
        ends: Array,
        d_theta: Array,
        d_inputs: Array,
    ) -> None:
        """Do the same with states computed again (see `Layer.retrace`)."""
        none = absent(w.dtype)
        self._pull_back(steps, starts, w, forcing, points, none, ends, d_theta)

    def _pull_back(
        self,
        steps: Steps,
        starts: Array,
        w: Array,
        forcing: Array,
        u: Array,
        tape: Array,
        ends: Array,
        d_theta: Array,
    ) -> None:
        """March back from states u, with gradients for weights and biases."""
        n, size, batch = steps.n, self.width * (self.width + 1), starts.shape[-1]
        known = _rows(starts, _columns(w, starts), forcing, tape)
        arrays = *known[:3], whole_rows(u), known[3]
        how = steps.theta, steps.length, self.map.kind
        behind = ends if ends.size else np.empty((0, *starts.shape[1:]), starts.dtype)
        behind = whole_rows(behind)
        whole = d_theta.shape == (n, size) and self.bias == "vector"

        def run(start: int, stop: int) -> Array:
            first = whole and start == 0
            d = d_theta if first else empty((n if d_theta.size else 0, size), u.dtype)
            room = dense_back.workspace(self.width, n // len(u), stop - start, u.dtype)
            outputs = d, behind, start, stop, empty((room,), u.dtype)
            dense_back.pull_back(*arrays, *how, *outputs)
            return d

        if not d_theta.size:
            over_samples(run, batch)
            return
        tiles = over_tiles(run, batch, TILE)
        d = next(tiles)
        for more in tiles:
            d += more
        if not whole:
            groups = d.reshape(len(d_theta), n // len(d_theta), size)
            d_theta[:] = self._packed(groups.sum(axis=1))

    def _packed(self, d: Array) -> Array:
        """Gradients for the parameters from those for weights and one bias each."""
        if self.bias == "vector":
            return d
        d_weight, d_bias = np.split(d, [self.width**2], axis=1)
        d_weight = d_weight.reshape(-1, self.width, self.width)
        return self.map.pack_gradient(d_weight, d_bias)


def _columns(u: Array, starts: Array) -> Array:
    """Blocks to be filled; none have no column."""
    if u.size:
        return u
    return np.empty((len(starts), 0, *starts.shape[1:]), starts.dtype)


def _rows(starts: Array, u: Array, forcing: Array, tape: Array) -> tuple[Array, ...]:
    """Whole rows; what is absent has the rank that kernels expect."""
    none = np.empty((0, 0, *starts.shape[1:]), starts.dtype)
    given = starts, u, forcing if forcing.size else none, tape if tape.size else none
    return tuple(map(whole_rows, given))
