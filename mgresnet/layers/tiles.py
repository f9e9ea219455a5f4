"""Marches of convolutional layers, a tile of images at a time.

Samples go through all layers of a block tile by tile, as images in workspace.  Nothing
is noted on the way: what the way back needs is computed again, which costs less than to
keep it in memory.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array, absent, whole_rows
from mgresnet.kernels import conv
from mgresnet.layers.image_rates import Function, Way, rate, rate_back, way_of
from mgresnet.layers.steps import Steps

TILE = 96  # samples that gradients are summed over at a time; whole rows of any type
CACHED = 2**20  # bytes of the images of a tile, if a row of samples has no more


def _plus(x: Array, h: float, weights: Array, rates: Array, y: Array) -> Array:
    """X + h sum_j weights[j] rates[j], in y unless there is nothing to add."""
    for weight, k in zip(weights.tolist(), rates, strict=False):
        if weight:
            conv.add(x, h * weight, k, y)
            x = y
    return x


class Tile(NamedTuple):
    """A function's steps through a tile of images, with the room for them."""

    f: Function
    steps: Steps
    way: Way
    rates: Array  # (n_stages, *images)
    inner: Array  # states at the stages

    @property
    def h(self) -> float:
        """Length of a step, with the sign that `rate` leaves out."""
        return -self.steps.length if self.f.transpose else self.steps.length

    def theta(self, n: int, i: int) -> Array:
        """Parameters of stage i of step n."""
        rows = self.steps.parameters(n)
        row: Array = rows[min(i, len(rows) - 1)]
        return row

    def part(self, n: int) -> "Tile":
        """Room for the first n images."""
        way = self.way.part(n)
        return self._replace(way=way, rates=self.rates[:, :n], inner=self.inner[:, :n])

    def stages(self, n: int, x: Array, last: bool) -> list[Array]:
        """States at the stages of step n, with all rates or all but the last."""
        a = self.steps.scheme.a
        states = []
        for i, row in enumerate(a):
            states.append(_plus(x, self.h, row[:i], self.rates, self.inner[i]))
            if last or i < len(a) - 1:
                rate(self.f, self.theta(n, i), states[i], self.rates[i], self.way)
        return states

    def step(self, n: int, x: Array, y: Array) -> None:
        """Y = state behind step n from x, which may be y."""
        self.stages(n, x, True)
        if _plus(x, self.h, self.steps.scheme.b, self.rates, y) is not y:
            y[:] = x

    def step_back(self, n: int, x: Array, w: Array, d: Array) -> None:
        """W = adjoint before step n from x, in place; d gets the gradient if any."""
        (a, b), states = self.steps.scheme, self.stages(n, x, False)
        for i in reversed(range(len(b))):
            c = np.multiply(w, self.h * float(b[i]), out=self.cotangent)
            seed = _plus(c, self.h, a[i + 1 :, i], self.rates[i + 1 :], c)
            theta = self.theta(n, i)
            rate_back(self.f, theta, states[i], seed, self.rates[i], d, self.way)
        _plus(w, 1.0, np.ones(len(b)), self.rates, w)

    @property
    def cotangent(self) -> Array:
        """Images of their own."""
        cotangent: Array = self.inner[-1]
        return cotangent


def _at_once(f: Function, n: int, dtype: np.dtype[np.floating]) -> int:
    """Number of images of a tile for n samples at most, in whole rows."""
    shape = f.images(conv.NEIGHBOURS, dtype)
    row = shape[0] * shape[-1]
    fitting = CACHED // (math.prod(shape) * dtype.itemsize)
    rows = max(1, min(fitting, TILE // row, -(-n // row)))
    return rows * conv.NEIGHBOURS


def _tiles(
    f: Function, steps: Steps, some: range, room: Array
) -> Iterator[tuple[Tile, int, int, Array]]:
    """Tiles with their first sample, how many there are, and the room that they use.

    The room (k, *images) is for whole rows of samples; few may fill fewer images.
    """
    n_images, lanes, dtype = room.shape[1], room.shape[-1], room.dtype
    n_stages = len(steps.scheme.b)
    rates, inner = (
        np.zeros((k, *room.shape[1:]), dtype) for k in (n_stages, n_stages + 1)
    )
    tile = Tile(f, steps, way_of(f, n_images, dtype), rates, inner)
    for first in range(some.start, some.stop, n_images * lanes):
        n = min(n_images * lanes, some.stop - first)
        used = -(-n // lanes)
        yield tile.part(used), first, n, room[:, :used]


def march(
    f: Function, steps: Steps, starts: Array, u: Array, forcing: Array, some: range
) -> None:
    """Fill every block of u with what follows its start, for some samples."""
    starts, u, forcing = map(whole_rows, (starts, u, forcing))
    per_block = steps.n // len(starts)
    every = per_block // u.shape[1]
    images = f.images(_at_once(f, len(some), u.dtype), u.dtype)
    room = np.zeros((1, *images), u.dtype)
    for tile, first, n, (x,) in _tiles(f, steps, some, room):
        for block, i in np.ndindex(len(starts), per_block):
            if i == 0:
                conv.read_images(starts[block], first, n, f.size, False, room[0])
            tile.step(block * per_block + i, x, x)
            if forcing.size:
                conv.read_images(forcing[block, i], first, n, f.size, True, room[0])
            if (i + 1) % every == 0:
                column = u[block, (i + 1) // every - 1]
                conv.write_images(room[0], f.size, column, first, n)


def pull_back(
    f: Function,
    steps: Steps,
    starts: Array,
    w: Array,
    forcing: Array,
    points: Array,
    ends: Array,
    d_theta: Array,
    some: range,
) -> None:
    """Fill every block of w, backwards, and add to the gradients, for some samples.

    Arrays are those of `mgresnet.layers.protocol.Layer.retrace`.
    """
    starts, w, forcing = map(whole_rows, (starts, w, forcing))
    points, ends = map(whole_rows, (points, ends))
    per_block, k = steps.n // len(starts), steps.n // len(points)
    every = per_block // w.shape[1] if w.size else per_block + 1
    per_group, dtype = steps.n // max(len(d_theta), 1), starts.dtype
    images = f.images(_at_once(f, len(some), dtype), dtype)
    room = np.zeros((k + 2, *images), dtype)
    for tile, first, n, (*x, adjoint) in _tiles(f, steps, some, room):
        for block, i in np.ndindex(len(starts), per_block):
            if i == 0:
                conv.read_images(starts[block], first, n, f.size, False, room[-1])
            layer = steps.n - 1 - block * per_block - i
            point, at = divmod(layer, k)
            if at == k - 1:
                conv.read_images(points[point], first, n, f.size, False, room[0])
                for j in range(k if ends.size else k - 1):
                    tile.step(point * k + j, x[j], x[j + 1])
                if ends.size:
                    conv.write_images(room[k], f.size, ends[point], first, n)
            d = d_theta[layer // per_group] if d_theta.size else absent(dtype)
            tile.step_back(layer, x[at], adjoint, d)
            if forcing.size:
                conv.read_images(forcing[block, i], first, n, f.size, True, room[-1])
            if (i + 1) % every == 0:
                column = w[block, (i + 1) // every - 1]
                conv.write_images(room[-1], f.size, column, first, n)
