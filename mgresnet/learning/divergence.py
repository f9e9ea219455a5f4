"""Where a solve has left the finite numbers."""

from typing import Any

import numpy as np

from mgresnet.chain import Chain
from mgresnet.network import Network
from mgresnet.parallel import ProcessGrid
from mgresnet.solve.gradient import Info
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution
from mgresnet.solve.stages import per_stage

NOWHERE = (2**62, 0, 0)


def where_lost(
    net: Network | Chain, info: Info | None, slabs: list[Slab], grid: ProcessGrid
) -> str:
    """Name the first layer whose state is not finite, and its rank, on all ranks.

    Parameters
    ----------
    net : Network or Chain
    info : Info, or None
        Of two solves, of which at least C-points are kept.
    slabs : list of Slab
    grid : ProcessGrid
        All of its ranks come here.
    """
    if info is not None:
        ahead = [*zip(slabs, per_stage(net, info.forward), strict=True)]
        if found := _first_of_all(ahead, grid):
            return f"the state behind {found}"
        back = [*zip(slabs, per_stage(net, info.adjoint), strict=True)]
        if found := _first_of_all(back, grid):
            return f"the adjoint, but no state, behind {found}"
    return "the loss, or the gradient's norm, is not finite"


def _first_of_all(stages: list[tuple[Slab, Solution]], grid: ProcessGrid) -> str:
    """Layer and rank of the first point of all that is not finite, or nothing."""
    place = NOWHERE
    for i, (slab, solution) in enumerate(stages):
        states, kept = solution.states, solution.kept
        finite = np.isfinite(states).all(axis=tuple(range(1, states.ndim)))
        if not finite.all() and place == NOWHERE:
            k = int(finite.argmin())
            exact = k > 0 and kept[k] == kept[k - 1] + 1
            place = i, slab.layers.start + int(kept[k]), int(exact)
    places: list[Any] = grid.gather(np.array([place])).tolist()
    rank = places.index(min(places, key=lambda one: one[:2]))
    i, n, exact = places[rank]
    if (i, n, exact) == NOWHERE:
        return ""
    network = f"network {i}, " if len(stages) > 1 else ""
    layer = f"layer {n - 1}" if n else "the opening"
    where = f"{network}{layer}{'' if exact or not n else ' or before'}"
    return f"{where} is not finite, on rank {rank}"
