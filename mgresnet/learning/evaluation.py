"""Outputs and scores of a network under exact, layer-serial inference."""

from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import provides
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.solve.ahead import checked_inputs, final_state
from mgresnet.solve.objectives import Objective
from mgresnet.solve.reading import check_goal
from mgresnet.solve.slab import Slab
from mgresnet.solve.stages import columns, common_inputs, slabs_of, trees_of


class Evaluation(NamedTuple):
    """Loss without regularisation, and score: accuracy, or R2 in regression."""

    loss: float
    score: float


class EpochRow(NamedTuple):
    """One line of the table: how good the weights are after an epoch."""

    epoch: int
    training: Evaluation  # as training sees it, through its inexact solves
    exact: Evaluation  # same data and weights under exact inference
    validation: Evaluation  # exact inference
    forward_residual: float | None  # relative, as tolerances are
    adjoint_residual: float | None
    gradient_error: float | None  # estimated, relative, of the last step
    seconds: float
    plans: str = ""  # of the last step, where these were chosen


def predict(
    net: Network | Chain,
    params: Any,
    inputs: Array,
    *,
    options: Any = None,
    comm: Any = None,
) -> Array:
    """Outputs of the network, by exact propagation unless the options say otherwise.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Whole network, or what this rank owns.
    inputs : ndarray, shape (batch, n_features)
        Without an opening (batch, *state_shape); if every layer takes inputs,
        (batch, depth, *input_shape).
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional

    Returns
    -------
    ndarray, shape (batch, n_outputs), or (batch, depth, n_outputs)
        The same on every rank; the second where the head reads every state.
    """
    comm = as_time_comm(comm)
    given: dict[str, Any] = {"net": net}
    with agreement(comm, "predict", given | {"options": options}) as facts:
        facts["params"] = columns(net, params)
        facts["inputs"] = common_inputs(net, inputs)
        problem = _checked(net, params, inputs, options, comm)
    return _outputs(*problem)


def _checked(
    net: Network | Chain, params: Any, inputs: Array, options: Any, comm: TimeComm
) -> tuple[list[Slab], list[Params], Array]:
    """What is propagated, and through what."""
    slabs = slabs_of(net, options, comm)
    owned = [s.own(tree) for s, tree in zip(slabs, trees_of(net, params), strict=True)]
    return slabs, owned, checked_inputs(slabs[0], owned[0], inputs)


def _outputs(slabs: list[Slab], owned: list[Params], inputs: Array) -> Array:
    """Outputs on every rank."""
    state, last = final_state(slabs, owned, inputs), slabs[-1]
    steps = state.shape[1 : state.ndim - len(last.net.layer.state_shape)]
    shape = *steps, last.net.n_outputs
    outputs = np.empty((0, *shape), state.dtype)
    if last.is_last:
        outputs = np.ascontiguousarray(last.net.close(owned[-1], state))
    gathered: Array = slabs[0].comm.gather(outputs)
    return gathered


@np.errstate(over="ignore", invalid="ignore")  # shows in the loss
def evaluate(
    net: Network | Chain,
    params: Any,
    inputs: Array,
    targets: Any,
    *,
    objective: Objective,
    options: Any = None,
    comm: Any = None,
) -> Evaluation:
    """Loss and score of `predict`, the same on every rank.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Whole network, or what this rank owns.
    inputs : ndarray, shape (batch, n_features)
        Without an opening (batch, *state_shape); if every layer takes inputs,
        (batch, depth, *input_shape).
    targets : ndarray
        Labels (batch,) or outputs (batch, n_outputs).
    objective : SoftmaxCrossEntropy or LeastSquares
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional
    """
    comm = as_time_comm(comm)
    given: dict[str, Any] = {"net": net}
    given |= {"targets": targets, "objective": objective, "options": options}
    with agreement(comm, "evaluate", given) as facts:
        facts["params"] = columns(net, params)
        facts["inputs"] = common_inputs(net, inputs)
        problem = _checked(net, params, inputs, options, comm)
        check_goal(net, objective, targets, len(problem[-1]))
        provides("objective", objective, ("score",), "LeastSquares()")
    outputs = _outputs(*problem)
    loss, _ = objective.value_and_seed(outputs, targets)
    return Evaluation(loss, objective.score(outputs, targets))
