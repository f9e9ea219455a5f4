"""Parts of a state that several ranks had, put together for the layers of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mgresnet.learning.points import Points, join_points
from mgresnet.learning.state import is_tree, like
from mgresnet.network import Params
from mgresnet.solve.slab import Slab


def join(
    values: Sequence[Any], ranges: list[list[range]], slabs: list[Slab], chain: bool
) -> Any:
    """Value of this rank from those of ranks that had its layers between them.

    Parameters
    ----------
    values : sequence
        One of each of these ranks: trees like the parameters, and `Points`, in nested
        tuples and lists.  All else is taken from the first one.
    ranges : list of list of range
        Layers of each of these ranks, in every network.
    slabs : list of Slab
        Of this rank, in every network.
    chain : bool
        Whether trees are tuples of Params.
    """
    first = values[0]
    if is_tree(first, len(slabs) if chain else None):
        trees = [value if chain else (value,) for value in values]
        parts = [
            _rows([tree[i] for tree in trees], [r[i] for r in ranges], slab)
            for i, slab in enumerate(slabs)
        ]
        return tuple(parts) if chain else parts[0]
    if isinstance(first, Points):
        i = first.stage
        return join_points(values, [r[i] for r in ranges], slabs[i].layers)
    if not isinstance(first, tuple | list):
        return first
    columns = [
        join(column, ranges, slabs, chain) for column in zip(*values, strict=True)
    ]
    return like(first, columns)


def _rows(parts: list[Params], ranges: list[range], slab: Slab) -> Params:
    """Parameters of a slab from those of the slabs that have its layers."""
    pairs = sorted(zip(ranges, parts, strict=True), key=lambda pair: pair[0].start)
    body = pairs[0][1].body
    if not slab.net.control.shared:
        rows = []
        for layers, part in pairs:
            own = common(layers, slab.layers)
            rows.append(part.body[own.start - layers.start : own.stop - layers.start])
        body = np.concatenate(rows)
    opening, head = pairs[0][1].opening, pairs[-1][1].head
    return slab.own(Params(opening, body, head))


def common(a: range, b: range) -> range:
    """Layers that are in both."""
    return range(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
