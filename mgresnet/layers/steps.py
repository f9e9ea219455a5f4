"""What consecutive steps of equal length know: parameters, inputs, length, scheme."""

from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.coarse import CoarseOperator
from mgresnet.layers.scheme import Scheme
from mgresnet.parallel.comm import TimeComm
from mgresnet.parallel.shares import to_shares


class Steps(NamedTuple):
    """Consecutive steps of equal length.

    Parameters
    ----------
    n : int
        Number of steps.
    theta : ndarray, shape (n, n_moments, n_params)
        Parameters of every step: moments over the layers that it covers or, prepared
        by a layer, those of every stage.  One row if all steps share it.
    inputs : ndarray, shape (n, q, *input_shape, batch), or of size zero
        What differs from step to step and from sample to sample.
    h : float
        Length of a layer.
    span : int
        Layers that a step covers.
    scheme : Scheme or Cell
        How a step is taken.
    shared : bool
        Whether all steps have the one row of theta.
    """

    n: int
    theta: Array
    inputs: Array
    h: float
    span: int
    scheme: Any
    shared: bool = False

    @property
    def length(self) -> float:
        """Length H of a step."""
        return self.span * self.h

    def parameters(self, n: int) -> Array:
        """Moments or stages of step n."""
        row: Array = self.theta[0 if self.shared else n]
        return row

    def part(self, start: int, stop: int) -> Self:
        """Keep the steps start..stop-1."""
        theta = self.theta if self.shared else self.theta[start:stop]
        inputs = self.inputs[start:stop] if self.inputs.size else self.inputs
        how = self.h, self.span, self.scheme, self.shared
        return type(self)(stop - start, theta, inputs, *how)

    def take(self, which: Any) -> Self:
        """Keep some steps, for instance one of every few."""
        theta = self.theta if self.shared else np.ascontiguousarray(self.theta[which])
        inputs = self.inputs
        if inputs.size:
            inputs = np.ascontiguousarray(inputs[which])
        n = len(np.arange(self.n)[which])
        return self._replace(n=n, theta=theta, inputs=inputs)

    def coarsen(self, m: int, operator: CoarseOperator) -> Self:
        """One step for every m; m divides n."""
        theta, inputs = self.theta, self.inputs
        if not self.shared:
            theta = operator.moments(theta, m, self.span)
        if inputs.size:
            inputs = operator.inputs(inputs, m, self.span)
        span = self.span * m
        how = self.h, span, operator.scheme(span), self.shared
        return type(self)(self.n // m, theta, inputs, *how)

    def of_all(self, comm: TimeComm) -> Self:
        """Steps of all ranks in time order, with this rank's inputs."""
        n = len(comm.gather(np.zeros(self.n, np.int8))) if self.shared else 0
        theta = self.theta if self.shared else comm.gather(self.theta)
        return self._replace(n=n or len(theta), theta=theta)

    def for_samples(self, samples: Any) -> Self:
        """Keep the inputs of some samples."""
        if not self.inputs.size:
            return self
        return self._replace(inputs=np.ascontiguousarray(self.inputs[..., samples]))

    def with_share(self, samples: slice, comm: TimeComm, block: int) -> Self:
        """Inputs of all ranks' steps for this rank's share of some samples."""
        if not self.inputs.size:
            return self
        return self._replace(inputs=to_shares(self.inputs[..., samples], comm, block))


def at_stages(moments: Array, scheme: Scheme) -> Array:
    """Values at every stage along axis 1, or one entry for all stages.

    The first moment is the mean, a second one the slope, which counts as far as a stage
    is off the middle.
    """
    if moments.size == 0 or moments.shape[1] == 1:
        return moments
    shifts = scheme.shifts.astype(moments.dtype).reshape(-1, *[1] * (moments.ndim - 2))
    return moments[:, :1] + shifts * moments[:, 1:]
