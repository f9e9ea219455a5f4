r"""A network cut into modules, each of which is propagated from a start of its own.

With starts :math:`v_k` of the modules k = 2, .., K, and the first one's from the
inputs, all modules march at once.  What is missing between them are the defects

.. math:: d_k = M X_k(v_{k-1}) - v_k

of what a module hands on, as the filter M of the stage keeps it.  A module is a run of
layers; where it begins is counted from the first layer of its stage, and the start of
one that begins with a stage is the last state of the stage before.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import integer
from mgresnet.arrays.layout import Array, absent, samples_first
from mgresnet.arrays.memory import empty
from mgresnet.chain import Chain, networks_of
from mgresnet.learning.filters import Filter
from mgresnet.network import Network, Params
from mgresnet.solve.ahead import Posed, points_of, pose
from mgresnet.solve.slab import Slab
from mgresnet.timeline.adjoints import Adjoint, Gradients
from mgresnet.timeline.propagators import Forward


def beginnings(net: Network | Chain, modules: Any) -> tuple[tuple[int, ...], ...]:
    """Layers at which modules begin, for every stage; its depth is the next one's 0.

    Parameters
    ----------
    net : Network or Chain
    modules : int, or tuple, list or array of int
        Number of modules of about the same cost, or the first layers of all but the
        first, counted through all stages.

    Raises
    ------
    TypeError, ValueError
    """
    depths = [one.depth for one in networks_of(net)]
    total = sum(depths)
    if isinstance(modules, tuple | list | np.ndarray):
        cuts = [integer("modules", cut, 1) for cut in modules]
        if cuts != sorted(set(cuts)) or (cuts and cuts[-1] >= total):
            raise ValueError(
                f"modules begin at layers {cuts}, needed growing numbers below {total}"
            )
    else:
        cuts = _balanced(net, integer("modules", modules, 1), total)
    ends = [*itertools.accumulate(depths)]
    pairs = zip([0, *ends], ends, strict=False)
    return tuple(tuple(c - a for c in cuts if a < c <= b) for a, b in pairs)


def _balanced(net: Network | Chain, n: int, total: int) -> list[int]:
    """First layers of modules with about the same number of operations.

    A layer uses every parameter once for every point of an image.  In a network modules
    are what `TimeGrid.slab` would give to as many ranks; in a chain they begin with the
    layer that is nearest.
    """
    if n > total:
        raise ValueError(
            f"{n} modules for {total} layer(s), needed a layer for each; use at most "
            f"{total} modules, or a deeper network"
        )
    costs: list[int] = []
    for one in networks_of(net):
        points = math.prod(one.layer.state_shape[1:])
        costs += [max(one.layer.n_params * points, 1)] * one.depth
    done, cuts = np.cumsum(costs), [0]
    nearest = np.array(costs) if isinstance(net, Chain) else 0
    for k in range(1, n):
        middles = (2 * done - nearest) * n
        cut = int(np.searchsorted(middles, 2 * k * done[-1], side="right"))
        cuts.append(min(max(cut, cuts[-1] + 1), total - n + k))
    return cuts[1:]


class Marched(NamedTuple):
    """Layers that were marched through, with the states at their ends."""

    layers: Forward  # with a tape
    states: Array  # (n_layers + 1, *state_shape, batch)

    @classmethod
    def through(cls, layers: Forward, start: Array) -> "Marched":
        """March from a start (*state_shape, batch)."""
        noting = layers.noting(start.shape[-1])
        states = points_of(layers.n_steps, start)
        states[0] = start
        noting.propagate(states[:1], states[None, 1:], absent(states.dtype))
        return cls(noting, states)

    @property
    def end(self) -> Array:
        """State behind the last layer."""
        last: Array = self.states[-1]
        return last

    def back(self, seed: Array, gradients: Gradients) -> Array:
        """Adjoint of the start from that of the end; the gradients are filled."""
        w = empty((1, 1, *seed.shape), seed.dtype)
        steps = Adjoint(self.layers, self.states[:-1], gradients)
        steps.propagate(np.ascontiguousarray(seed)[None], w, absent(seed.dtype))
        adjoint: Array = w[0, 0]
        return adjoint


class Ahead(NamedTuple):
    """Modules of a rank in a stage, after they have marched."""

    batch: Posed
    pieces: list[Marched]
    last: Array  # (batch, *state_shape): where the next stage begins


class Stretch(NamedTuple):
    """What a rank has of a stage: layers, cut where modules begin.

    Parameters
    ----------
    slab : Slab
    own : Params
    points : tuple of int
        Where modules begin, from the rank's first layer.
    filter : Filter
    """

    slab: Slab
    own: Params
    points: tuple[int, ...]
    filter: Filter

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """Layers of every module, or part of a module, that is here."""
        ends = {0, *self.points, len(self.slab.layers)}
        return [*itertools.pairwise(sorted(ends))]

    def ahead(self, inputs: Array, starts: Array) -> Ahead:
        """March through all modules, from starts (n_points, batch, size)."""
        batch = pose(self.slab, self.own, inputs, None)
        known = {
            n: self.filter.expand(z, batch.first.dtype)
            for n, z in zip(self.points, starts, strict=True)
        }
        pieces = [
            Marched.through(batch.layers.part(a, b), known.get(a, batch.first))
            for a, b in self.pieces
        ]
        last = known.get(len(self.slab.layers), pieces[-1].end)
        return Ahead(batch, pieces, samples_first(last, last.ndim - 1))

    def exact_starts(self, inputs: Array) -> tuple[Array, Array]:
        """What is kept of the states at the points, and the last state, serially."""
        batch, comm = pose(self.slab, self.own, inputs, None), self.slab.comm
        state = comm.recv_left(np.ascontiguousarray(batch.first))
        found = {0: state}
        for a, b in self.pieces:
            found[b] = Marched.through(batch.layers.part(a, b), found[a]).end
        last = found[len(self.slab.layers)]
        comm.send_right(np.ascontiguousarray(last))
        kept = [self.filter.keep(found[n]) for n in self.points]
        shape = len(kept), len(inputs), self.filter.size
        starts = np.array(kept, self.filter.dtype).reshape(shape)
        return starts, samples_first(last, last.ndim - 1)

    def defects(self, ahead: Ahead, starts: Array) -> Array:
        """What modules hand on less the starts of the next, (n_points, batch, size)."""
        ends = [self.filter.keep(piece.end) for piece in ahead.pieces]
        arrived = self.slab.comm.shift(ends[-1], np.zeros_like(ends[-1]))
        behind = dict(zip((b for _, b in self.pieces), ends, strict=True))
        behind[0] = arrived
        dtype = ahead.batch.first.dtype
        found = [behind[n].astype(dtype) for n in self.points]
        return np.array(found, dtype).reshape(starts.shape) - starts

    def back(self, ahead: Ahead, seeds: Array, last: Array, weight: float) -> "Back":
        """Go back through all modules at once.

        Parameters
        ----------
        ahead : Ahead
        seeds : ndarray, shape (n_points, batch, size)
            Gradients for what modules hand on, as the filter keeps it, of each sample.
        last : ndarray, shape (*state_shape, batch)
            Adjoint of the last state of the stage, where the last rank has it.
        weight : float
            Of a sample in the mean over the batch.
        """
        n, dtype = len(self.slab.layers), last.dtype
        known = dict(zip(self.points, seeds, strict=True))
        none = np.zeros(seeds.shape[1:], seeds.dtype)
        passed = self.slab.comm.reversed().shift(known.get(0, none), none)
        if not self.slab.is_last:
            known[n] = passed
        behind = {
            m: self.filter.seed(z, dtype) * dtype.type(weight) for m, z in known.items()
        }
        d_theta = empty((n, self.slab.net.layer.n_params), dtype)
        wanted = Gradients(d_theta, np.empty_like(ahead.batch.layers.steps.inputs))
        adjoints = {n: last}
        for (a, b), piece in zip(self.pieces, ahead.pieces, strict=True):
            seed = behind.get(b, last)
            adjoints[a] = piece.back(seed, wanted.part(a, b, n))
        kept = [self.filter.gradient(adjoints[m]) / weight for m in self.points]
        d_starts = np.array(kept, dtype).reshape(seeds.shape)
        return Back(*wanted, adjoints[0], d_starts)

    def open_back(self, ahead: Ahead, back: "Back") -> tuple[Array | None, Array]:
        """Gradients for the opening of the stage and its inputs, on its first rank."""
        net, first = self.slab.net, samples_first(back.first, back.first.ndim - 1)
        if net.layer.input_shape is not None:
            first = np.moveaxis(back.d_inputs[:, 0], -1, 0)
        return net.open_back(self.own, ahead.batch.inputs, first)


class Back(NamedTuple):
    """What was found on the way back through the modules of a stretch."""

    d_theta: Array  # (n_layers, n_params)
    d_inputs: Array  # as the inputs of the steps
    first: Array  # (*state_shape, batch): adjoint where the stretch begins
    d_starts: Array  # (n_points, batch, size): of each sample, by the module behind
