"""Forward and backward propagation of a batch through a network, parallel over layers.

Thin on purpose: check what is given, pose a problem for the engine, keep what is asked;
stage by stage for a chain of networks.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mgresnet.arrays.checks import as_array, check_finite
from mgresnet.arrays.layout import Array, absent
from mgresnet.arrays.trees import tree_map
from mgresnet.chain import Chain
from mgresnet.network import Network, Params
from mgresnet.parallel import as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.solve.ahead import (
    between,
    checked_first,
    checked_inputs,
    pose,
    propagate,
)
from mgresnet.solve.back import Back, open_back, seeds
from mgresnet.solve.matching import check_solution, checksum
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution
from mgresnet.solve.stages import (
    Solutions,
    columns,
    common_inputs,
    per_stage,
    slabs_of,
    together,
    trees_of,
)


def solve_forward(
    net: Network | Chain,
    params: Any,
    inputs: Array,
    *,
    options: Any = None,
    comm: Any = None,
    guess: Any = None,
    first: Array | None = None,
    keep: str = "all",
) -> Any:
    """Propagate a batch through all layers.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        ``body`` whole or the rows of this rank.
    inputs : ndarray, shape (batch, *input_shape)
        Features if the network has an opening, else the first state.  Rank 0 uses the
        values, other ranks the number of samples and the dtype.  If every layer takes
        inputs: (batch, depth, *input_shape), or (batch, n_local, *input_shape) for the
        layers of this rank.
    options : MGRITOptions, optional
        Serial propagation by default.  For a chain one for all or one for each stage.
    comm : mpi4py communicator or TimeComm, optional
        Ranks in layer order; serial by default.
    guess : Solution or ndarray, shape (n_local + 1, batch, *state_shape), optional
        First approximation, in place of ``options.initial_guess``.
    first : ndarray, shape (batch, *state_shape), optional
        First state if every layer takes inputs; zero by default.
    keep : {"all", "c-points", "auto"}
        Which states the solution has: all, those at C-points, or all if those of
        this rank's layers take at most 256 MiB.  The numbers are the same.

    Returns
    -------
    Solution, or Solutions of a chain
        It owns what it was computed from: later changes of `params` or `inputs` in
        place change nothing in it.

    Raises
    ------
    ValueError, TypeError
        If shapes, dtypes or the number of ranks do not fit, or inputs are not finite.

    References
    ----------
    .. [1] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural
       Networks", SIAM J. Math. Data Sci. 2(1), 2020.
    """
    comm = as_time_comm(comm)
    given: dict[str, Any] = {"net": net}
    with agreement(
        comm, "solve_forward", given | {"options": options, "keep": keep}
    ) as facts:
        facts["params"] = columns(net, params)
        facts["inputs"] = common_inputs(net, inputs)
        slabs, trees = slabs_of(net, options, comm), trees_of(net, params)
        stages = zip(slabs, trees, strict=True)
        owned = [tree_map(np.array, slab.own(tree)) for slab, tree in stages]
        x = np.array(checked_inputs(slabs[0], owned[0], inputs))
        first = checked_first(slabs[0], first, x)
    guesses = per_stage(net, guess)
    return together(net, propagate_stages(slabs, owned, x, first, guesses, keep))


def propagate_stages(
    slabs: Sequence[Slab],
    owned: Sequence[Params],
    inputs: Array,
    first: Array | None,
    guesses: Sequence[Any],
    keep: str,
) -> list[Solution]:
    """Forward solutions of all stages, from what was checked."""
    found: list[Solution] = []
    x = inputs
    for slab, own, guess in zip(slabs, owned, guesses, strict=True):
        x = between(slab, x) if found else x
        found.append(propagate(pose(slab, own, x, first), guess, keep))
        x = found[-1].final
    return found


def solve_adjoint(
    net: Network | Chain,
    params: Any,
    forward: Solution | Solutions,
    seed: Array | None,
    *,
    options: Any = None,
    comm: Any = None,
    guess: Any = None,
    keep: str = "all",
    gradient: bool = False,
) -> Any:
    """Propagate the gradient with respect to the last state back through all layers.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Those of the forward solve, of which the solution has a copy.
    forward : Solution
        States at which the layers are linearised, from `solve_forward` with the same
        communicator and coarsening.
    seed : ndarray, shape (batch, *state_shape), or None
        dJ/du_N; only the last rank's is used, others may pass None.  If all states
        count, (n_local, batch, *state_shape) on every rank: what the state behind each
        of its layers adds; the forward solve has then kept all states.
    options : MGRITOptions, optional
        Serial propagation by default.  For a chain one for all or one for each stage.
    comm : mpi4py communicator or TimeComm, optional
    guess : Solution or ndarray, shape (n_local + 1, batch, *state_shape), optional
        First approximation, in layer order.
    keep : {"all", "c-points", "auto"}
        As in `solve_forward`.
    gradient : bool
        Find the gradient for the layers on the way; `parameter_gradient` hands it out.

    Returns
    -------
    Solution, or Solutions of a chain
        ``states[n]`` is dJ/du_n, in layer order.

    Raises
    ------
    ValueError, TypeError
        If shapes or dtypes do not fit, the forward solution is of another network, or
        the seed is not finite although its states are.
    """
    comm, solutions = as_time_comm(comm), per_stage(net, forward)
    given: dict[str, Any] = {"net": net, "options": options, "keep": keep}
    given |= {"gradient": gradient}
    known: dict[str, Any] = {}
    with agreement(comm, "solve_adjoint", given, known) as facts:
        if seed is not None:
            axes = as_array("seed", seed, "an array of floats").ndim
            known["number of axes of the seed"] = axes
        facts["params"] = columns(net, params)
        slabs, trees = slabs_of(net, options, comm), trees_of(net, params)
        for slab, tree, states in zip(slabs, trees, solutions, strict=True):
            check_solution("forward", states, slab.net, tree, slab.layers)
        facts["states"] = solutions[-1].final
        _check_seed(slabs[-1], solutions[-1], seed)
    guesses = per_stage(net, guess)
    stages = zip(slabs, solutions, guesses, strict=True)
    found: list[Solution] = []
    for slab, states, start in reversed([*stages]):
        if found and seed is not None:
            seed = seed.reshape(states.final.shape)
        last, forcing = seeds(slab, states, seed)
        back, none = Back(slab, states, last, forcing), absent(last.dtype)
        adjoint = back.propagate(start, keep, gradient, none)
        found.insert(0, replace(adjoint, along=checksum(states)))
        seed = None  # but where the stage before ends
        if slab.is_first and slab is not slabs[0]:
            _, seed = open_back(slab.net, states.own, states, found[0])
    return together(net, found)


def _check_seed(slab: Slab, forward: Solution, seed: Array | None) -> None:
    """Refuse NaN that does not come from the states, where the seed is used."""
    if seed is None or not np.isfinite(forward.final).all():
        return
    if slab.is_last or np.ndim(seed) == forward.states.ndim:
        check_finite(np.asarray(seed), "seed")
