"""Training as a generator: one gradient, one update, one record per batch."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from mgresnet.data import Batch
from mgresnet.learning.gradients import value_and_gradient
from mgresnet.learning.objectives import Objective
from mgresnet.learning.optimisers import Transform, apply_updates, global_norm
from mgresnet.learning.regularisation import Regularisation
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.solve import local_slab


class Record(NamedTuple):
    """One step of training; the same numbers on every rank but `params`, `seconds`.

    Losses and gradient are those before the update, `params` those after it.
    """

    step: int
    epoch: int
    value: float  # loss and regularisation
    loss: float
    gradient_norm: float
    forward_residual: float  # of the states the gradient was taken at
    adjoint_residual: float
    forward_iterations: int
    adjoint_iterations: int
    status: Status  # worse of the two solves
    seconds: dict[str, float]  # by phase
    params: Params  # what this rank owns


def train(
    net: Network,
    params: Params,
    batches: Iterable[Any],
    *,
    optimiser: Transform,
    objective: Objective,
    forward: MGRITOptions | None = None,
    adjoint: MGRITOptions | None = None,
    comm: Any = None,
    regularisation: Regularisation | None = None,
) -> Iterator[Record]:
    """Train on one batch after the other.

    Parameters
    ----------
    net : Network
    params : Params
        Whole network, or what this rank owns; not modified.
    batches : iterable of Batch or of (inputs, targets)
        The same on every rank, as `batches` makes them.
    optimiser : Transform
    objective : SoftmaxCrossEntropy or LeastSquares
    forward, adjoint : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional
    regularisation : Regularisation, optional

    Yields
    ------
    Record
        After a record with status NON_FINITE the training ends.

    Notes
    -----
    Parameters, gradients and the optimiser's state live only on the rank that owns
    their layers.
    """
    comm = as_time_comm(comm)
    forward = forward or MGRITOptions.serial()
    local = local_slab(net, params, options=forward, comm=comm)
    gradient_options = {
        "objective": objective,
        "forward": forward,
        "adjoint": adjoint,
        "comm": comm,
        "regularisation": regularisation,
    }
    return _steps(net, local, batches, optimiser, comm, gradient_options)


def _steps(
    net: Network,
    params: Params,
    batches: Iterable[Any],
    optimiser: Transform,
    comm: TimeComm,
    gradient_options: dict[str, Any],
) -> Iterator[Record]:
    state = optimiser.init(params)
    for step, batch in enumerate(batches):
        inputs, targets, epoch = Batch(*batch)
        value, gradient, info = value_and_gradient(
            net, params, inputs, targets, **gradient_options
        )
        started = time.perf_counter()
        norm = global_norm(gradient, comm.gather)
        update, state = optimiser.update(gradient, state, params, comm.gather)
        params = apply_updates(params, update)
        seconds = {**info.seconds, "update": time.perf_counter() - started}
        statuses = (info.forward.status, info.adjoint.status)
        yield Record(
            step=step,
            epoch=epoch,
            value=value,
            loss=info.loss,
            gradient_norm=norm,
            forward_residual=info.forward.final_residual,
            adjoint_residual=info.adjoint.final_residual,
            forward_iterations=info.forward.iterations,
            adjoint_iterations=info.adjoint.iterations,
            status=max(statuses, key=list(Status).index),
            seconds=seconds,
            params=params,
        )
        if Status.NON_FINITE in statuses:
            return
