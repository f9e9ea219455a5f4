r"""The dense residual layer: forward, adjoint and gradient marches over many layers.

Layer n of a network with step h maps

.. math:: u_{n+1} = u_n + h\,\sigma(W_n u_n + b_n).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mgresnet.arrays.checks import integer
from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.kernels import dense, dense_back
from mgresnet.kernels.threads import over_samples
from mgresnet.layers.linear import Linear
from mgresnet.layers.scheme import Scheme
from mgresnet.layers.stepwise import nothing

Coefficients = tuple[Array, ...]


@dataclass(frozen=True)
class Dense:
    """Fully connected residual function ``f(u) = sigma(W u + b)``.

    Parameters
    ----------
    width : int
        Number of features of a state.
    activation : {"tanh", "relu", "smooth_relu", "sigmoid", "identity"}
        ``smooth_relu`` is ``x**2 / (4 e) + x / 2 + e / 4`` for ``|x| < e = 0.1`` and
        ``max(x, 0)`` elsewhere; ``relu`` has derivative 1 at 0 [1]_.
    bias : {"vector", "scalar", "none"}
        One bias per feature, one per layer, or no bias.

    Notes
    -----
    The marching methods take states samples-last, ``(..., width, batch)``.

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

    def __post_init__(self) -> None:
        integer("width", self.width, 1)
        _ = self.map  # checks the names

    @cached_property
    def map(self) -> Linear:
        """The affine map and activation inside the layer."""
        return Linear(self.width, self.width, self.activation, self.bias)

    @property
    def feature_shape(self) -> tuple[int, ...]:
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

    def prepare(self, theta: Array) -> Coefficients:
        """Weights and one bias per feature, (n_layers, 1, width * (width + 1))."""
        if self.bias != "vector":
            weight, bias = self.map.prepare(theta)
            theta = np.hstack([weight.reshape(len(theta), self.width**2), bias])
        return (np.ascontiguousarray(theta)[:, None],)

    def march(
        self,
        starts: Array,
        u: Array,
        forcing: Array,
        slopes: Array,
        coefficients: Coefficients,
        h: float,
        scheme: Scheme,
    ) -> None:
        """Fill every block of u with what follows its start (see `dense.march`)."""

        def run(start: int, stop: int) -> None:
            arguments = (*coefficients, h, *scheme, self.map.kind, start, stop)
            dense.march(starts, u, forcing, slopes, *arguments)

        over_samples(run, u.shape[-1])

    def march_adjoint(
        self,
        starts: Array,
        w: Array,
        forcing: Array,
        slopes: Array,
        coefficients: Coefficients,
        h: float,
        scheme: Scheme,
    ) -> None:
        """Fill every block of w, backwards (see `dense.march_adjoint`)."""

        def run(start: int, stop: int) -> None:
            arguments = (*coefficients, h, *scheme, start, stop)
            dense.march_adjoint(starts, w, forcing, slopes, *arguments)

        over_samples(run, w.shape[-1])

    def pull_back(
        self, starts: Array, w: Array, u: Array, coefficients: Coefficients, h: float
    ) -> None:
        """Fill every block of w, backwards, with states computed again from u.

        Parameters
        ----------
        starts : ndarray, shape (n_blocks, width, batch)
            Adjoints behind the last layer of every block.
        w : ndarray, shape (n_blocks, k, width, batch)
            In pseudo-time.
        u : ndarray, shape (n_starts, width, batch)
            States at the start of every ``n_layers / n_starts`` layers, in layer order.
        """
        none = nothing(u.shape[1:], u.dtype)
        self._pull_back(starts, w, u, none, coefficients, h, 0, none[:, 0])

    def gradient(
        self,
        starts: Array,
        w: Array,
        u: Array,
        slopes: Array,
        coefficients: Coefficients,
        h: float,
        ends: Array | None = None,
    ) -> Array:
        """Do the same, and return the gradient for every layer.

        Parameters
        ----------
        starts, w, u
            As in `pull_back`; w may have no column to fill.
        slopes : ndarray, shape (n_layers, 1, width, batch), or empty
            From `march`, if u has the states of all layers.
        ends : ndarray, shape (n_starts, width, batch), optional
            Without slopes: filled with the state behind the layers of every start.

        Returns
        -------
        ndarray, shape (n_layers, n_params)
        """
        n = len(coefficients[0])
        if ends is None:
            ends = nothing(u.shape[1:], u.dtype)[:, 0]
        d_theta = self._pull_back(starts, w, u, slopes, coefficients, h, n, ends)
        if self.bias == "vector":
            return d_theta
        d_weight, d_bias = np.split(d_theta, [self.width**2], axis=1)
        d_weight = d_weight.reshape(-1, self.width, self.width)
        return self.map.pack_gradient(d_weight, d_bias)

    def _pull_back(
        self,
        starts: Array,
        w: Array,
        u: Array,
        slopes: Array,
        coefficients: Coefficients,
        h: float,
        n_gradients: int,
        ends: Array,
    ) -> Array:
        """Gradients for weights and biases of all layers, or of none."""

        def run(start: int, stop: int) -> Array:
            d_theta = empty((n_gradients, self.width * (self.width + 1)), u.dtype)
            arguments = (*coefficients, h, self.map.kind, d_theta, ends, start, stop)
            dense_back.pull_back(starts, w, u, slopes, *arguments)
            return d_theta

        d_theta, *others = over_samples(run, u.shape[-1])
        for more in others:
            d_theta += more
        return d_theta
