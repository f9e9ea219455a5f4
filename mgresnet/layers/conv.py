r"""The convolutional residual layer for images: marches over many layers.

Layer n of a network with step h is :math:`u_{n+1} = u_n + h f(u_n; \theta_n)` with one
of four functions; K * u is the correlation that torch.nn.functional.conv2d computes,
with zeros around the image, and :math:`K^T *` its transpose.

.. math::

    \text{single:}\ \sigma(K * u + b), \qquad
    \text{double:}\ K_2 * \sigma(K_1 * u + b_1) + b_2, \\
    \text{pre:}\ K_2 * \sigma(K_1 * \sigma(u) + b_1) + b_2, \qquad
    \text{symmetric:}\ -K^T * \sigma(K * u + b).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mgresnet.arrays.checks import choose, image_shape
from mgresnet.arrays.layout import Array, absent
from mgresnet.kernels.activations import ACTIVATIONS
from mgresnet.kernels.threads import over_samples, over_tiles
from mgresnet.layers import parts
from mgresnet.layers.coarse import COARSE_OPERATORS, CoarseOperator, coarse_operator
from mgresnet.layers.image_rates import Function
from mgresnet.layers.scheme import Scheme, euler
from mgresnet.layers.steps import Steps, at_stages
from mgresnet.layers.tiles import TILE, march, pull_back

KINDS = ("single", "double", "pre", "symmetric")
NORMS = (None, "group", "layer")
GROUP = 4  # channels that are normalised together, at most


@dataclass(frozen=True)
class Conv2d:
    """Convolutional residual function of images.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of a state.
    kernel : {3, 1}
        Points across a kernel; there are zeros around the image.
    activation : {"tanh", "relu", "smooth_relu", "gelu", "sigmoid", "identity"}
        As for `Dense`; gelu is that of torch with ``approximate="tanh"``.
    kind : {"single", "double", "pre", "symmetric"}
        Which function; "pre" is that of wide residual networks.
    norm : {None, "group", "layer"}
        What every activation is given: the numbers as they are, or with mean 0 and
        variance 1 in every sample over all points of 4 channels (of as many as divide
        both 4 and the channels) or of all channels, then scaled and shifted channel by
        channel.

    Notes
    -----
    The marching methods are those of `mgresnet.layers.protocol.Layer`.  There is no
    normalisation over a batch: samples are independent of each other, as ranks, threads
    and coarse levels divide them.

    Examples
    --------
    >>> Conv2d((8, 32, 32), kind="double").n_params
    1168
    """

    shape: tuple[int, int, int]
    kernel: int = 3
    activation: str = "tanh"
    kind: str = "single"
    norm: str | None = None

    input_shape = None
    sample_block = 1
    scheme = euler()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", image_shape("shape", self.shape))
        for name, value, choices in (
            ("kernel", self.kernel, (1, 3)),
            ("activation", self.activation, ACTIVATIONS),
            ("kind", self.kind, KINDS),
            ("norm", self.norm, NORMS),
        ):
            choose(name, value, choices)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one sample's state."""
        return self.shape

    @property
    def parts(self) -> parts.Parts:
        """What the parameters of one layer are, in order, and their shapes."""
        channels, pairs = self.shape[0], 1 + self._function.second
        norms = 0 if self.norm is None else 1 + (self.kind == "pre")
        kernel = channels, channels, self.kernel, self.kernel
        convolution = [("weight", kernel), ("bias", (channels,))]
        return [
            *convolution * pairs,
            *[("scale", (channels,)), ("shift", (channels,))] * norms,
        ]

    @property
    def n_params(self) -> int:
        """Number of parameters of one layer."""
        return parts.size_of(self.parts)

    def init(self, rng: np.random.Generator, n_layers: int) -> Array:
        """Draw independent weights of variance 1 / (channels kernel^2).

        Biases and shifts are zero, scales are one.

        Returns
        -------
        ndarray, shape (n_layers, n_params)
        """
        theta = np.zeros((n_layers, self.n_params))
        for (name, shape), part in zip(self.parts, self.unpack(theta), strict=True):
            if name == "weight":
                part[...] = rng.standard_normal(part.shape)
                part /= math.sqrt(math.prod(shape[1:]))
            elif name == "scale":
                part[...] = 1.0
        return theta

    def pack(self, *arrays: Array) -> Array:
        """Parameters of all layers as the rows of one array.

        Parameters
        ----------
        *arrays : ndarray, shape (n_layers, ...)
            As ``parts`` says: weight (n_layers, channels, channels, kernel, kernel) and
            bias (n_layers, channels), those of a second convolution, and scale and
            shift (n_layers, channels) of every activation.

        Returns
        -------
        ndarray, shape (n_layers, n_params)
        """
        return parts.pack(self.parts, arrays)

    def unpack(self, theta: Array) -> tuple[Array, ...]:
        """Inverse of `pack`: views, shape (n_layers, ...) each.

        Parameters
        ----------
        theta : ndarray, shape (n_layers, n_params)
        """
        return parts.unpack(self.parts, parts.rows(self.parts, theta))

    def coarse(self, name: str) -> CoarseOperator:
        """Coarse operator of this name."""
        return coarse_operator(name, COARSE_OPERATORS)

    def tape_shape(self, scheme: Scheme) -> tuple[int, ...]:
        """Nothing: to compute it again costs less than to keep it in memory."""
        return (0,)

    def prepare(self, steps: Steps) -> Steps:
        """Parameters of every stage, n rows."""
        theta = at_stages(steps.theta, steps.scheme)
        if steps.shared:
            theta = np.repeat(theta, steps.n, axis=0)
        return steps._replace(theta=np.ascontiguousarray(theta), shared=False)

    def march(
        self, steps: Steps, starts: Array, u: Array, forcing: Array, tape: Array
    ) -> None:
        """Fill every block of u with what follows its start (see `Layer.march`)."""
        if not u.size:
            return

        def run(start: int, stop: int) -> None:
            some = range(start, stop)
            march(self._function, steps, starts, u, forcing, some)

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
        wanted = absent(starts.dtype), d_theta, d_inputs
        self.retrace(steps, starts, w, forcing, states, *wanted)

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
        known = self._function, steps, starts, w, forcing, points, ends

        def run(start: int, stop: int) -> Array:
            total: Array = np.zeros_like(d_theta)
            for s in range(start, stop, TILE):
                d = np.zeros_like(d_theta)
                pull_back(*known, d, range(s, min(s + TILE, stop)))
                total += d
            return total

        if d_theta.size:
            d_theta[:] = sum(over_tiles(run, starts.shape[-1], TILE))
        else:
            over_samples(run, starts.shape[-1])

    @cached_property
    def _function(self) -> Function:
        channels = self.shape[0]
        groups = {None: 0, "group": math.gcd(channels, GROUP), "layer": channels}
        return Function(
            *self.shape,
            self.kernel,
            self.kind == "pre",
            self.kind in ("double", "pre"),
            self.kind == "symmetric",
            groups[self.norm],
            ACTIVATIONS.index(self.activation),
        )
