"""One row about a step of training."""

from typing import Any, NamedTuple

from mgresnet.learning.controller import SERIAL
from mgresnet.mgrit.solver import Status


class Record(NamedTuple):
    """One step of training; prints as one line.

    Losses and gradient are those before the update, `state` and its parameters those
    after it.  All is the same on every rank but `state` and `seconds`.

    Parameters
    ----------
    step : int
        Number of the step, from 0.
    epoch : int
        Of the batch.
    value : float
        Objective of the batch: loss and penalties.
    loss : float
        Without penalties.
    gradient_norm : float
        2-norm over the parameters of all layers.
    gradient_error : float, or None
        Estimated error of the gradient, relative to its norm; None where nobody asked
        for an estimate, by `gradient_tolerance` or `check_every`.
    forward_error, adjoint_error : float, or None
        Its parts from inexact states, and from inexact adjoints.
    forward_residual, adjoint_residual : float, or None
        2-norm over the C-points of what the gradient was taken at; None for an oracle
        that solves nothing.
    forward_iterations, adjoint_iterations : int
        Coarse-grid corrections; SERIAL (-1): marched through all layers.
    status : Status
        The worse of both solves.  After NON_FINITE there is no further step.
    seconds : dict
        By phase; relax and coarse are within forward and adjoint.
    state : TrainState
        All that is needed to go on from here; never modified.
    """

    step: int
    epoch: int
    value: float
    loss: float
    gradient_norm: float
    gradient_error: float | None
    forward_error: float | None
    adjoint_error: float | None
    forward_residual: float | None
    adjoint_residual: float | None
    forward_iterations: int
    adjoint_iterations: int
    status: Status
    seconds: dict[str, float]
    state: Any

    @property
    def params(self) -> Any:
        """Parameters after the update, of this rank's layers."""
        return self.state.params

    def __repr__(self) -> str:
        counts = (self.forward_iterations, self.adjoint_iterations)
        forward, adjoint = ("serial" if n == SERIAL else str(n) for n in counts)
        error = self.gradient_error
        estimated = "" if error is None else f"error {error:.1e}  "
        return (
            f"step {self.step}  epoch {self.epoch}  loss {self.loss:.3e}  "
            f"gradient {self.gradient_norm:.1e}  {estimated}"
            f"iterations {forward} + {adjoint}  {self.status.name}"
        )
