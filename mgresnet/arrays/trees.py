"""Trees of arrays: parameters, gradients, updates; their norms over ranks.

A tree is a NamedTuple whose fields are arrays or None, as the parameters of a network,
or a tuple of trees; None marks what this rank does not hold.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import floats, provides
from mgresnet.arrays.memory import empty

Array: TypeAlias = NDArray[Any]
Tree: TypeAlias = tuple[Any, ...]
Gather: TypeAlias = Callable[[Array], Array]  # or one for each tree of a tuple
T = TypeVar("T", bound=Tree)


def tree_map(function: Callable[..., Array], first: T, *others: Tree) -> T:
    """Apply `function` to the trees field by field; None stays None."""
    make: Any = type(first)
    if make is tuple:
        parts = zip(first, *others, strict=True)
        whole: Any = tuple(tree_map(function, *part) for part in parts)
        return whole  # type: ignore[no-any-return]
    if not others:
        alone: T = make(*(x if x is None else function(x) for x in _arrays(first)))
        return alone
    fields: list[Array | None] = []
    trees = [_arrays(tree) for tree in (first, *others)]
    for index, leaves in enumerate(zip(*trees, strict=True)):
        shapes = [None if leaf is None else leaf.shape for leaf in leaves]
        if shapes.count(shapes[0]) < len(shapes):
            raise ValueError(
                f"field {index} has shapes {shapes}: need the same in all trees; "
                "cut gradient, state and parameters to the same slab of rows"
            )
        fields.append(None if leaves[0] is None else function(*leaves))
    tree: T = make(*fields)
    return tree


def tree_maps(
    n: int, function: Callable[..., Any], first: T, *others: Tree
) -> tuple[T, ...]:
    """Apply a function that returns n arrays: n trees."""
    tuples = tree_map(function, first, *others)
    return tuple(_take(tuples, i) for i in range(n))


def _take(tree: Any, i: int) -> Any:
    """Tree of entry i of the tuples in a tree."""
    if type(tree) is tuple:
        return tuple(_take(part, i) for part in tree)
    return type(tree)(*(x if x is None else x[i] for x in tree))


def row_squares(field: Array) -> Array:
    """Return the squared 2-norm of every row, in double precision."""
    return _row_products(field, field)


def _row_products(a: Array, b: Array) -> Array:
    """Return the inner product of every two rows, in double precision.

    The products lie in a fresh array in C order, so the order of additions in a
    row depends on its length alone, not on the slab or its place in memory.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    products = empty(a.shape, np.float64)
    np.multiply(a, b, dtype=np.float64, out=products)
    sums: Array = products.reshape(len(a), math.prod(a.shape[1:])).sum(axis=1)
    return sums


def global_norm(tree: Tree, gather: Any) -> float:
    r"""Return the 2-norm over all entries on all ranks, the same on every rank.

    Parameters
    ----------
    tree : NamedTuple of ndarray or None, or a tuple of them
    gather : callable, or a sequence with one for each tree of a tuple
        Joins the ranks' arrays along axis 0 in layer order.

    Notes
    -----
    :math:`\|g\| = (\sum_r \|g_r\|^2)^{1/2}` over rows r; a vector is one row.
    Ranks exchange squared norms of rows, not of slabs, and all sum the same
    list; hence the result does not depend, not even in the last bit, on who
    holds which rows. It is infinite or NaN if an entry is, or is too large.
    A row held by several ranks counts as often: let `gather` drop the copies.
    """
    if type(tree) is tuple:
        pairs = zip(tree, _for_each(gather, tree), strict=True)
        norms = [global_norm(part, one) for part, one in pairs]
        return math.sqrt(sum(norm * norm for norm in norms))
    return math.sqrt(global_dot(tree, tree, gather))


def global_dot(a: Tree, b: Tree, gather: Any) -> float:
    """Return the inner product of two trees; see `global_norm`."""
    if type(a) is tuple:
        parts = zip(a, b, _for_each(gather, a), strict=True)
        return sum(global_dot(*part) for part in parts)
    with np.errstate(over="ignore", invalid="ignore"):
        products = tree_map(_row_products, a, b)
        held = [x for x in products if x is not None]
        return float(np.sum(gather(np.concatenate([np.zeros(0), *held]))))


def spread(tree: T, like: Tree) -> T:
    """Repeat the entries of a tree until it has the shapes of another."""
    make: Any = type(tree)
    pairs = zip(tree, like, strict=True)
    if make is tuple:
        return cast(T, tuple(spread(*pair) for pair in pairs))
    parts = [x if x is None else np.broadcast_to(m, x.shape) for m, x in pairs]
    return cast(T, make(*parts))


def _for_each(gather: Any, trees: Tree) -> Any:
    """One gather for each tree."""
    return gather if isinstance(gather, tuple | list) else [gather] * len(trees)


def _arrays(tree: Any) -> list[Array | None]:
    """Fields of a tree, checked."""
    if not hasattr(type(tree), "_fields"):
        provides("a tree", tree, ("_fields",), "Params(opening, body, head)")
    fields = zip(tree._fields, tree, strict=True)
    return [x if x is None else floats(name, x) for name, x in fields]
