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
from mgresnet.arrays.layout import Array
from mgresnet.arrays.trees import row_squares
from mgresnet.control import Shared
from mgresnet.network import Params
from mgresnet.parallel import TimeComm
from mgresnet.solve.slab import Slab


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

    def of_slab(self, slab: Slab, params: Params) -> tuple[float, Params]:
        """Penalty of the whole network, and its gradient for this rank's layers.

        Parameters
        ----------
        slab : Slab
        params : Params
            What this rank holds.  A row that all layers share counts once, with the
            first of them; coefficients of a spline count as the values they make.
        """
        theta, n = slab.theta(params), len(slab.layers)
        if isinstance(slab.net.control, Shared):
            rows = theta[: 1 if slab.is_first else 0]
            d_body = np.zeros((n, theta.shape[1]), theta.dtype)
            d_body[: len(rows)] = self.tikhonov * rows
            squares: Array = self.tikhonov * row_squares(rows)
        else:
            squares, d_body = self._over_depth(theta, slab.net.step, slab.comm)
        maps = [(params.opening, self.tikhonov), (params.head, self.head)]
        others = [0.0 if p is None else g * float(row_squares(p)[0]) for p, g in maps]
        comm = slab.comm
        total = np.sum(comm.gather(squares)) + np.sum(comm.sum(np.array(others)))
        d_opening, d_head = (None if p is None else g * p for p, g in maps)
        return 0.5 * float(total), Params(d_opening, d_body, d_head)

    def _over_depth(self, body: Array, h: float, comm: TimeComm) -> tuple[Array, Array]:
        """Weighted squares of this rank's layers, and the gradient for them."""
        before = np.diff(body, axis=0, prepend=comm.shift(body[-1:], body[:1]))
        after = np.diff(body, axis=0, append=comm.reversed().shift(body[:1], body[-1:]))
        squares = self.tikhonov * row_squares(body)
        squares += self.smoothness / h**2 * row_squares(before)
        d_body = self.tikhonov * body + self.smoothness / h**2 * (before - after)
        return squares, d_body
