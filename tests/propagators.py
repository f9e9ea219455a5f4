"""Recursions written in NumPy, which the engine must solve as it solves layers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from mgresnet.mgrit.solver import Outputs, iterate


@dataclass(frozen=True)
class Recursion:
    """``u[n+1] = step(t[n], t[n+1], u[n]) + g[n+1]`` on any grid of times.

    A coarse version takes the same steps from every m-th time to the next; a remainder
    comes last.  ``step`` works on many states at once, one pair of times for each.
    """

    step: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    times: np.ndarray  # (n_steps + 1,)
    sample_block = 0

    @property
    def n_steps(self) -> int:
        return len(self.times) - 1

    def propagate(self, starts: np.ndarray, u: np.ndarray, forcing: np.ndarray) -> None:
        times = self.times[:-1].reshape(len(u), -1), self.times[1:].reshape(len(u), -1)
        now, every = starts, times[0].shape[1] // u.shape[1]
        for n, (begin, end) in enumerate(zip(*(t.T for t in times), strict=True)):
            now = self.step(begin, end, now)
            if forcing.size:
                now = now + forcing[:, n]
            if (n + 1) % every == 0:
                u[:, n // every] = now

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        last = self.n_steps - self.n_steps % m
        parts = self.times[:1], self.times[: last + 1], self.times[last:]
        before, intervals, after = (replace(self, times=t) for t in parts)
        return before, intervals, after

    def coarsen(self, m: int) -> Self:
        return replace(self, times=self.times[::m])


def iterate_all(propagator, initial, *problem, guess=None):
    """Solve as `iterate` does, and keep all points."""
    points = np.empty((propagator.n_steps + 1, *initial.shape), initial.dtype)
    outputs = Outputs(propagator, points)
    return iterate(propagator, initial, *problem, guess=guess, outputs=outputs)


def peer_factors(settings: dict[str, int], n_steps: int) -> tuple[int, ...]:
    """Coarsening factors as XBraid chooses them.

    It stops before a level of fewer steps, not points, than ``mc``, 2 by default.
    """
    factors: list[int] = []
    while len(factors) + 1 < settings["ml"]:
        first = settings.get("cf0", settings["cf"])
        m = settings["cf"] if factors else first
        n_steps //= m
        if n_steps < settings.get("mc", 2):
            break
        factors.append(m)
    return tuple(factors)


def peer_relaxations(settings: dict[str, int], n_factors: int) -> tuple[int, ...]:
    """FC-sweeps of every level but the coarsest."""
    first = settings.get("nu0", settings["nu"])
    return tuple(settings["nu"] if level else first for level in range(n_factors))
