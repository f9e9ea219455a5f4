"""Networks and engine problems that several test files solve."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

import mgresnet as mg


def smooth_network(depth, final_time=5.0, width=4, seed=6271, **layer):
    """Network whose weights are five cosine modes over depth."""
    rng = np.random.default_rng(seed)
    net = mg.Network(mg.Dense(width, **layer), depth, final_time)
    modes = rng.standard_normal((5, net.layer.n_params)) / np.sqrt(5 * width)
    t = (np.arange(depth) + 0.5) / depth
    return net, mg.Params(None, np.cos(np.pi * np.outer(t, np.arange(5))) @ modes, None)


def rough_network(depth, final_time=5.0, width=4, seed=6272, **layer):
    """Network whose layers have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    net = mg.Network(mg.Dense(width, **layer), depth, final_time)
    theta = rng.standard_normal((depth, net.layer.n_params)) / np.sqrt(width)
    return net, mg.Params(None, theta, None)


def states(net, batch=3, seed=6273):
    """First states, or adjoint seeds, of a batch."""
    return np.random.default_rng(seed).standard_normal((batch, net.layer.width))


@dataclass(frozen=True)
class Scalar:
    """``u[n+1] = phi u[n] + g[n+1]``, coarsened to ``psi``."""

    phi: float
    psi: float
    n_steps: int
    sample_block = 0

    def propagate(self, starts, u, forcing):
        now, per_block = starts, self.n_steps // len(starts)
        every = per_block // u.shape[1]
        for i in range(per_block):
            now = self.phi * now
            if forcing.size:
                now = now + forcing[:, i]
            if (i + 1) % every == 0:
                u[:, i // every] = now

    def cut(self, m) -> tuple[Self, Self, Self]:
        rest = self.n_steps % m
        sizes = 0, self.n_steps - rest, rest
        return tuple(replace(self, n_steps=n) for n in sizes)

    def coarsen(self, m) -> Self:
        return replace(self, phi=self.psi, n_steps=self.n_steps // m)
