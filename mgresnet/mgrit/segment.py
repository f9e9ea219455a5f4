"""Consecutive steps: where they start, and the points that are kept behind."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mgresnet.mgrit.propagator import Array, Propagator


class Segment(NamedTuple):
    """Consecutive blocks of equal length and the propagator that fills them."""

    propagator: Propagator
    starts: Array  # (n_blocks, *state)
    u: Array  # (n_blocks, k, *state): what follows
    forcing: Array  # (n_blocks, n_steps / n_blocks, *state), or empty

    def march(self) -> None:
        """Fill every block from its start."""
        self.propagator.propagate(self.starts, self.u, self.forcing)


March = Callable[[Segment], Any]


def columns(n_steps: int, spacing: int) -> int:
    """Points kept behind so many steps: every so many, and the last."""
    return -(-n_steps // spacing)
