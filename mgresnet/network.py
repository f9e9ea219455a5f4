r"""A residual network: opening, one layer repeated over depth, head; its parameters.

.. math:: u_0 = \mathrm{opening}(x), \quad u_{n+1} = u_n + h f(u_n; \theta_n),
          \quad y = \mathrm{head}(u_N), \quad h = T / N.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import integer
from mgresnet.arrays.layout import Array
from mgresnet.control import BSpline, Control, Free
from mgresnet.layers.protocol import Layer, Map

FREE = Free()


class Params(NamedTuple):
    """Parameters of a network, or anything of their shape: gradients, updates.

    A part that the network lacks, or that another rank owns, is None.

    Parameters
    ----------
    opening : ndarray, shape (n_params,), or None
    body : ndarray, shape (n_layers, n_params)
        One row per layer: all of them, or those of one rank.  With a spline control,
        one row per coefficient, on every rank.
    head : ndarray, shape (n_params,), or None
    """

    opening: Array | None
    body: Array
    head: Array | None


@dataclass(frozen=True)
class Network:
    """A residual network, forward Euler on ``[0, final_time]``; holds no weights.

    Parameters
    ----------
    layer : Dense, Explicit or Stepwise
        The residual function or step, repeated in every layer.
    depth : int
        Number of residual layers N.
    final_time : float
        T; the step is h = T / N.
    opening, head : Linear or Widen, optional
        Map the features to the width of the layers, and the last state to the outputs.
        Without an opening the inputs are the first state, without a head the last state
        is the output.

    control : Free, Shared or BSpline, optional
        How the parameters of the layers are made: every layer has its own (the
        default), all have the same, or they are values of a spline over depth.

    Examples
    --------
    >>> net = Network(Dense(4), depth=10, final_time=2.0)
    >>> net.step
    0.2
    """

    layer: Layer
    depth: int
    final_time: float = 1.0
    opening: Map | None = None
    head: Map | None = None
    control: Control = FREE

    def __post_init__(self) -> None:
        if not hasattr(self.control, "n_rows"):  # None, as it was once written
            object.__setattr__(self, "control", FREE)
        integer("depth", self.depth, 1)
        if not (math.isfinite(self.final_time) and self.final_time > 0.0):
            raise ValueError(
                f"final_time must be a positive number, got {self.final_time}"
            )
        self._check_maps()

    def _check_maps(self) -> None:
        """Refuse maps that do not fit the layers."""
        shape = self.layer.state_shape
        if self.layer.input_shape is not None:
            shape = self.layer.input_shape
        if self.opening is not None and self.opening.n_outputs != math.prod(shape):
            raise ValueError(
                f"the opening makes {self.opening.n_outputs} features, the layers "
                f"need {math.prod(shape)}; give both the same width"
            )
        width = math.prod(self.layer.state_shape)
        if self.head is not None and self.head.n_inputs != width:
            raise ValueError(
                f"the head takes {self.head.n_inputs} features, the layers make "
                f"{width}; give both the same width"
            )

    @property
    def step(self) -> float:
        """Step size h."""
        return self.final_time / self.depth

    @property
    def n_params(self) -> int:
        """Number of parameters of opening, body and head."""
        n_rows = self.control.n_rows(self.depth)
        ends = sum(end.n_params for end in (self.opening, self.head) if end)
        return n_rows * self.layer.n_params + ends

    @property
    def n_outputs(self) -> int:
        """Number of features that come out."""
        return self.head.n_outputs if self.head else self.layer.state_shape[-1]

    def init(self, seed: Any = 7, smooth: int | None = None) -> Params:
        """Draw initial parameters, the same on every rank.

        Opening, body and head have their own random streams, so that changing one
        leaves the others as they are.

        Parameters
        ----------
        seed : int
        smooth : int, optional
            Without a control: start from a random cubic spline with that many
            coefficients, in place of independent layers.
        """
        streams = np.random.default_rng(seed).spawn(3)
        opening = None if self.opening is None else self.opening.init(streams[0])[0]
        head = None if self.head is None else self.head.init(streams[2])[0]
        if smooth is not None and isinstance(self.control, Free):
            spline = BSpline(smooth)
            body = self.layer.init(streams[1], smooth)
            body = spline.values(body, self.depth, range(self.depth))
        else:
            body = self.layer.init(streams[1], self.control.n_rows(self.depth))
        return Params(opening, body, head)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample's inputs, of every step where layers take some."""
        if self.opening is not None:
            return (self.opening.n_inputs,)
        if self.layer.input_shape is not None:
            return self.layer.input_shape
        return self.layer.state_shape

    def open(self, params: Params, inputs: Array) -> Array:
        """First state of a batch, or what its steps get, from (..., *input_shape)."""
        if self.opening is None:
            return inputs
        flat = inputs.reshape(-1, self.opening.n_inputs)
        out = self.opening.apply(owned("opening", params.opening), flat)
        shape = self.layer.input_shape or self.layer.state_shape
        opened: Array = out.reshape(*inputs.shape[:-1], *shape)
        return opened

    def open_back(
        self, params: Params, inputs: Array, seed: Array
    ) -> tuple[Array | None, Array]:
        """Gradients for the opening, None if there is none, and for the inputs."""
        if self.opening is None:
            return None, seed
        flat = inputs.reshape(-1, self.opening.n_inputs)
        rows = np.ascontiguousarray(seed).reshape(len(flat), -1)
        theta = owned("opening", params.opening)
        d_theta, d_inputs = self.opening.pull_back(theta, flat, rows)
        return d_theta, d_inputs.reshape(inputs.shape)

    def close(self, params: Params, last: Array) -> Array:
        """Outputs of a batch from its last state (batch, *state_shape)."""
        if self.head is None:
            return last
        flat = last.reshape(len(last), -1)
        return self.head.apply(owned("head", params.head), flat)

    def close_back(
        self, params: Params, last: Array, seed: Array
    ) -> tuple[Array | None, Array]:
        """Gradients for the head, None if there is none, and for the last state."""
        if self.head is None:
            return None, seed
        flat = last.reshape(len(last), -1)
        d_theta, d_last = self.head.pull_back(owned("head", params.head), flat, seed)
        return d_theta, d_last.reshape(last.shape)


def owned(name: str, theta: Array | None) -> Array:
    """Return parameters that must be there."""
    if theta is None:
        raise ValueError(
            f"the network has this {name} but params.{name} is None; it lives on the "
            "rank that owns the first (opening) or the last (head) layer"
        )
    return theta
