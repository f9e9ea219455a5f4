r"""How gated cells step over one layer or several: stages of substeps.

A cell moves its state h towards a new value n, :math:`h' = h + g(s) (n - h)`, as far as
a gate s between 0 and 1 lets it.  A step over m layers may do that in stages.  Each
makes the gates from one state, that which the stage before came to, and goes from h
through all inputs that it has, a substep for each: one in all if these are means, else
as many as there are layers.  What k layers do with gates that stay is known exactly,
for any k,

.. math::

    g(s) = 1 - (1 - \Delta s)^k \quad \text{or, for implicit cells,} \quad
    g(s) = 1 - (1 + \Delta s)^{-k},

which is between 0 and 1, so that states remain bounded however long the step is.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array
from mgresnet.layers.coarse import CoarseOperator, average, left_point
from mgresnet.layers.steps import Steps


class Gating(NamedTuple):
    """Stages of a gated step.

    Parameters
    ----------
    halves : ndarray of int, shape (n_stages, n_substeps)
        Length of every substep of every stage, in half layers.
    own : bool
        Whether it is the cell's own step, of the length of all layers together.
    """

    halves: NDArray[np.int64]
    own: bool = False

    @property
    def n_stages(self) -> int:
        """Products with a state."""
        return len(self.halves)

    def layer(self, steps: Steps) -> float:
        """Length of what counts as a layer."""
        return steps.length if self.own else steps.h


OWN = Gating(np.array([[2]]), True)


@cache
def frozen(m: int) -> Gating:
    """M layers with the gates of the first state."""
    return Gating(np.array([[2 * m]]))


@cache
def midpoint(m: int) -> Gating:
    """M layers with the gates of a state in the middle."""
    return Gating(np.array([[m - 1], [2 * m]]))


@cache
def each(m: int) -> Gating:
    """Every layer with its own inputs, and the product with the first state."""
    return Gating(np.full((1, m), 2))


@cache
def each_twice(m: int) -> Gating:
    """The same with the product with the state that this comes to in the middle."""
    first = np.clip(m - 1 - 2 * np.arange(m), 0, 2)
    return Gating(np.stack([first, np.full(m, 2)]))


def all_inputs(inputs: Array, m: int, span: int) -> Array:
    """Inputs of all layers of an interval."""
    return inputs.reshape(-1, m * inputs.shape[1], *inputs.shape[2:])


GATED_OPERATORS: dict[str, CoarseOperator] = {
    "injection": CoarseOperator(left_point, left_point, lambda m: OWN),
    "mean": CoarseOperator(average, average, frozen),
    "matched": CoarseOperator(average, average, midpoint),
    "e": CoarseOperator(average, all_inputs, each),
    "e2": CoarseOperator(average, all_inputs, each_twice),
}


def check_gating(gating: Gating, implicit: bool, h: float) -> None:
    """Refuse to compose explicit steps that are longer than 1.

    Raises
    ------
    ValueError
        As powers of 1 - h s would then be of negative numbers.
    """
    if not (implicit or gating.own) and h > 1.0:
        raise ValueError(
            f"the step of the layers is {h:g}, and coarse operators other than "
            '"injection" need steps of at most 1 if gated cells are explicit; give '
            "final_time <= depth, or implicit=True"
        )
