r"""A residual network: opening, one layer repeated over depth, head; its parameters.

.. math:: u_0 = \mathrm{opening}(x), \quad u_{n+1} = u_n + h f(u_n; \theta_n),
          \quad y = \mathrm{head}(u_N), \quad h = T / N.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import (
    FLOATS,
    choose,
    floats,
    integer,
    members,
    provides,
    real,
)
from mgresnet.arrays.layout import Array
from mgresnet.control import BSpline, Control, Free
from mgresnet.ends import applied, gradient_alone, own_map, pulled_back
from mgresnet.layers.protocol import Layer, Map

FREE = Free()
STEPS = 1e-100, 1e100  # whose squares and inverses are numbers

# Parts of a network: what is asked of them, and an example.
PIECES = (
    ("layer", members(Layer), "Dense(4)"),
    ("opening", members(Map), "Linear(2, 4)"),
    ("head", members(Map), "Linear(4, 2)"),
    ("control", members(Control), "BSpline(6)"),
)


class Params(NamedTuple):
    """Parameters of a network, or anything of their shape: gradients, updates.

    A part that the network lacks, or that another rank owns, is None.

    Parameters
    ----------
    opening : ndarray, shape (n_params,), or None
    body : ndarray, shape (n_rows, n_params)
        Rows that the control makes the layers' parameters of.  Free ones are one row
        per layer: all of them, or those of one rank.  Of a spline or of shared
        parameters every rank has all rows.
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
    layer : Dense, Conv2d, GRU, Explicit or Stepwise
        The residual function or step, repeated in every layer.
    depth : int
        Number of residual layers N.
    final_time : float
        T; the step is h = T / N.
    opening, head : Linear or Widen, optional
        Map the features to the first state, or to what every layer reads, and the last
        state to the outputs.  Without an opening the inputs are the first state,
        without a head the features of the last state are the outputs.
    control : Free, Shared or BSpline, optional
        How the parameters of the layers are made: every layer has its own (the
        default), all have the same, or they are values of a spline over depth.
    read : {"last", "every"}
        State that outputs (batch, n_outputs) are made of, or (batch, depth, n_outputs).

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
    read: str = "last"

    def __post_init__(self) -> None:
        choose("read", self.read, ("last", "every"))
        if getattr(self, "control", None) is None:  # as it was once written
            object.__setattr__(self, "control", FREE)
        for name, needed, example in PIECES:
            if (piece := getattr(self, name)) is not None or name == "layer":
                provides(name, piece, needed, example)
        integer("depth", self.depth, 1)
        if not 0.0 < real("final_time", self.final_time) < math.inf:
            raise ValueError(
                f"final_time must be a positive number, got {self.final_time}"
            )
        least, most = STEPS
        if not least < float(self.step) < most:
            raise ValueError(
                f"the step final_time / depth is {self.step:.0e}, needed one between "
                f"{least:.0e} and {most:.0e}; choose another final_time"
            )
        self._check_maps()

    def _check_maps(self) -> None:
        """Refuse maps that do not fit the layers."""
        state = self.layer.state_shape
        taken = self.layer.input_shape or state
        if self.opening is not None and self.opening.n_outputs != math.prod(taken):
            raise ValueError(
                f"the opening makes {self.opening.n_outputs} features, the layers "
                f"need {math.prod(taken)}; give both the same width"
            )
        if self.head is not None and self.head.n_inputs != math.prod(state):
            raise ValueError(
                f"the head takes {self.head.n_inputs} features, the layers make "
                f"{math.prod(state)}; give both the same width"
            )

    @property
    def step(self) -> float:
        """Step size h."""
        return self.final_time / self.depth

    @property
    def n_params(self) -> int:
        """Number of parameters of opening, body and head."""
        n_rows = self.control.n_rows(self.depth)
        maps = sum(one.n_params for one in (self.opening, self.head) if one)
        return n_rows * self.layer.n_params + maps

    @property
    def n_outputs(self) -> int:
        """Number of features that come out."""
        return self.head.n_outputs if self.head else math.prod(self.layer.state_shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample's inputs, of every step where layers take some."""
        if self.opening is not None:
            return (self.opening.n_inputs,)
        return self.layer.input_shape or self.layer.state_shape

    def init(
        self, seed: int = 7, smooth: int | None = None, dtype: Any = np.float64
    ) -> Params:
        """Draw initial parameters, the same on every rank.

        Opening, body and head have their own random streams, so that changing one
        leaves the others as they are.

        Parameters
        ----------
        seed : int
        smooth : int, optional
            Without a control: start from a random cubic spline with that many
            coefficients, in place of independent layers.
        dtype : {float64, float32}
            Parameters of type float32 are those of type float64, rounded.
        """
        rng = np.random.default_rng(integer("seed", seed, 0))
        return self.draw(rng, smooth, dtype)

    def draw(
        self, rng: np.random.Generator, smooth: int | None = None, dtype: Any = float
    ) -> Params:
        """Draw what `init` returns."""
        if np.dtype(dtype) not in FLOATS:
            raise TypeError(f"dtype is {dtype!r}; needed np.float64 or np.float32")
        streams = rng.spawn(3)
        opening, head = (
            None if one is None else one.init(stream)[0].astype(dtype, copy=False)
            for one, stream in ((self.opening, streams[0]), (self.head, streams[2]))
        )
        if smooth is not None and isinstance(self.control, Free):
            body = self.layer.init(streams[1], smooth)
            body = BSpline(smooth).values(body, self.depth, range(self.depth))
        else:
            body = self.layer.init(streams[1], self.control.n_rows(self.depth))
        return Params(opening, body.astype(dtype, copy=False), head)

    def own(self, params: Params, layers: range) -> Params:
        """Parameters as arrays of one dtype, with the rows that some layers need.

        Raises
        ------
        ValueError, TypeError
            The message names the part that is wrong.
        """
        if not isinstance(params, Params):
            raise TypeError(
                f"params is a {type(params).__name__}, needed Params(opening, body, "
                "head) as net.init makes them"
            )
        body = self._own_rows(floats("body", params.body), layers)
        opening = own_map("opening", self.opening, params.opening, body)
        return Params(opening, body, own_map("head", self.head, params.head, body))

    def _own_rows(self, body: Array, layers: range) -> Array:
        control, n_params = self.control, self.layer.n_params
        whole = (control.n_rows(self.depth), n_params)
        if body.shape == whole:
            return body[control.owned(layers)]
        if control.shared:
            raise ValueError(
                f"body has shape {body.shape}, needed {whole}: the rows of the "
                f"{type(control).__name__} control; make it with net.init"
            )
        if body.shape == (len(layers), n_params):
            return body
        raise ValueError(
            f"body has shape {body.shape}, needed {whole} for the whole network or "
            f"({len(layers)}, {n_params}) for layers {layers.start}.."
            f"{layers.stop - 1} of this rank; make it with net.init or layer.pack"
        )

    def open(self, params: Params, inputs: Array) -> Array:
        """First state of a batch, or what its steps get, from (..., *input_shape)."""
        if self.opening is None:
            return inputs
        flat = inputs.reshape(-1, self.opening.n_inputs)
        out = applied("opening", self.opening, params.opening, flat)
        shape = self.layer.input_shape or self.layer.state_shape
        opened: Array = out.reshape(*inputs.shape[:-1], *shape)
        return opened

    def open_back(
        self, params: Params, inputs: Array, seed: Array
    ) -> tuple[Array | None, Array]:
        """Gradients for the opening, None if there is none, and for the inputs."""
        if self.opening is None:
            return None, seed
        given = self._before(params, inputs, seed)
        d_theta, d_inputs = pulled_back("opening", self.opening, *given)
        return d_theta, d_inputs.reshape(inputs.shape)

    def opening_gradient(
        self, params: Params, inputs: Array, seed: Array
    ) -> Array | None:
        """Gradient for the opening alone."""
        if self.opening is None:
            return None
        given = self._before(params, inputs, seed)
        return gradient_alone("opening", self.opening, *given)

    def _before(self, params: Params, inputs: Array, seed: Array) -> tuple[Any, ...]:
        """Parameters of the opening, rows of inputs, and rows of a seed behind it."""
        flat = inputs.reshape(-1, *self.input_shape)
        return params.opening, flat, np.ascontiguousarray(seed).reshape(len(flat), -1)

    def close(self, params: Params, states: Array) -> Array:
        """Outputs (.., n_outputs) from the states read, (.., *state_shape)."""
        rows = states.reshape(-1, math.prod(self.layer.state_shape))
        if self.head is not None:
            rows = applied("head", self.head, params.head, rows)
        outputs: Array = rows.reshape(*states.shape[: -len(self.layer.state_shape)], -1)
        return outputs

    def close_back(
        self, params: Params, states: Array, seed: Array
    ) -> tuple[Array | None, Array]:
        """Gradients for the head, None if there is none, and for the states read."""
        if self.head is None:
            return None, seed.reshape(states.shape)
        rows = states.reshape(-1, math.prod(self.layer.state_shape))
        given = params.head, rows, seed.reshape(len(rows), -1)
        d_theta, d_rows = pulled_back("head", self.head, *given)
        return d_theta, d_rows.reshape(states.shape)


def check_network(net: Any) -> None:
    """Refuse what is no network."""
    if not isinstance(net, Network):
        provides("net", net, ("layer", "depth"), "Network(Dense(4), 8)")
