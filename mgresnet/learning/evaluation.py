"""Outputs and scores of a network under exact, layer-serial inference."""

from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.learning.objectives import Objective
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.slab import checked_inputs, columns, local_slab
from mgresnet.solve import ForwardProblem, forward_problem


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
    forward_residual: float
    adjoint_residual: float
    gradient_error: float  # estimated, relative, of the last step
    seconds: float


def predict(
    net: Network,
    params: Params,
    inputs: Array,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
) -> Array:
    """Outputs of the network, by exact propagation unless the options say otherwise.

    Parameters
    ----------
    net : Network
    params : Params
        Whole network, or what this rank owns.
    inputs : ndarray, shape (batch, n_features)
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional

    Returns
    -------
    ndarray, shape (batch, n_outputs)
        The same on every rank.
    """
    comm = as_time_comm(comm)
    options = options or MGRITOptions.serial()
    given = {"net": net, "params": columns(params), "inputs": inputs}
    with agreement(comm, "predict", given | {"options": options}):
        problem = _problem(net, params, inputs, options, comm)
    return _outputs(net, params, problem, options, comm)


def _problem(
    net: Network, params: Params, inputs: Any, options: MGRITOptions, comm: TimeComm
) -> ForwardProblem:
    """Check what `predict` was given, and pose the problem."""
    local = local_slab(net, params, options=options, comm=comm)
    inputs = checked_inputs(net, params, inputs)
    return forward_problem(net, local, inputs, options, comm, None)


def _outputs(
    net: Network,
    params: Params,
    problem: ForwardProblem,
    options: MGRITOptions,
    comm: TimeComm,
) -> Array:
    """Outputs on every rank."""
    last = problem.solve(options, comm).final
    outputs = np.empty((0, net.n_outputs), last.dtype)
    if comm.rank == comm.size - 1:
        outputs = np.ascontiguousarray(net.close(params, last))
    gathered: Array = comm.gather(outputs)
    return gathered


@np.errstate(over="ignore", invalid="ignore")  # shows in the loss
def evaluate(
    net: Network,
    params: Params,
    inputs: Array,
    targets: Any,
    *,
    objective: Objective,
    options: MGRITOptions | None = None,
    comm: Any = None,
) -> Evaluation:
    """Loss and score of `predict`, the same on every rank.

    Parameters
    ----------
    net : Network
    params : Params
        Whole network, or what this rank owns.
    inputs : ndarray, shape (batch, n_features)
    targets : ndarray
        Labels (batch,) or outputs (batch, n_outputs).
    objective : SoftmaxCrossEntropy or LeastSquares
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional
    """
    comm = as_time_comm(comm)
    options = options or MGRITOptions.serial()
    given = {"net": net, "params": columns(params), "inputs": inputs}
    given |= {"targets": targets, "objective": objective, "options": options}
    with agreement(comm, "evaluate", given):
        objective.check(net.n_outputs, targets, len(inputs))
        problem = _problem(net, params, inputs, options, comm)
    outputs = _outputs(net, params, problem, options, comm)
    loss, _ = objective.value_and_seed(outputs, targets)
    return Evaluation(loss, objective.score(outputs, targets))
