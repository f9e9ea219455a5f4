"""Outputs and scores of a network under exact, layer-serial inference."""

from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import provides
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain
from mgresnet.network import Network
from mgresnet.parallel import as_time_comm
from mgresnet.solve.ahead import checked_inputs
from mgresnet.solve.objectives import Objective, check_targets
from mgresnet.solve.propagation import solve_forward
from mgresnet.solve.stages import slabs_of, trees_of


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
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional

    Returns
    -------
    ndarray, shape (batch, n_outputs)
        The same on every rank.
    """
    comm = as_time_comm(comm)
    given, slab = (net, params, inputs), slabs_of(net, options, comm)[-1]
    last = solve_forward(*given, options=options, comm=comm, keep="c-points").final
    outputs = np.empty((0, net.n_outputs), last.dtype)
    if slab.is_last:
        own = slab.own(trees_of(net, params)[-1])
        outputs = np.ascontiguousarray(slab.net.close(own, last))
    gathered: Array = comm.gather(outputs)
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
    targets : ndarray
        Labels (batch,) or outputs (batch, n_outputs).
    objective : SoftmaxCrossEntropy or LeastSquares
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional
    """
    comm = as_time_comm(comm)  # from here on an exception ends all ranks
    slab = slabs_of(net, options, comm)[0]
    own = slab.own(trees_of(net, params)[0])
    inputs = checked_inputs(slab, own, inputs)
    check_targets(objective, net.n_outputs, targets, len(inputs))
    provides("objective", objective, ("score",), "LeastSquares()")
    outputs = predict(net, params, inputs, options=options, comm=comm)
    loss, _ = objective.value_and_seed(outputs, targets)
    return Evaluation(loss, objective.score(outputs, targets))
