r"""Penalties on the parameters, and their gradients.

.. math::

    R = \tfrac{\gamma}{2} \Bigl(\|\theta_o\|^2 + \sum_n \|\theta_n\|^2\Bigr)
      + \tfrac{\gamma_h}{2} \|\theta_h\|^2
      + \tfrac{\gamma_d}{2} \sum_{n=1}^{N-1} \Bigl\|\frac{\theta_n - \theta_{n-1}}{h}
        \Bigr\|^2

with opening o, head h and residual layers n, as in the code of S. Günther et al., SIAM
J. Math. Data Sci. 2(1), 2020; there is no factor h in front of the sums.
"""

import math
from dataclasses import dataclass

import numpy as np

from mgresnet.arrays.checks import real
from mgresnet.arrays.trees import row_squares
from mgresnet.network import Params
from mgresnet.parallel import TimeComm


@dataclass(frozen=True)
class Regularisation:
    """Weights of the penalties.

    Parameters
    ----------
    tikhonov : float
        Size of the parameters of opening and layers.
    smoothness : float
        Their change over depth.
    head : float
        Size of the parameters of the head.
    """

    tikhonov: float = 0.0
    smoothness: float = 0.0
    head: float = 0.0

    def __post_init__(self) -> None:
        for name in ("tikhonov", "smoothness", "head"):
            weight = real(name, getattr(self, name))
            if not (math.isfinite(weight) and weight >= 0.0):
                raise ValueError(f"{name} is {weight}, needed a finite number >= 0")

    def value_and_gradient(
        self, params: Params, h: float, comm: TimeComm
    ) -> tuple[float, Params]:
        """Penalty of the whole network, and its gradient for this rank's parameters."""
        body = params.body
        before = np.diff(body, axis=0, prepend=comm.shift(body[-1:], body[:1]))
        after = np.diff(body, axis=0, append=comm.reversed().shift(body[:1], body[-1:]))
        rows = self.tikhonov * row_squares(body)
        rows += self.smoothness / h**2 * row_squares(before)
        d_body = self.tikhonov * body + self.smoothness / h**2 * (before - after)
        ends = [(params.opening, self.tikhonov), (params.head, self.head)]
        squares = [0.0 if p is None else g * float(row_squares(p)[0]) for p, g in ends]
        total = np.sum(comm.gather(rows)) + np.sum(comm.sum(np.array(squares)))
        d_opening, d_head = (None if p is None else g * p for p, g in ends)
        return 0.5 * float(total), Params(d_opening, d_body, d_head)
