r"""Moments of gradients, and the step of Adam that they give, in one pass over memory.

.. math::

    m' = \beta_1 m + (1 - \beta_1) g, \quad v' = \beta_2 v + (1 - \beta_2) g^2, \quad
    s = \frac{m' / c_1}{\sqrt{v' / c_2} + \epsilon}, \qquad c_i = 1 - \beta_i^k .
"""

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.kernels.compiled import kernel


@kernel
def _adam(g, m, v, numbers, mean, square, step):
    beta1, new1, beta2, new2, sum1, sum2, epsilon = numbers
    for i in range(g.size):
        mean[i] = beta1 * m[i] + new1 * g[i]
        square[i] = beta2 * v[i] + new2 * g[i] * g[i]
        step[i] = mean[i] / sum1 / (np.sqrt(square[i] / sum2) + epsilon)


@kernel
def _plus(g, factor, t, total):
    for i in range(g.size):
        total[i] = g[i] + factor * t[i]


def plus(gradient: Array, factor: float, other: Array) -> Array:
    """New array ``gradient + factor * other``, in the dtype of the other."""
    shape, dtype = other.shape, other.dtype
    total = empty(shape, dtype)
    g, t = (np.asarray(x, dtype, "C").reshape(-1) for x in (gradient, other))
    _plus(g, dtype.type(factor), t, total.reshape(-1))
    return total


def adam(
    gradient: Array,
    mean: Array,
    square: Array,
    betas: tuple[float, float],
    epsilon: float,
    steps: int,
) -> tuple[Array, Array, Array]:
    """Next means of gradients and of their squares, and the step.

    Parameters
    ----------
    gradient, mean, square : ndarray
        Of one shape; computed in the dtype of the means.
    betas : tuple of float
        Weights of the past.
    epsilon : float
        Added to the root.
    steps : int
        Number of this update, from 1.

    Returns
    -------
    mean, square, step : ndarray
        New arrays.
    """
    shape, dtype = mean.shape, mean.dtype
    (b1, b2), (n1, n2) = betas, (1.0 - beta for beta in betas)
    sums = 1.0 - b1**steps, 1.0 - b2**steps
    numbers = np.array([b1, n1, b2, n2, *sums, epsilon], dtype)
    given = (np.asarray(x, dtype, "C").reshape(-1) for x in (gradient, mean, square))
    new, new_square, step = (empty(shape, dtype) for _ in range(3))
    made = (x.reshape(-1) for x in (new, new_square, step))
    _adam(*given, tuple(numbers), *made)
    return new, new_square, step
