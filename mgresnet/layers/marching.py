"""Marches of layers that step one at a time in plain NumPy, samples first.

`Explicit` and `Stepwise` say what one step does, and its transpose; these are their
marching methods.  The gradient of a step needs its state alone, so nothing is noted on
a tape; where states are not known they are computed again, an interval at a time.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.handwritten import parameters_from
from mgresnet.layers.steps import Steps


class Stepping(Protocol):
    """What a layer says of one step, for states (batch, *state_shape)."""

    @property
    def sample_block(self) -> int:
        """As in `Layer`."""

    def step(self, steps: Steps, n: int, u: Array) -> Array:
        """State behind step n."""

    def pull_back(
        self, steps: Steps, n: int, u: Array, g: Array
    ) -> tuple[Array, Array, list[Array]]:
        """Gradients of <g, step> for theta, for u, and for the inputs of every stage.

        The last are (batch, *input_shape) each, or there are none.
        """


class Samples(NamedTuple):
    """Samples that are stepped together, filled up with zeros to a whole block."""

    place: slice
    n_zeros: int

    def take(self, values: Array) -> Array:
        """Contiguous (batch, ...) of values (..., batch)."""
        some = np.moveaxis(values[..., self.place], -1, 0)
        if self.n_zeros:
            zeros = np.zeros((self.n_zeros, *some.shape[1:]), some.dtype)
            return np.concatenate([some, zeros])
        return np.ascontiguousarray(some)

    def put(self, some: Array, values: Array) -> None:
        """Write (batch, ...) into values (..., batch)."""
        some = some[: len(some) - self.n_zeros]
        values[..., self.place] = np.moveaxis(some, 0, -1)


def march(
    layer: Stepping, steps: Steps, starts: Array, u: Array, forcing: Array, tape: Array
) -> None:
    """Fill every block with what follows its start (see `Layer.march`)."""
    per_block, columns = _per_block(steps, starts, u)
    for samples in _together(layer, starts.shape[-1]):
        some = _of(steps, samples)
        now = samples.take(starts[0])
        for block, i in np.ndindex(len(starts), per_block):
            if i == 0:
                now = samples.take(starts[block])
            now = _like(now, layer.step(some, block * per_block + i, now))
            if forcing.size:
                now += samples.take(forcing[block, i])
            if i + 1 in columns:
                samples.put(now, u[block, columns.index(i + 1)])


def march_back(
    layer: Stepping,
    steps: Steps,
    starts: Array,
    w: Array,
    forcing: Array,
    states: Array,
    tape: Array,
    d_theta: Array,
    d_inputs: Array,
) -> None:
    """Fill every block of adjoints, backwards (see `Layer.march_back`)."""

    def known(samples: Samples, some: Steps, n: int) -> Array:
        return samples.take(states[n])

    _back(layer, known, steps, starts, w, forcing, d_theta, d_inputs)


def retrace(
    layer: Stepping,
    steps: Steps,
    starts: Array,
    w: Array,
    forcing: Array,
    points: Array,
    ends: Array,
    d_theta: Array,
    d_inputs: Array,
) -> None:
    """Do the same where only some states are known (see `Layer.retrace`)."""
    k = steps.n // len(points)
    states: list[Array] = []

    def again(samples: Samples, some: Steps, n: int) -> Array:
        j, i = divmod(n, k)
        if i == k - 1:
            states[:] = [samples.take(points[j])]
            states.extend(_behind(layer, some.part(j * k, n + 1), states[0]))
            end = states.pop()
            if ends.size:
                samples.put(end, ends[j])
        return states[i]

    _back(layer, again, steps, starts, w, forcing, d_theta, d_inputs)


def _behind(layer: Stepping, steps: Steps, u: Array) -> Iterator[Array]:
    """States behind every step."""
    for n in range(steps.n):
        u = _like(u, layer.step(steps, n, u))
        yield u


def _back(
    layer: Stepping,
    state: Callable[[Samples, Steps, int], Array],
    steps: Steps,
    starts: Array,
    w: Array,
    forcing: Array,
    d_theta: Array,
    d_inputs: Array,
) -> None:
    """March back with ``state(samples, steps, n)`` at the start of step n."""
    per_block, columns = _per_block(steps, starts, w)
    per_group = steps.n // len(d_theta) if d_theta.size else 1
    d_theta[:] = 0
    for samples in _together(layer, starts.shape[-1]):
        some = _of(steps, samples)
        g = samples.take(starts[0])
        for block, i in np.ndindex(len(starts), per_block):
            if i == 0:
                g = samples.take(starts[block])
            n = steps.n - 1 - block * per_block - i
            d, d_u, d_x = layer.pull_back(some, n, state(samples, some, n), g)
            g = _like(g, d_u)
            if forcing.size:
                g += samples.take(forcing[block, i])
            if d_theta.size:
                d_theta[n // per_group] += d
            for q, d_q in enumerate(d_x if d_inputs.size else []):
                samples.put(d_q, d_inputs[n, q])
            if i + 1 in columns:
                samples.put(g, w[block, columns.index(i + 1)])


def _like(before: Array, values: Any) -> Array:
    """New contiguous array of the same type of numbers, whatever a function made."""
    return np.array(values, before.dtype, order="C")


def _per_block(steps: Steps, starts: Array, u: Array) -> tuple[int, range]:
    """Steps in a block, and those behind which a column is to be filled."""
    per_block = steps.n // len(starts)
    if not u.size:
        return per_block, range(0)
    every = per_block // u.shape[1]
    return per_block, range(every, per_block + 1, every)


def _together(layer: Stepping, batch: int) -> Iterator[Samples]:
    """Samples that are stepped together: a block each, or the whole batch."""
    block = layer.sample_block or batch
    for start in range(0, batch, block):
        stop = min(start + block, batch)
        yield Samples(slice(start, stop), start + block - stop)


def _of(steps: Steps, samples: Samples) -> Steps:
    """Steps with their inputs for some samples, (n, q, batch, *input_shape)."""
    if not steps.inputs.size:
        return steps
    inputs = [[samples.take(x) for x in row] for row in steps.inputs]
    return steps._replace(inputs=np.asarray(inputs))


# --- What both kinds of layer have from what the person wrote ------------------------

state_shape = property(lambda layer: tuple(layer.written.state_shape))
input_shape = property(lambda layer: getattr(layer.written, "input_shape", None))
n_params = property(lambda layer: int(layer.written.n_params))
sample_block = property(lambda layer: getattr(layer.written, "sample_block", 0))


def init(layer: Any, rng: np.random.Generator, n_layers: int) -> Array:
    """Initial parameters, shape (n_layers, n_params)."""
    return parameters_from(layer.written, rng, n_layers)


def tape_shape(layer: Any, scheme: Any) -> tuple[int, ...]:
    """Nothing is noted."""
    return (0,)
