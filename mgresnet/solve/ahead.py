"""A batch that is to be propagated forward, as the engine sees it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import as_array, check_finite, check_states
from mgresnet.arrays.layout import Array, absent, samples_first, samples_last
from mgresnet.arrays.memory import rows
from mgresnet.mgrit.line import Line
from mgresnet.mgrit.solver import Outputs, Result, iterate
from mgresnet.network import Params
from mgresnet.parallel.shares import chunks
from mgresnet.solve.reading import kept, read
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution, as_solution, guess_points, keeps_all
from mgresnet.timeline.propagators import Forward


class Posed(NamedTuple):
    """A batch that is to be propagated, as the engine sees it."""

    slab: Slab
    own: Params  # this rank's
    inputs: Array  # as given
    layers: Forward
    first: Array  # (*state_shape, batch)

    def keeps_all(self, keep: str) -> bool:
        """Whether states of all layers are to be kept, the same on all ranks."""
        return keeps_all(keep, self.slab.most_layers, self.first)

    def solution(self, result: Result, spacing: int, layers: Forward) -> Solution:
        """Solution with what a way back wants to know."""
        known = {"inputs": self.inputs, "net": self.slab.net, "own": self.own}
        known["layers"] = layers
        return as_solution(result, self.slab.layers, spacing, backwards=False, **known)


def pose(
    slab: Slab,
    own: Params,
    inputs: Array,
    first: Array | None,
) -> Posed:
    """What the engine sees of inputs that are checked, and of a slab's parameters."""
    net, theta = slab.net, slab.theta(own)
    if net.layer.input_shape is None:
        shape = (len(inputs), *net.layer.state_shape)
        state = net.open(own, inputs) if slab.is_first else np.zeros(shape, theta.dtype)
        sequence = None
    else:
        opened = net.open(own, inputs)
        sequence = np.ascontiguousarray(np.moveaxis(opened, 0, -1)[:, None])
        shape = (len(inputs), *net.layer.state_shape)
        state = np.zeros(shape, theta.dtype) if first is None else first
    layers = slab.propagator(theta, sequence)
    return Posed(slab, own, inputs, layers, samples_last(state, len(shape) - 1))


def propagate(batch: Posed, guess: Solution | Array | None, keep: str) -> Solution:
    """Solve, and keep all states and a tape, or C-points."""
    slab, layers, outputs = batch.slab, batch.layers, None
    spacing = 1 if batch.keeps_all(keep) else slab.grid.spacing
    if spacing == 1:
        layers = layers.noting(batch.first.shape[-1])
        outputs = Outputs(layers, points_of(len(slab.layers), batch.first))
    result = iterate(
        batch.layers,
        batch.first,
        slab.grid.factors,
        slab.options,
        slab.comm,
        guess=guess_points(guess, slab.layers, slab.grid.spacing, batch.first),
        outputs=outputs,
        spacing=slab.grid.spacing,
    )
    return batch.solution(result, spacing, layers)


@np.errstate(over="ignore", invalid="ignore")  # shows in the outputs
def final_state(
    slabs: Sequence[Slab],
    owned: Sequence[Params],
    inputs: Array,
    guesses: Sequence[Any] = (),
) -> Array:
    """What the head reads, or this rank's slab's last state, from what was checked.

    Nothing else is kept where layers are propagated serially: samples go through them
    in chunks, and every rank hands a chunk on before it has the next.

    Returns
    -------
    ndarray, shape (batch, *state_shape), or (batch, depth, *state_shape)
    """
    x = inputs
    starts = guesses or [None] * len(slabs)
    for slab, own, guess in zip(slabs, owned, starts, strict=True):
        x = x if slab is slabs[0] else between(slab, x)
        batch = pose(slab, own, x, None)
        if slab.net.read == "every" or slab.options.iterates(slab.grid.factors):
            keep = kept(slab, "c-points")
            x = read(slab, propagate(batch, guess, keep).states)
        else:
            x = _pass_on(batch)
    return x


def _pass_on(batch: Posed) -> Array:
    """Last state of a batch that is propagated serially."""
    layers, first, comm = batch.layers, batch.first, batch.slab.comm
    none = absent(first.dtype)
    line = Line.of(layers, first, none, layers.n_steps, none)
    line.points[0] = first
    some = chunks(first.shape[-1], first[..., :1].nbytes, layers.sample_block)
    line.hand_on(some, comm)
    return samples_first(line.points[1], first.ndim - 1)


def checked_inputs(slab: Slab, own: Params, inputs: Array) -> Array:
    """Inputs of the first stage, of this rank's layers where these take some."""
    net, n, dtype = slab.net, len(slab.layers), np.asarray(own.body).dtype
    inputs = as_array("inputs", inputs, "an array of floats")
    if net.layer.input_shape is None:
        inputs = check_states(inputs, "inputs", net.input_shape, dtype)
        check_finite(inputs, "inputs")
        return inputs
    if inputs.ndim > 1 and inputs.shape[1] == net.depth:
        inputs = inputs[:, slab.layers.start : slab.layers.stop]
    inputs = check_states(inputs, "inputs", (n, *net.input_shape), dtype)
    check_finite(inputs, "inputs")
    if net.opening is not None and slab.comm.size > 1:
        raise ValueError(
            f"an opening in front of the inputs of every layer on {slab.comm.size} "
            "ranks; needed one rank, or inputs without an opening"
        )
    if net.opening is None and getattr(net.layer, "masked", False):
        _check_mask(inputs, slab.layers.start)
    return inputs


def _check_mask(inputs: Array, start: int) -> None:
    """Refuse a last feature that does not say of every step whether it counts."""
    mask = inputs[..., -1]
    known = (mask == 0.0) | (mask == 1.0)
    if not known.all():
        i, t = np.unravel_index(int(known.argmin()), known.shape)
        raise ValueError(
            f"the last feature of inputs is {mask[i, t]:g} in sample {i}, step "
            f"{start + t}, needed 1 where a step counts and 0 elsewhere; make inputs "
            "with padded, or the layer without masked=True"
        )


def checked_first(slab: Slab, first: Array | None, inputs: Array) -> Array | None:
    """First states as given, refused where the inputs of the first stage make them."""
    if first is None:
        return None
    if slab.net.layer.input_shape is None:
        raise ValueError(
            "first is given, but the layers take no inputs of their own; leave it out: "
            "inputs are the first state, or the opening makes it of them"
        )
    shape, n = slab.net.layer.state_shape, len(inputs)
    states = check_states(first, "first", shape, inputs.dtype, n)
    check_finite(states, "first")
    return states


def points_of(n_layers: int, state: Array) -> Array:
    """Room for the states of all layers."""
    return rows((n_layers + 1, *state.shape), state.dtype)


def between(slab: Slab, last: Array) -> Array:
    """Last states of a stage (batch, *state_shape) as the next one takes them."""
    return last.reshape(len(last), *slab.net.input_shape)
