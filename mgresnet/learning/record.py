"""One row about a step of training."""

import math
from typing import Any, NamedTuple, Self

from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.learning.ladder import SERIAL
from mgresnet.learning.oracle import Both, FirstOrder
from mgresnet.learning.state import TrainState
from mgresnet.mgrit.solver import Status

NOT_ESTIMATED: Any = GradientError(*[None] * 3)  # type: ignore[arg-type]


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
    plans : Both of Plan, or None
        How each solve was done, where that was chosen; prints as coarse operator,
        interval m and iterations k, or "exact".
    relative_residuals : Both of float, or None
        The residuals beside the states, or adjoints: what ``tolerance`` is for.
    lost : str
        What is not finite any more if the status is NON_FINITE: layer and rank.
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
    plans: Any = None
    lost: str = ""
    relative_residuals: Any = None

    @classmethod
    def of(cls, found: FirstOrder, epoch: int, state: TrainState) -> Self:
        """What an oracle has found, with the norm, and the state after the update."""
        info, residuals, relative = found.info, Both(None, None), None
        error, loss = found.error or NOT_ESTIMATED, found.value
        finite = math.isfinite(found.value) and math.isfinite(found.norm or 0.0)
        status = Status.CONVERGED if finite else Status.NON_FINITE
        if info is not None:
            ways = (info.forward, info.adjoint)
            residuals, loss = Both(*(way.final_residual for way in ways)), info.loss
            relative = Both(*(way.relative_residual for way in ways))
            statuses = (status, *(way.status for way in ways))
            status = max(statuses, key=list(Status).index)
        return cls(
            step=state.step - 1,
            epoch=epoch,
            value=found.value,
            loss=loss,
            gradient_norm=math.nan if found.norm is None else found.norm,
            gradient_error=error.total,
            forward_error=error.forward,
            adjoint_error=error.adjoint,
            forward_residual=residuals.forward,
            adjoint_residual=residuals.adjoint,
            forward_iterations=found.iterations.forward,
            adjoint_iterations=found.iterations.adjoint,
            status=status,
            seconds=dict(found.seconds),
            state=state,
            plans=found.plans,
            relative_residuals=relative,
        )

    @property
    def params(self) -> Any:
        """Parameters after the update, of this rank's layers."""
        return self.state.params

    def __repr__(self) -> str:
        counts = (self.forward_iterations, self.adjoint_iterations)
        names = ["serial" if n == SERIAL else str(n) for n in counts]
        how, (forward, adjoint) = "iterations", self.plans or names
        if self.plans:
            how = "plans"
        error = self.gradient_error
        estimated = "" if error is None else f"error {error:.1e}  "
        lost = f": {self.lost}" if self.lost else ""
        return (
            f"step {self.step}  epoch {self.epoch}  loss {self.loss:.3e}  "
            f"gradient {self.gradient_norm:.1e}  {estimated}"
            f"{how} {forward} + {adjoint}  {self.status.name}{lost}"
        )
