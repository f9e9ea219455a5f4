r"""The dense residual layer: forward, adjoint and gradient marches over many layers.

Layer n of a network with step h maps

.. math:: u_{n+1} = u_n + h\,\sigma(W_n u_n + b_n).
"""

from dataclasses import dataclass

import numpy as np

from mgresnet.layers import kernels
from mgresnet.layers.layout import Array
from mgresnet.layers.linear import Linear, check_size
from mgresnet.layers.scheme import Scheme

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
        check_size("width", self.width)
        _ = self.map  # checks the names

    @property
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
        """Contiguous coefficient arrays for the marches, (n_layers, 1 stage, ...)."""
        weight, bias = self.map.prepare(theta)
        return weight[:, None], bias[:, None]

    def march(
        self,
        u: Array,
        forcing: Array,
        coefficients: Coefficients,
        h: float,
        scheme: Scheme,
    ) -> None:
        """Fill columns 1..k of every block of u (see `kernels.march`)."""
        kernels.march(u, forcing, *coefficients, h, *scheme, self.map.kind)

    def linearise(
        self, u: Array, coefficients: Coefficients, h: float, scheme: Scheme
    ) -> Array:
        """Slopes of the activation at every stage of every step that starts from u.

        Returns
        -------
        ndarray, shape (n_steps, n_stages, width, batch)
        """
        slopes = np.empty((len(u), len(scheme.b), *u.shape[1:]), u.dtype)
        kernels.linearise(u, *coefficients, h, scheme.a, self.map.kind, slopes)
        return slopes

    def march_adjoint(
        self,
        w: Array,
        forcing: Array,
        coefficients: Coefficients,
        slopes: Array,
        h: float,
        scheme: Scheme,
    ) -> None:
        """Fill columns 1..k of every block of w (see `kernels.march_adjoint`)."""
        kernels.march_adjoint(w, forcing, coefficients[0], slopes, h, *scheme)

    def gradient(self, u: Array, w: Array, theta: Array, h: float) -> Array:
        """Gradient for every layer, from the states and adjoints at its two ends.

        Parameters
        ----------
        u, w : ndarray, shape (n_layers + 1, width, batch)
        theta : ndarray, shape (n_layers, n_params)

        Returns
        -------
        ndarray, shape (n_layers, n_params)
        """
        weight, bias = self.map.prepare(theta)
        d_weight, d_bias = np.empty_like(weight), np.empty_like(bias)
        kernels.gradient(u, w, weight, bias, h, self.map.kind, d_weight, d_bias)
        return self.map.pack_gradient(d_weight, d_bias)
