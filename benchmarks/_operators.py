"""Runge-Kutta steps over intervals of tanh layers, for coarse_operators.py."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

Array = Any


class Tableau(NamedTuple):
    """Explicit Runge-Kutta method."""

    a: Array
    b: Array


def euler(m: int) -> Tableau:
    """One evaluation."""
    return Tableau(np.zeros((1, 1)), np.ones(1))


def matched(m: int) -> Tableau:
    """Second order; the second stage alone counts."""
    return Tableau(np.array([[0.0, 0.0], [0.5 - 0.5 / m, 0.0]]), np.array([0.0, 1.0]))


def ralston(m: int) -> Tableau:
    """Second order, and the third equation but not the fourth."""
    c = (2.0 - 1.0 / m) / 3.0
    b = 0.5 * (1.0 - 1.0 / m) / c
    return Tableau(np.array([[0.0, 0.0], [c, 0.0]]), np.array([1.0 - b, b]))


def third(m: int) -> Tableau:
    """Third order with nodes 0, 1/2, 3/4; two layers are two stages already."""
    nodes = np.array([0.5, 0.75])
    first = 0.5 * (1.0 - 1.0 / m)
    second = (1.0 - 1.0 / m) * (2.0 - 1.0 / m) / 6.0
    b = np.linalg.solve([nodes, nodes**2], [first, second])
    inner = 0.0
    if m > 2:
        inner = (1.0 - 1.0 / m) * (1.0 - 2.0 / m) / 6.0 / (b[1] * nodes[0])
    a = np.array([[0, 0, 0], [nodes[0], 0, 0], [nodes[1] - inner, inner, 0]])
    return Tableau(a, np.array([1.0 - b.sum(), *b]))


class Operator(NamedTuple):
    """A tableau and what it knows of the weights of an interval."""

    tableau: Callable[[int], Tableau]
    weights: str = "mean"  # left, mean, slope or variance
    fitted: bool = False


OPERATORS = {
    "injection": Operator(euler, "left"),
    "mean": Operator(euler),
    "matched": Operator(matched),
    "matched, slope": Operator(matched, "slope"),
    "Ralston, slope": Operator(ralston, "slope"),
    "third": Operator(third),
    "third, slope": Operator(third, "slope"),
    "matched, variance": Operator(matched, "variance"),
    "matched, fitted": Operator(matched, fitted=True),
}


@dataclass(frozen=True)
class Steps:
    """Forward steps; theta = (W | b) of shape (n_steps, w, w + 1).

    `extra` is the slope over the interval or the variance in it, as the operator needs;
    `fit` are the affine maps that the coarser level adds.
    """

    theta: Array
    extra: Array
    h: float
    operator: Operator
    span: int = 1
    fit: Array = None
    added: Array = None

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.theta)

    @property
    def tableau(self) -> Tableau:
        """Of one step."""
        return self.operator.tableau(self.span) if self.span > 1 else euler(1)

    def coarsen(self, m: int) -> Self:
        """One step for every m."""
        theta, extra = (
            x.reshape(-1, m, *x.shape[1:]) for x in (self.theta, self.extra)
        )
        span = self.span * m
        mean = theta.mean(axis=1)
        if self.operator.weights == "left":
            mean = theta[:, 0]
        if self.operator.weights == "slope":
            where = ((np.arange(m) - 0.5 * (m - 1)) / m)[:, None, None]
            inside = extra * _node_variance(self.span) / m
            moment = (where * theta + inside).mean(axis=1)
            extra = moment / _node_variance(span)
        elif self.operator.weights == "variance":
            extra = theta.var(axis=1) + extra.mean(axis=1)
        else:
            extra = extra[:, 0]
        return replace(
            self, theta=mean, extra=extra, span=span, fit=None, added=self.fit
        )

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Nothing before; the remainder after."""
        n = self.n_steps - self.n_steps % m
        return self.part(slice(0, 0)), self.part(slice(0, n)), self.part(slice(n, None))

    def part(self, steps: Any) -> Self:
        """Keep some of the steps."""
        added = None if self.added is None else self.added[steps]
        return replace(
            self, theta=self.theta[steps], extra=self.extra[steps], added=added
        )

    def propagate(self, starts: Array, u: Array, forcing: Array) -> None:
        """March all blocks at once."""
        blocks, now = np.arange(self.n_steps).reshape(len(u), -1), starts
        every = blocks.shape[1] // u.shape[1]
        for n in range(blocks.shape[1]):
            now = self.part(blocks[:, n]).step(now)
            if forcing.size:
                now = now + forcing[:, n]
            if (n + 1) % every == 0:
                u[:, n // every] = now

    def step(self, u: Array) -> Array:
        """Every step from its own state."""
        _, rates, _ = self.stages(u)
        total = u + self.span * self.h * np.einsum("i,i...", self.tableau.b, rates)
        return total if self.added is None else total + _affine(self.added, u)

    def stages(self, u: Array) -> tuple[list[Array], list[Array], list[Array]]:
        """Parameters, rates of change, and their derivatives with respect to z."""
        a, b = self.tableau
        nodes = a.sum(axis=1)
        thetas, rates, slopes = [], [], []
        for i in range(len(b)):
            x = u + self.span * self.h * sum(a[i, j] * rates[j] for j in range(i))
            theta = self.theta
            if self.operator.weights == "slope":
                theta = theta + (nodes[i] - nodes @ b) * self.extra
            z, scale = _affine(theta, x), 1.0
            if self.operator.weights == "variance":
                scale = 1.0 / np.sqrt(1.0 + 0.5 * np.pi * _affine(self.extra, x**2))
            thetas.append(theta)
            rates.append(np.tanh(scale * z))
            slopes.append((1.0 - rates[-1] ** 2) * scale)  # v(x) held fixed
        return thetas, rates, slopes


@dataclass(frozen=True)
class Transposed:
    """Transposed steps in pseudo-time, linearised at states (n_steps, w, batch)."""

    forward: Steps
    states: Array

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def coarsen(self, m: int) -> Self:
        """At the left C-points."""
        return Transposed(self.forward.coarsen(m), self.states[::m])

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """The remainder before; nothing after."""
        none, _, _ = self.forward.cut(m)
        n = self.n_steps - self.n_steps % m
        after, first = slice(n, None), slice(0, n)
        return (
            Transposed(self.forward.part(after), self.states[after]),
            Transposed(self.forward.part(first), self.states[first]),
            Transposed(none, self.states[:0]),
        )

    def propagate(self, starts: Array, w: Array, forcing: Array) -> None:
        """March all blocks at once."""
        blocks = np.arange(self.n_steps)[::-1].reshape(len(w), -1)
        now, every = starts, blocks.shape[1] // w.shape[1]
        for n in range(blocks.shape[1]):
            steps = self.forward.part(blocks[:, n])
            now = _pull_back(steps, self.states[blocks[:, n]], now)
            if forcing.size:
                now = now + forcing[:, n]
            if (n + 1) % every == 0:
                w[:, n // every] = now


def _pull_back(steps: Steps, u: Array, w: Array) -> Array:
    a, b = steps.tableau
    length = steps.span * steps.h
    thetas, _, slopes = steps.stages(u)
    pulled = [0.0] * len(b)
    for i in reversed(range(len(b))):
        seed = b[i] * w + sum(a[j, i] * pulled[j] for j in range(i + 1, len(b)))
        matrix = thetas[i][..., :-1].swapaxes(-1, -2)
        pulled[i] = length * (matrix @ (slopes[i] * seed))
    total = w + sum(pulled)
    if steps.added is not None:
        total = total + steps.added[..., :-1].swapaxes(-1, -2) @ w
    return total


def _affine(theta: Array, u: Array) -> Array:
    return theta[..., :-1] @ u + theta[..., -1:]


def _node_variance(m: int) -> float:
    """Variance of the m nodes i / m."""
    return (1.0 - 1.0 / m**2) / 12.0
