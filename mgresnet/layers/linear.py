"""The map ``x -> sigma(W x + b)``: opening and head of a network, core of a layer."""

from dataclasses import dataclass

import numpy as np

from mgresnet.arrays.checks import ANY, choose, floats, integer
from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.kernels import affine
from mgresnet.kernels.activations import ACTIVATIONS
from mgresnet.kernels.threads import over_samples
from mgresnet.kernels.turned import turned
from mgresnet.kernels.vectors import row_length

AT_ONCE = 2**20  # bytes of inputs that are turned, and then read
BIASES = ("vector", "scalar", "none")


@dataclass(frozen=True)
class Linear:
    """Affine map followed by an activation; holds no weights.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Number of features before and after.
    activation : {"identity", "tanh", "relu", "smooth_relu", "sigmoid", "gelu"}
    bias : {"vector", "scalar", "none"}
        One bias per output, one for all outputs, or no bias.

    Notes
    -----
    Parameters are stored flat: W row by row, then the bias.

    Examples
    --------
    >>> Linear(2, 8, activation="tanh", bias="scalar").n_params
    17
    """

    n_inputs: int
    n_outputs: int
    activation: str = "identity"
    bias: str = "vector"

    def __post_init__(self) -> None:
        integer("n_inputs", self.n_inputs, 1)
        integer("n_outputs", self.n_outputs, 1)
        choose("activation", self.activation, ACTIVATIONS)
        choose("bias", self.bias, BIASES)

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        n_bias = {"vector": self.n_outputs, "scalar": 1, "none": 0}[self.bias]
        return self.n_outputs * self.n_inputs + n_bias

    def init(self, rng: np.random.Generator, n_maps: int = 1) -> Array:
        """Draw normal weights of variance 1 / n_inputs; biases are zero.

        Returns
        -------
        ndarray, shape (n_maps, n_params)
        """
        theta = np.zeros((n_maps, self.n_params))
        n_weights = self.n_outputs * self.n_inputs
        weights = rng.standard_normal((n_maps, n_weights))
        theta[:, :n_weights] = weights / np.sqrt(self.n_inputs)
        return theta

    def pack(self, weight: Array, bias: Array | None = None) -> Array:
        """Flat parameters of one map or of a stack of maps.

        Parameters
        ----------
        weight : ndarray, shape (..., n_outputs, n_inputs)
        bias : ndarray, shape (..., n_outputs) or (...,), or None
            As ``bias`` of the record says: vector, scalar, none.

        Returns
        -------
        ndarray, shape (..., n_params)
        """
        shape = (self.n_outputs, self.n_inputs)
        weight = floats("weight", weight, ("...", *shape))
        stack = weight.shape[:-2]
        needed = {"vector": (*stack, self.n_outputs), "scalar": stack, "none": None}
        if bias is not None:
            bias = floats("bias", bias, ANY, weight.dtype, "weight has")
        got = None if bias is None else bias.shape
        if got != needed[self.bias]:
            raise ValueError(
                f"bias has shape {got}, needed {needed[self.bias]} "
                f"because the layer has bias={self.bias!r}"
            )
        return self._joined(weight, bias)

    def _joined(self, weight: Array, bias: Array | None) -> Array:
        stack, n_weights = weight.shape[:-2], self.n_outputs * self.n_inputs
        parts = [weight.reshape(*stack, n_weights)]
        if bias is not None:
            parts.append(bias.reshape(*stack, self.n_params - n_weights))
        return np.concatenate(parts, axis=-1)

    def unpack(self, theta: Array) -> tuple[Array, Array | None]:
        """Inverse of `pack`: views of the weight and the bias.

        Parameters
        ----------
        theta : ndarray, shape (..., n_params)
        """
        return self._split(floats("theta", theta, ("...", self.n_params)))

    def _split(self, theta: Array) -> tuple[Array, Array | None]:
        n_weights = self.n_outputs * self.n_inputs
        shape = (*theta.shape[:-1], self.n_outputs, self.n_inputs)
        bias = theta[..., n_weights:]
        if self.bias == "scalar":
            bias = bias[..., 0]
        weight = theta[..., :n_weights].reshape(shape)
        return weight, None if self.bias == "none" else bias

    def prepare(self, theta: Array) -> tuple[Array, Array]:
        """Contiguous weight and one bias per output, as the kernels want them."""
        weight, bias = self._split(theta)
        full = np.zeros((*theta.shape[:-1], self.n_outputs), theta.dtype)
        if bias is not None:
            full += bias[..., None] if self.bias == "scalar" else bias
        return np.ascontiguousarray(weight), full

    def pack_gradient(self, d_weight: Array, d_bias: Array) -> Array:
        """Flat gradient from those for the weight and for one bias per output."""
        per_kind = {"vector": d_bias, "scalar": d_bias.sum(axis=-1), "none": None}
        return self._joined(d_weight, per_kind[self.bias])

    def apply(self, theta: Array, x: Array) -> Array:
        """Outputs ``(batch, n_outputs)`` for inputs ``(batch, n_inputs)``."""
        theta, x = self._checked(theta, x)
        weight, bias = self.prepare(theta)
        out = empty((self.n_outputs, len(x)), x.dtype)
        at_once, row = len(x), row_length(x.dtype)
        if x.flags.c_contiguous:
            at_once = max(AT_ONCE // (x.itemsize * self.n_inputs * row), 1) * row

        def run(start: int, stop: int) -> None:
            for s in range(start, stop, at_once):  # turned where they are in a cache
                some = turned(x[s : min(s + at_once, stop)])
                affine.affine(weight, bias, some, self.kind, out, s)

        over_samples(run, len(x))
        return out.T

    def pull_back(self, theta: Array, x: Array, seed: Array) -> tuple[Array, Array]:
        """Gradients with respect to the parameters and the inputs.

        Parameters
        ----------
        theta : ndarray, shape (n_params,)
        x : ndarray, shape (batch, n_inputs)
        seed : ndarray, shape (batch, n_outputs)
            Gradient with respect to the outputs.

        Returns
        -------
        d_theta : ndarray, shape (n_params,)
        d_x : ndarray, shape (batch, n_inputs)
        """
        theta, x = self._checked(theta, x)
        d_x = empty(x.shape[::-1], x.dtype)
        return self._pull_back(theta, x, seed, d_x), d_x.T

    def gradient(self, theta: Array, x: Array, seed: Array) -> Array:
        """Gradient with respect to the parameters alone; see `pull_back`."""
        theta, x = self._checked(theta, x)
        return self._pull_back(theta, x, seed, np.empty((0, 0), x.dtype))

    def _pull_back(self, theta: Array, x: Array, seed: Array, d_x: Array) -> Array:
        """Gradient for the parameters; that for the inputs is filled in."""
        seed = floats("seed", seed, (len(x), self.n_outputs), x.dtype, "x has")
        weight, bias = self.prepare(theta)
        d_weight, d_bias = map(np.zeros_like, (weight, bias))
        size = affine.workspace(self.n_inputs, self.n_outputs, len(x), x.dtype)
        to = d_x, d_weight, d_bias, empty((size,), x.dtype)
        affine.affine_adjoint(weight, bias, turned(x), self.kind, turned(seed), *to)
        return self.pack_gradient(d_weight, d_bias)

    def _checked(self, theta: Array, x: Array) -> tuple[Array, Array]:
        theta = floats("theta", theta, (self.n_params,))
        return theta, floats("x", x, ("batch", self.n_inputs), theta.dtype, "theta has")

    @property
    def kind(self) -> int:
        """Index of the activation in the kernels' table."""
        return ACTIVATIONS.index(self.activation)
