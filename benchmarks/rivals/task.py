r"""The task of all programs compared: a residual network and its gradient.

The states are :math:`u_{n+1} = u_n + h \tanh(W_n u_n + b_n)` from u_0 to u_N; from
dJ/du_N come the gradients for all W and b.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Task(NamedTuple):
    """Numbers to compute with; states are (width, batch)."""

    weight: Any  # (N, width, width)
    bias: Any  # (N, width)
    u: Any
    seed: Any

    @property
    def h(self) -> float:
        """Step."""
        return 1.0 / len(self.weight)


class Program(NamedTuple):
    """States to the end, and the gradients dW, db, an entry per layer."""

    forward: Callable[[], Any]
    gradient: Callable[[], tuple[Any, Any]]


def draw(width: int, batch: int, depth: int, dtype: str, seed: int = 6577) -> Task:
    """Weights of variance 1 / width, states and seeds of variance 1."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((depth, width, width)) / np.sqrt(width)
    bias = 0.1 * rng.standard_normal((depth, width))
    u, seed = rng.standard_normal((2, width, batch))
    return Task(*(x.astype(dtype) for x in (weight, bias, u, seed)))
