"""What the head reads, on the last rank: the last state, or all states behind layers.

Where it reads every state, the last rank is given all of them, and hands their adjoints
back to the ranks whose layers they are behind.  So the head and the objective see the
same arrays on any number of ranks.
"""

from typing import Any

import numpy as np

from mgresnet.arrays.checks import provides
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain, networks_of
from mgresnet.network import Network, Params
from mgresnet.solve.objectives import Objective, check_targets, checked_seed
from mgresnet.solve.slab import Slab


def kept(slab: Slab, keep: str) -> str:
    """States that a solve has to keep so that the head can read them."""
    return keep if slab.net.read == "last" else "all"


def read(slab: Slab, states: Array) -> Array:
    """What the head reads of the states (n_local + 1, batch, *state_shape) of a rank.

    Returns
    -------
    ndarray, shape (batch, *state_shape), or (batch, depth, *state_shape)
    """
    if slab.net.read == "last":
        last: Array = states[-1]
        return last
    whole = slab.comm.gather(np.ascontiguousarray(states[1:]))
    return np.ascontiguousarray(np.moveaxis(whole, 0, 1))


def close(
    slab: Slab, params: Params, states: Array, targets: Any, objective: Objective
) -> tuple[float, Array | None, Array]:
    """Loss on every rank; on the last one gradient of the head; seed of the adjoint.

    Parameters
    ----------
    slab, params
    states : ndarray
        What `read` returns.
    targets, objective

    Returns
    -------
    value, d_head
    seed : ndarray, shape (batch, *state_shape), or (n_local, batch, *state_shape)
        As `solve_adjoint` takes it; zero where it is not used.
    """
    loss, d_head, d_states = 0.0, None, np.zeros_like(states)
    if slab.is_last:
        outputs = slab.net.close(params, states)
        loss, d_outputs = objective.value_and_seed(outputs, targets)
        d_outputs = checked_seed(objective, d_outputs, outputs)
        d_head, d_states = slab.net.close_back(params, states, d_outputs)
    total = float(slab.comm.sum(np.array([float(loss)]))[0])
    return total, d_head, _seed(slab, d_states)


def _seed(slab: Slab, d_states: Array) -> Array:
    """Seed of this rank, from the last rank's gradient for what was read."""
    if slab.net.read == "last":
        return d_states
    rows = np.moveaxis(d_states, 1, 0)  # every state of the batch
    sent = np.ascontiguousarray(rows if slab.is_last else rows[:0])
    seeds: Array = slab.comm.gather(sent)[slab.layers.start : slab.layers.stop]
    return seeds


def refuse_every(net: Network | Chain, what: str, instead: str) -> None:
    """Raise ValueError where the head reads every state."""
    if networks_of(net)[-1].read == "every":
        raise ValueError(
            f"{what} where the head reads the last state, that of this network reads "
            f"every state; {instead}"
        )


def check_goal(
    net: Network | Chain, objective: Objective, targets: Any, n_samples: int
) -> None:
    """Refuse an objective and targets that do not fit what the head reads."""
    provides("objective", objective, ("value_and_seed", "check"), "LeastSquares()")
    last = networks_of(net)[-1]
    steps = getattr(objective, "steps", None)
    if (last.read == "every") != (steps is not None):
        needed = {
            "last": 'an objective for the last state, or Network(.., read="every")',
            "every": f"EveryStep({type(objective).__name__}(..), {last.depth})",
        }[last.read]
        raise ValueError(
            f"objective is {objective!r}, the network reads {last.read!r}; needed "
            f"{needed}"
        )
    if steps is not None and steps != last.depth:
        raise ValueError(
            f"objective is for {steps} steps, the network has {last.depth}; needed as "
            "many"
        )
    check_targets(objective, net.n_outputs, targets, n_samples)
