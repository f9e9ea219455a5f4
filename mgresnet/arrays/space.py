"""The space of parameters and gradients: dot products and norms over ranks."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mgresnet.arrays.trees import Array, Tree, global_dot, global_norm


def _all_here(values: Array) -> Array:
    """Rows of the only rank."""
    return values


def _as_it_is(tree: Tree) -> Tree:
    """What a rank owns already."""
    return tree


class Space(NamedTuple):
    """Trees of which every rank owns a part, with a dot product; see `space`.

    Parameters
    ----------
    gather : callable, or a tuple with one for each network of a chain
        Joins the ranks' arrays along axis 0 in layer order, rows that several ranks
        hold once; every rank gets the whole.
    own : callable
        Part of a tree that this rank owns.
    """

    gather: Any = _all_here
    own: Callable[[Tree], Tree] = _as_it_is

    def dot(self, a: Tree, b: Tree) -> float:
        """Inner product over all entries on all ranks, the same bits on every rank.

        All ranks call this together.  It is taken row by row, whoever holds them, so
        that it has the same bits for any number of ranks.
        """
        return global_dot(self.own(a), self.own(b), self.gather)

    def norm(self, a: Tree) -> float:
        """2-norm over all entries on all ranks; see `dot`."""
        return global_norm(self.own(a), self.gather)


SERIAL = Space()
