r"""Gated cells in plain NumPy, step by step: what `GRU` is, without its speed.

A step of several stages, as `gating` has them, is for every cell

.. math::

    y^s_0 = h, \quad q^s = W_h y^{s-1}_k + b_h, \quad
    y^s_{i+1} = y^s_i + g_i(s_i) (n_i - y^s_i), \quad y^{-1}_k = h, \quad i < k,

with the gates of the i-th input and q; the next cell reads all :math:`y_1, .., y_k` of
the last stage.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.coarse import CoarseOperator
from mgresnet.layers.gating import OWN, Gating
from mgresnet.layers.gru import GRU
from mgresnet.layers.parts import unpack


class Substep(NamedTuple):
    """What the way back through a substep needs, (batch, n_hidden) each."""

    y: Array
    r: Array
    s: Array
    n: Array
    q_n: Array
    weight: Array  # g(s)
    slope: Array  # g'(s)


class Stage(NamedTuple):
    """The state that the gates of a stage were made of, and its substeps."""

    of: Array
    substeps: list[Substep]
    states: list[Array]  # behind every substep


@dataclass(frozen=True)
class GatedCell:
    """Cell of `Stepwise` that does what a `GRU` does.

    Parameters
    ----------
    gru : GRU
    gating : Gating
        How a step is taken.
    span : int
        Layers that a step covers.
    """

    gru: GRU
    gating: Gating = OWN
    span: int = 1

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one sample's state."""
        return self.gru.state_shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what a step reads for one sample."""
        return self.gru.input_shape

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return self.gru.n_params

    def init(self, rng: np.random.Generator, n_layers: int) -> Array:
        """Initial parameters, shape (n_layers, n_params)."""
        return self.gru.init(rng, n_layers)

    def coarse(self, name: str) -> CoarseOperator:
        """Coarse operator of this name, with a cell that takes its steps."""
        operator = self.gru.coarse(name)

        def cell(span: int) -> GatedCell:
            return replace(self, gating=operator.scheme(span), span=span)

        return operator._replace(scheme=cell)

    def step(self, theta: Array, u: Array, h: float, x: Array) -> Array:
        """Next state; x is (batch, n_read), or (n_substeps, batch, n_read)."""
        ends = [stages[-1].states[-1] for _, _, stages in self._cells(theta, u, h, x)]
        return np.concatenate(ends, axis=1)

    def pull_back(
        self, theta: Array, u: Array, h: float, x: Array, g: Array
    ) -> tuple[Array, Array, Array]:
        """Gradients of <g, step> for theta, u and x."""
        cells = self._cells(theta, u, h, x)
        d_x: Array = np.zeros((*cells[-1][1].shape[:2], self.gru.n_hidden))
        d_theta: list[Array] = []
        d_u: list[Array] = []
        pairs = zip(reversed(cells), reversed(self._split(g)), strict=True)
        for (weights, given, stages), d in pairs:
            d_weights, d_h, d_x = _cell_back(weights, given, stages, d, d_x)
            d_theta, d_u = [*d_weights, *d_theta], [d_h, *d_u]
        if self.gru.masked:
            d_x = np.concatenate([d_x, 0.0 * d_x[..., :1]], axis=-1)
        flat = np.concatenate([d.ravel() for d in d_theta])
        return flat, np.concatenate(d_u, axis=1), d_x.reshape(x.shape)

    def _split(self, u: Array) -> list[Array]:
        """States of all cells."""
        return np.split(u, self.gru.n_layers, axis=1)

    def _cells(self, theta: Array, u: Array, h: float, x: Array) -> list[Any]:
        """Weights, inputs and stages of every cell."""
        x, cells = x.reshape(-1, *x.shape[-2:]), []
        counts = np.ones(x.shape[:2], bool)
        if self.gru.masked:
            counts, x = x[..., -1].real > 0.0, x[..., :-1]
        length = h if self.gating.own else h / self.span
        weights = unpack(self.gru.parts, theta)
        for k, state in enumerate(self._split(u)):
            own, of = weights[4 * k : 4 * k + 4], state
            stages: list[Stage] = []
            for halves in self.gating.halves:
                how = halves, length, self.gru.implicit
                stages.append(_stage(own, state, of, x, counts, *how))
                of = stages[-1].states[-1]
            cells.append((own, x, stages))
            x = np.stack(stages[-1].states)
        return cells


def _stage(
    weights: tuple[Array, ...],
    y: Array,
    of: Array,
    x: Array,
    counts: Array,
    halves: Any,
    h: float,
    implicit: bool,
) -> Stage:
    """From y through all inputs x, with the product of W_h and one state."""
    w_x, w_h, b_x, b_h = weights
    q_r, q_z, q_n = np.split(of @ w_h.T + b_h, 3, axis=1)
    substeps: list[Substep] = []
    states: list[Array] = []
    for x_i, counts_i, k in zip(x, counts, halves.tolist(), strict=True):
        p_r, p_z, p_n = np.split(x_i @ w_x.T + b_x, 3, axis=1)
        r, s = _sigmoid(p_r + q_r), _sigmoid(-p_z - q_z) * counts_i[:, None]
        n = np.tanh(p_n + r * q_n)
        weight, slope = _weight(s, h, 0.5 * k, implicit)
        substeps.append(Substep(y, r, s, n, q_n, weight, slope))
        y = y + weight * (n - y)
        states.append(y)
    return Stage(of, substeps, states)


def _cell_back(
    weights: tuple[Array, ...], x: Array, stages: list[Stage], g: Array, d_y: Array
) -> tuple[tuple[Array, ...], Array, Array]:
    """Gradients for the weights of a cell, its state, and what it reads.

    The states behind the substeps of the last stage get d_y from the cell above.
    """
    w_x, w_h, _, _ = weights
    d_p: Array = np.zeros((*x.shape[:2], len(w_x)), g.dtype)
    d_w, d_b, d_h = 0.0 * w_h, np.zeros(len(w_h), g.dtype), np.zeros_like(g)
    for of, substeps, _ in reversed(stages):
        d_q = np.zeros_like(d_p[0])
        for i, (y, r, s, n, q_n, weight, slope) in reversed([*enumerate(substeps)]):
            g = g + d_y[i]
            d_n = g * weight * (1.0 - n**2)
            d_r = d_n * q_n * r * (1.0 - r)
            d_z = g * (y - n) * slope * s * (1.0 - s)
            d_p[i] += np.concatenate([d_r, d_z, d_n], axis=1)
            d_q += np.concatenate([d_r, d_z, d_n * r], axis=1)
            g = g * (1.0 - weight)
        d_h, d_w, d_b = d_h + g, d_w + d_q.T @ of, d_b + d_q.sum(axis=0)
        g, d_y = d_q @ w_h, 0.0 * d_y
    d_w_x = np.einsum("ibg,ibd->gd", d_p, x)
    return (d_w_x, d_w, d_p.sum(axis=(0, 1)), d_b), d_h + g, d_p @ w_x


def _weight(s: Array, h: float, k: float, implicit: bool) -> tuple[Array, Array]:
    """G(s) of k layers, and its derivative."""
    rest, power = (1.0 + h * s, -k) if implicit else (1.0 - h * s, k)
    return 1.0 - rest**power, k * h * rest ** (power - 1.0)


def _sigmoid(z: Array) -> Array:
    s: Array = 0.5 + 0.5 * np.tanh(0.5 * z)
    return s
