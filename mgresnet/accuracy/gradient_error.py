r"""How wrong a gradient is because its two solves were not exact, without exact solves.

The errors of states and adjoints at the C-points obey recursions that the coarse level
approximates, driven by the residuals that the solves left behind.  One coarse solve
forward and one back therefore estimate them: with u and w the current states and
adjoints, r and q their residuals summed over an interval, and G the coarse step,

.. math::

    V_{j+1} = G(V_j) + u_{j+1} + r_{j+1} - G(u_j), \qquad
    W_j = G'(V_j)^T W_{j+1} + w_j + q_j - G'(u_j)^T w_{j+1},

where W starts from the seed of the loss at the corrected last state.  The gradient of
the first layer of every interval, taken at V and W in place of u and w, samples the
gradient's error; layers behind the last C-point are computed in full.  The cost is that
of a few coarse solves.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mgresnet.accuracy.correction import (
    Corrected,
    corrected_adjoints,
    corrected_stage,
)
from mgresnet.accuracy.gradient_change import gradient_change, seed_of_before
from mgresnet.arrays.layout import Array, samples_last
from mgresnet.arrays.trees import global_norm, tree_map
from mgresnet.chain import Chain
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.solve.matching import check_solutions
from mgresnet.solve.objectives import Objective
from mgresnet.solve.reading import check_goal, close, refuse_every
from mgresnet.solve.solution import Solution
from mgresnet.solve.stages import (
    Solutions,
    columns,
    per_stage,
    slabs_of,
    space,
    trees_of,
)


class GradientError(NamedTuple):
    """Estimated 2-norm of the error of a gradient, and where it comes from."""

    total: float
    forward: float  # the states are inexact
    adjoint: float  # the adjoints are inexact for these states


def estimate_gradient_error(
    net: Network | Chain,
    params: Any,
    forward: Solution | Solutions,
    adjoint: Solution | Solutions,
    targets: Any,
    *,
    objective: Objective,
    options: Any,
    adjoint_options: Any = None,
    comm: Any = None,
) -> GradientError:
    """Estimate the error of the gradient that two inexact solutions give.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Whole network, or what this rank owns.
    forward, adjoint : Solution
        As in the `Info` of `value_and_gradient`.
    targets : ndarray
    objective : SoftmaxCrossEntropy or LeastSquares
    options : MGRITOptions
        Of the forward solve; for a chain one for all or one for each stage.
    adjoint_options : MGRITOptions, optional
        Of the adjoint solve, if it has another coarsening.
    comm : mpi4py communicator or TimeComm, optional

    Returns
    -------
    GradientError
        Divide by `global_norm` of the gradient for relative errors.
    """
    comm = as_time_comm(comm)
    both = options, options if adjoint_options is None else adjoint_options
    given: dict[str, Any] = {"net": net, "targets": targets}
    given |= {"objective": objective, "options": both}
    with agreement(comm, "estimate_gradient_error", given) as facts:
        facts["params"] = columns(net, params)
        slabs, ways = slabs_of(net, options, comm), (forward, adjoint)
        trees = zip(slabs, trees_of(net, params), strict=True)
        owned = [slab.own(tree) for slab, tree in trees]
        solutions = zip(*(per_stage(net, way) for way in ways), strict=True)
        for slab, own, (u, w) in zip(slabs, owned, solutions, strict=True):
            check_solutions(u, w, slab.net, own, slab.layers)
        n_samples = per_stage(net, forward)[0].states.shape[1]
        check_goal(net, objective, targets, n_samples)
    return estimate(net, owned, forward, adjoint, targets, objective, both, comm)


@np.errstate(over="ignore", invalid="ignore")  # the estimate is then not finite
def estimate(
    net: Network | Chain,
    owned: Sequence[Params],
    forward: Any,
    adjoint: Any,
    targets: Any,
    objective: Objective,
    options: tuple[Any, Any],
    comm: TimeComm,
    samples: slice = slice(None),
) -> GradientError:
    """Result of `estimate_gradient_error`, from what was checked.

    Of some samples of the batch alone it costs less: these stand for all.
    """
    if forward.final_residual == 0.0 and adjoint.final_residual == 0.0:
        return GradientError(0.0, 0.0, 0.0)
    refuse_every(
        net, "errors of gradients are estimated", "compare with an exact gradient"
    )
    slabs, backs = (slabs_of(net, o, comm) for o in options)
    ways = (
        [solution.for_samples(samples) for solution in per_stage(net, way)]
        for way in (forward, adjoint)
    )
    there: list[Corrected] = []
    for slab, own, u, w, back in zip(slabs, owned, *ways, backs, strict=True):
        there.append(corrected_stage(slab, own, u, w, back, there))
    corrected = forward.final.copy()
    corrected[samples] = there[-1].last
    far: Any = [
        close(slabs[-1], owned[-1], end, targets, objective)
        for end in (forward.final, corrected)
    ]
    (_, d_head_now, seed_now), (_, d_head, seed) = far
    seed_now, seed = (samples_last(s[samples], s.ndim - 1) for s in (seed_now, seed))
    at_far = None if d_head is None else d_head - d_head_now
    nothing = None if d_head is None else np.zeros_like(d_head)
    d_both = _changes(there, True, seed, at_far)
    d_alone = _changes(there, False, seed_now, nothing)
    if forward.final_residual == 0.0:  # exact, so that only rounding is left
        d_both = d_alone
    if adjoint.final_residual == 0.0:
        d_alone = tree_map(np.zeros_like, d_alone)
    gather = space(net, options[0], comm).gather  # parts may have rows of their own
    share = len(corrected) / len(corrected[samples])
    return GradientError(
        total=share * global_norm(d_both, gather),
        forward=share * global_norm(tree_map(np.subtract, d_both, d_alone), gather),
        adjoint=share * global_norm(d_alone, gather),
    )


def _changes(
    stages: list[Corrected], at_v: bool, seed: Array, d_head: Array | None
) -> Any:
    """Estimated change of the gradient, at corrected states or for adjoints alone."""
    changes: list[Params] = []
    for stage in reversed(stages):
        then = corrected_adjoints(stage, at_v, seed)
        part = gradient_change(stage, at_v, then)
        changes.insert(0, part._replace(head=d_head))
        d_head = None
        if stage is not stages[0]:
            state = stages[len(stages) - len(changes) - 1].tail[-1]
            seed = np.zeros_like(state)
            if stage.slab.is_first:
                d_inputs = seed_of_before(stage, at_v, then)
                rows = d_inputs.reshape(len(d_inputs), *state.shape[:-1])
                seed[:] = np.moveaxis(rows, 0, -1)
    return changes[0] if len(changes) == 1 else tuple(changes)
