r"""The gated recurrent layer: marches of stacked cells over many steps.

With :math:`p = W_i x + b_i` of the step's inputs and :math:`q = W_h h + b_h` of the
state, each of three parts r, z, n, a cell is

.. math::

    r = \sigma(p_r + q_r), \quad s = \sigma(-p_z - q_z), \quad
    n = \tanh(p_n + r \circ q_n), \qquad h' = h + g(s) \circ (n - h),

where :math:`g(s) = \Delta s` for explicit cells, which are those of torch.nn.GRU if the
step is :math:`\Delta = 1`, and :math:`\Delta s / (1 + \Delta s)` for implicit ones
[1]_.  The second cell of a stack reads the first one's new state.

References
----------
.. [1] G. E. Moon, E. C. Cyr, "Parallel Training of GRU Networks with a Multi-Grid
   Solver for Long Sequences", ICLR 2022.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgresnet.arrays.checks import integer, truth
from mgresnet.arrays.layout import Array, absent, in_rows, whole_rows
from mgresnet.arrays.memory import empty
from mgresnet.kernels import gru, gru_back
from mgresnet.kernels.cell_records import TILE, workspace
from mgresnet.kernels.threads import over_samples, over_tiles
from mgresnet.layers import parts
from mgresnet.layers.coarse import CoarseOperator, coarse_operator
from mgresnet.layers.gating import GATED_OPERATORS, OWN, Gating, check_gating
from mgresnet.layers.steps import Steps


@dataclass(frozen=True)
class GRU:
    """Gated recurrent units, one or more on top of each other.

    Parameters
    ----------
    n_inputs : int
        Features that every step reads.
    n_hidden : int
        Features of the state of a cell.
    n_layers : int
        Number of cells, all of them in one step.
    implicit : bool
        Whether a step is implicit in the state that the gate leaves behind, and so
        stable for any length.
    masked : bool
        Whether steps read one feature more, the last one, which is 1 where a step
        counts and 0 where it changes nothing, as behind the end of a sequence.

    Notes
    -----
    The state is ``(n_layers * n_hidden,)``, cell after cell.  The marching methods are
    those of `mgresnet.layers.protocol.Layer`.

    Examples
    --------
    >>> GRU(n_inputs=9, n_hidden=16).n_params
    1296
    """

    n_inputs: int
    n_hidden: int
    n_layers: int = 1
    implicit: bool = True
    masked: bool = False

    sample_block = 1
    scheme = OWN

    def __post_init__(self) -> None:
        for name in ("n_inputs", "n_hidden", "n_layers"):
            integer(name, getattr(self, name), 1)
        for name in ("implicit", "masked"):
            truth(name, getattr(self, name))

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one sample's state."""
        return (self.n_layers * self.n_hidden,)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what a step reads for one sample."""
        return (self.n_inputs + self.masked,)

    @property
    def parts(self) -> parts.Parts:
        """What the parameters are, in order, and their shapes, by torch's names."""
        return cell_parts(self.n_inputs, self.n_hidden, self.n_layers)

    @property
    def n_params(self) -> int:
        """Number of parameters of one row."""
        return parts.size_of(self.parts)

    def init(self, rng: np.random.Generator, n_layers: int) -> Array:
        """Draw all parameters between -1 and 1 over the root of n_hidden.

        Returns
        -------
        ndarray, shape (n_layers, n_params)
        """
        bound = 1.0 / math.sqrt(self.n_hidden)
        return rng.uniform(-bound, bound, (n_layers, self.n_params))

    def pack(self, *arrays: Array) -> Array:
        """Parameters as rows: one for `mgresnet.Shared`, else one for each step.

        Parameters
        ----------
        *arrays : ndarray, shape (n_rows, ...)
            For every cell, as ``parameters()`` of torch.nn.GRU has them and in its
            order of gates r, z, n: the weights of what it reads
            (n_rows, 3 n_hidden, n_inputs) and of its state
            (n_rows, 3 n_hidden, n_hidden), then the biases (n_rows, 3 n_hidden) of
            both.

        Returns
        -------
        ndarray, shape (n_rows, n_params)
        """
        return parts.pack(self.parts, arrays)

    def unpack(self, theta: Array) -> tuple[Array, ...]:
        """Inverse of `pack`: views, shape (n_rows, ...) each.

        Parameters
        ----------
        theta : ndarray, shape (n_rows, n_params)
        """
        return parts.unpack(self.parts, parts.rows(self.parts, theta))

    def coarse(self, name: str) -> CoarseOperator:
        """Coarse operator of this name."""
        return coarse_operator(name, GATED_OPERATORS, "GRU")

    def tape_shape(self, scheme: Gating) -> tuple[int, ...]:
        """Nothing: to compute it again costs less than to keep it in memory."""
        return (0,)

    def prepare(self, steps: Steps) -> Steps:
        """Inputs row by row; steps that explicit cells cannot compose are refused."""
        check_gating(steps.scheme, self.implicit, steps.h)
        return steps._replace(inputs=in_rows(steps.inputs))

    def march(
        self, steps: Steps, starts: Array, u: Array, forcing: Array, tape: Array
    ) -> None:
        """Fill every block of u with what follows its start (see `Layer.march`)."""
        if not u.size:
            return
        known = starts, u, _or(forcing, _no_columns(starts))
        arrays = *map(whole_rows, known), *_given(steps)
        how = self._sizes, self._how(steps)

        def run(start: int, stop: int) -> None:
            space = self._space(steps, 1, stop - start, u.dtype)
            gru.march(*arrays, *how, start, stop, space)

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
        none, dtype = _no_columns(starts), starts.dtype
        known = starts, _or(w, none), _or(forcing, none), points, _or(ends, starts[:0])
        arrays = *map(whole_rows, known), *_given(steps)
        first, d_x = _or(d_theta, np.empty((0, 0), dtype)), _or(d_inputs, none)
        k, how = steps.n // len(points), (self._sizes, self._how(steps))

        def run(start: int, stop: int) -> Array:
            space = self._space(steps, k, stop - start, dtype)
            total = first
            for s in range(start, stop, TILE):
                d = first if s == 0 else np.empty_like(first)
                found, some = (d, whole_rows(d_x)), (s, min(s + TILE, stop))
                gru_back.pull_back(*arrays, *found, *how, *some, space)
                total = d if s == start else np.add(total, d, out=total)
            return total

        if d_theta.size:
            _, *others = over_tiles(run, starts.shape[-1], TILE)
            for more in others:
                d_theta += more
        else:
            over_samples(run, starts.shape[-1])

    @property
    def _sizes(self) -> tuple[int, ...]:
        return self.n_inputs, int(self.masked), self.n_hidden, self.n_layers

    def _how(self, steps: Steps) -> tuple[Any, ...]:
        halves = steps.scheme.halves
        return halves.ravel(), *halves.shape, steps.scheme.layer(steps), self.implicit

    def _space(self, steps: Steps, k: int, batch: int, dtype: Any) -> Array:
        size = workspace(self._sizes, steps.scheme.halves.shape, k, batch, dtype)
        return empty((size,), dtype)


def cell_parts(n_inputs: int, n_hidden: int, n_layers: int) -> parts.Parts:
    """Parameters of stacked cells, by torch's names."""
    gates, found = 3 * n_hidden, []
    for k in range(n_layers):
        read = n_hidden if k else n_inputs
        found += [
            (f"weight_ih_l{k}", (gates, read)),
            (f"weight_hh_l{k}", (gates, n_hidden)),
            (f"bias_ih_l{k}", (gates,)),
            (f"bias_hh_l{k}", (gates,)),
        ]
    return found


def _given(steps: Steps) -> tuple[Array, Array]:
    """Inputs, and one row of parameters for each step or for all."""
    return whole_rows(steps.inputs), np.ascontiguousarray(steps.theta[:, 0])


def _no_columns(starts: Array) -> Array:
    """Blocks with nothing behind their starts."""
    return starts[:, None][:, :0]


def _or(values: Array, none: Array) -> Array:
    """Values, or what kernels take where they are absent."""
    return values if values.size else none
