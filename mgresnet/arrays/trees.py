"""Trees: NamedTuples whose fields are arrays or None, as the parameters of a network.

None marks what this rank does not hold.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import floats, provides

Array: TypeAlias = NDArray[Any]
Tree: TypeAlias = tuple[Array | None, ...]
Gather: TypeAlias = Callable[[Array], Array]
T = TypeVar("T", bound=Tree)


def tree_map(function: Callable[..., Array], first: T, *others: Tree) -> T:
    """Apply `function` to the trees field by field; None stays None."""
    fields: list[Array | None] = []
    trees = [_arrays(tree) for tree in (first, *others)]
    for index, leaves in enumerate(zip(*trees, strict=True)):
        shapes = [None if leaf is None else leaf.shape for leaf in leaves]
        if len(set(shapes)) > 1:
            raise ValueError(
                f"field {index} has shapes {shapes}: need the same in all trees; "
                "cut gradient, state and parameters to the same slab of rows"
            )
        fields.append(None if leaves[0] is None else function(*leaves))
    make: Any = type(first)
    tree: T = make(*fields)
    return tree


def row_squares(field: Array) -> Array:
    """Return the squared 2-norm of every row, in double precision.

    The squares lie in a fresh array in C order, so the order of additions in a
    row depends on its length alone, not on the slab or its place in memory.
    """
    rows = np.atleast_2d(field)
    squares = np.square(rows, dtype=np.float64, order="C")
    sums: Array = squares.reshape(len(rows), math.prod(rows.shape[1:])).sum(axis=1)
    return sums


def global_norm(tree: Tree, gather: Gather) -> float:
    r"""Return the 2-norm over all entries on all ranks, the same on every rank.

    Notes
    -----
    :math:`\|g\| = (\sum_r \|g_r\|^2)^{1/2}` over rows r; a vector is one row.
    Ranks exchange squared norms of rows, not of slabs, and all sum the same
    list; hence the result does not depend, not even in the last bit, on who
    holds which rows. It is infinite or NaN if an entry is, or is too large.
    A row held by several ranks counts as often: let `gather` drop the copies.
    """
    with np.errstate(over="ignore"):
        squares = [row_squares(x) for x in _arrays(tree) if x is not None]
        rows = gather(np.concatenate([np.zeros(0), *squares]))
        return math.sqrt(np.sum(rows))


def _arrays(tree: Any) -> list[Array | None]:
    """Fields of a tree, checked."""
    provides("a tree", tree, ("_fields",), "Params(opening, body, head)")
    fields = zip(tree._fields, tree, strict=True)
    return [x if x is None else floats(name, x) for name, x in fields]
