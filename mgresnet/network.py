r"""A residual network: opening, one layer repeated over depth, head; its parameters.

.. math:: u_0 = \mathrm{opening}(x), \quad u_{n+1} = u_n + h f(u_n; \theta_n),
          \quad y = \mathrm{head}(u_N), \quad h = T / N.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from mgresnet.arrays.checks import FLOATS, floats, integer, members, provides, real
from mgresnet.arrays.layout import Array
from mgresnet.control import BSpline
from mgresnet.layers.dense import Dense


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


class Map(Protocol):
    """An opening or a head: a function of features with flat parameters."""

    @property
    def n_inputs(self) -> int:
        """Number of features before."""

    @property
    def n_outputs(self) -> int:
        """Number of features after."""

    @property
    def n_params(self) -> int:
        """Number of parameters."""

    def init(self, rng: np.random.Generator, n_maps: int = 1) -> Array:
        """Initial parameters, shape (n_maps, n_params)."""

    def apply(self, theta: Array, x: Array) -> Array:
        """Outputs (batch, n_outputs) for inputs (batch, n_inputs)."""

    def pull_back(self, theta: Array, x: Array, seed: Array) -> tuple[Array, Array]:
        """Gradients with respect to theta and x."""


# Parts of a network: what is asked of them, and an example.
PIECES = (
    ("layer", ("feature_shape", "n_params", "init", "prepare", "march"), "Dense(4)"),
    ("opening", members(Map), "Linear(2, 4)"),
    ("head", members(Map), "Linear(4, 2)"),
    ("control", ("n_coefficients", "values", "condense"), "BSpline(6)"),
)


@dataclass(frozen=True)
class Network:
    """A residual network, forward Euler on ``[0, final_time]``; holds no weights.

    Parameters
    ----------
    layer : Dense
        The residual function, repeated with its own parameters in every layer.
    depth : int
        Number of residual layers N.
    final_time : float
        T; the step is h = T / N.
    opening, head : Linear or Widen, optional
        Map the features to the width of the layers, and the last state to the outputs.
        Without an opening the inputs are the first state, without a head the last state
        is the output.

    control : BSpline, optional
        Makes the parameters of the layers values of a spline over depth; by default
        every layer has its own.

    Examples
    --------
    >>> net = Network(Dense(4), depth=10, final_time=2.0)
    >>> net.step
    0.2
    """

    layer: Dense
    depth: int
    final_time: float = 1.0
    opening: Map | None = None
    head: Map | None = None
    control: BSpline | None = None

    def __post_init__(self) -> None:
        for name, needed, example in PIECES:
            if (piece := getattr(self, name)) is not None or name == "layer":
                provides(name, piece, needed, example)
        integer("depth", self.depth, 1)
        if not 0.0 < real("final_time", self.final_time) < math.inf:
            raise ValueError(
                f"final_time must be a positive number, got {self.final_time}"
            )
        shape = self.layer.feature_shape
        size = shape[0] if len(shape) == 1 else f"states of shape {shape}"
        if self.opening is not None and (self.opening.n_outputs,) != shape:
            raise ValueError(
                f"the opening makes {self.opening.n_outputs} features, the layers "
                f"need {size}; give both the same width"
            )
        if self.head is not None and (self.head.n_inputs,) != shape:
            raise ValueError(
                f"the head takes {self.head.n_inputs} features, the layers make "
                f"{size}; give both the same width"
            )

    @cached_property
    def plain(self) -> "Network":
        """The same layers, each with parameters of its own."""
        return replace(self, control=None)

    @property
    def step(self) -> float:
        """Step size h."""
        return self.final_time / self.depth

    @property
    def n_params(self) -> int:
        """Number of parameters of opening, body and head."""
        n_rows = self.control.n_coefficients if self.control else self.depth
        ends = sum(end.n_params for end in (self.opening, self.head) if end)
        return n_rows * self.layer.n_params + ends

    @property
    def n_outputs(self) -> int:
        """Number of features that come out."""
        return self.head.n_outputs if self.head else self.layer.feature_shape[-1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample that goes in."""
        return (self.opening.n_inputs,) if self.opening else self.layer.feature_shape

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
        if np.dtype(dtype) not in FLOATS:
            raise TypeError(f"dtype is {dtype!r}; needed np.float64 or np.float32")
        integer("seed", seed, 0)
        streams = np.random.default_rng(seed).spawn(3)
        opening, head = (
            None if end is None else end.init(stream)[0].astype(dtype, copy=False)
            for end, stream in ((self.opening, streams[0]), (self.head, streams[2]))
        )
        spline = self.control or (BSpline(smooth) if smooth is not None else None)
        n_rows = spline.n_coefficients if spline else self.depth
        body = self.layer.init(streams[1], n_rows)
        if spline and not self.control:
            body = spline.values(body, self.depth, range(self.depth))
        return Params(opening, body.astype(dtype, copy=False), head)

    def own(self, params: Params, slab: range) -> Params:
        """Parameters as arrays of one dtype, with the rows of a slab.

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
        body = self.own_body(params.body, slab)
        opening = _own_end("opening", self.opening, params.opening, body)
        return Params(opening, body, _own_end("head", self.head, params.head, body))

    def own_body(self, body: Array, slab: range) -> Array:
        """What the rank that owns a slab keeps of `body`, given whole or already kept.

        Raises
        ------
        ValueError
            If `body` has the rows of neither the whole network nor the slab.
        """
        body = floats("body", body)
        n_params = self.layer.n_params
        if self.control:
            if body.shape == (self.control.n_coefficients, n_params):
                return body
            raise ValueError(
                f"body has shape {body.shape}, needed ({self.control.n_coefficients}, "
                f"{n_params}): the coefficients of the spline; make it with net.init"
            )
        if body.ndim == 2 and body.shape[1] == n_params:
            if len(body) == self.depth:
                return body[slab.start : slab.stop]
            if len(body) == len(slab):
                return body
        raise ValueError(
            f"body has shape {body.shape}, needed ({self.depth}, {n_params}) for the "
            f"whole network or ({len(slab)}, {n_params}) for layers {slab.start}.."
            f"{slab.stop - 1} of this rank; make it with net.init or layer.pack"
        )

    def layer_params(
        self, body: Array, slab: range, some: slice = slice(None)
    ) -> Array:
        """Parameters of the layers of a slab, or of some of them, (n, n_params)."""
        own = self.own_body(body, slab)
        if self.control is None:
            return own[some]
        return self.control.values(own, self.depth, slab[some])

    def open(self, params: Params, inputs: Array) -> Array:
        """First state of a batch."""
        if self.opening is None:
            return inputs
        return _applied("opening", self.opening, params.opening, inputs)

    def close(self, params: Params, last: Array) -> Array:
        """Outputs of a batch from its last state."""
        if self.head is None:
            return last
        return _applied("head", self.head, params.head, last)


def _own_end(name: str, part: Map | None, theta: Any, body: Array) -> Array | None:
    """Parameters of opening or head, if they are there."""
    if theta is None:
        return None
    if part is None:
        raise ValueError(
            f"params.{name} is given, but the network has no {name}; needed None, or "
            f"a network with {name}=Linear(...)"
        )
    return floats(name, theta, (part.n_params,), body.dtype, "body has")


def _applied(name: str, part: Map, theta: Array | None, x: Array) -> Array:
    """What a map, which may be anybody's, makes of a batch."""
    values = part.apply(owned(name, theta), x)
    shape = (len(x), part.n_outputs)
    return floats(f"output of the {name}", values, shape, x.dtype, "its input has")


def check_network(net: Any) -> None:
    """Refuse what is no network."""
    provides("net", net, ("layer", "depth"), "Network(Dense(4), 8)")


def owned(name: str, theta: Array | None) -> Array:
    """Return parameters that must be there."""
    if theta is None:
        raise ValueError(
            f"the network has this {name} but params.{name} is None; it lives on the "
            "rank that owns the first (opening) or the last (head) layer"
        )
    return theta
