"""Objectives with targets for six samples, and their definitions loss by loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import mgresnet as mg

RNG = np.random.default_rng(65537)
N = 6
LABELS = np.array([3, 0, 2, 2, 1, 3])
VALUES = RNG.standard_normal((N, 4))
YES = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], *np.eye(4)[:3]])
CHANCES = RNG.uniform(size=(N, 4))
WEIGHTS = np.array([1.0, 0.25, 0.0, 2.0, 1.5, 0.75])
CLASSES = (0.5, 2.0, 1.0, 3.0)


class Case(NamedTuple):
    """Outputs may be complex where `losses` looks at them."""

    objective: Any
    n_outputs: int
    targets: np.ndarray
    losses: Callable  # of outputs and targets, one for every sample

    @property
    def outputs(self):
        """Not too near the targets, nor to what is not smooth."""
        return 3 * np.random.default_rng(65538).standard_normal((N, self.n_outputs))


def softmax(z, c, weights=(1.0, 1.0, 1.0, 1.0)):
    """torch.nn.functional.cross_entropy, reduction="none"."""
    chances = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    c = np.asarray(c, int).ravel()
    return -np.array(weights)[c] * np.log(chances[np.arange(len(z)), c])


def binary(z, t, positive=1.0):
    """binary_cross_entropy_with_logits, summed over the outputs."""
    chance = 1 / (1 + np.exp(-z))
    t = t.reshape(z.shape)
    return -(positive * t * np.log(chance) + (1 - t) * np.log(1 - chance)).sum(axis=1)


def squares(y, t):
    """Half of mse_loss, summed over the outputs."""
    return 0.5 * ((y - t.reshape(y.shape)) ** 2).sum(axis=1)


def huber(y, t, delta=1.0):
    """huber_loss, summed over the outputs."""
    r = y - t.reshape(y.shape)
    size = np.where(r.real > 0, r, -r)
    near, far = 0.5 * r**2, delta * (size - 0.5 * delta)
    return np.where(size.real <= delta, near, far).sum(axis=1)


def weighted(losses):
    """Losses times the last column of the targets."""
    return lambda y, t: t[:, -1] * losses(y, t[:, :-1])


def both(y, t):
    """A class out of four, and two values."""
    return softmax(y[:, :4], t[:, :1]) + 0.25 * huber(y[:, 4:], t[:, 1:], 0.5)


CE, BCE = mg.SoftmaxCrossEntropy, mg.BinaryCrossEntropy
COMBINED = mg.Combined([mg.Term(CE(), 4, 1), mg.Term(mg.Huber(0.5), 2, 2, weight=0.25)])
columns = np.column_stack
ONE = VALUES[:, 0]

CASES = {
    "softmax": Case(CE(), 4, LABELS, softmax),
    "softmax, weighted classes": Case(
        CE(CLASSES), 4, LABELS, lambda z, c: softmax(z, c, CLASSES)
    ),
    "binary": Case(BCE(), 4, YES, binary),
    "binary, one output": Case(BCE(), 1, YES[:, 0], binary),
    "binary, chances": Case(BCE(2.5), 4, CHANCES, lambda z, t: binary(z, t, 2.5)),
    "binary, weighted classes": Case(
        BCE(CLASSES), 4, YES, lambda z, t: binary(z, t, np.array(CLASSES))
    ),
    "squares": Case(mg.LeastSquares(), 4, VALUES, squares),
    "squares, one output": Case(mg.LeastSquares(), 1, ONE, squares),
    "huber": Case(mg.Huber(), 4, VALUES, huber),
    "huber, one output": Case(mg.Huber(2.0), 1, ONE, lambda y, t: huber(y, t, 2.0)),
    "weighted softmax": Case(
        mg.Weighted(CE()), 4, columns([LABELS, WEIGHTS]), weighted(softmax)
    ),
    "weighted squares": Case(
        mg.Weighted(mg.LeastSquares()), 4, columns([VALUES, WEIGHTS]), weighted(squares)
    ),
    "combined": Case(COMBINED, 6, columns([LABELS, VALUES[:, :2]]), both),
    "weighted combined": Case(
        mg.Weighted(COMBINED),
        6,
        columns([LABELS, VALUES[:, :2], WEIGHTS]),
        weighted(both),
    ),
    "combined weighted": Case(
        mg.Combined(
            [
                mg.Term(mg.Weighted(BCE()), 2, 3, weight=0.5),
                mg.Term(mg.LeastSquares(), 3, 3),
            ]
        ),
        5,
        columns([YES[:, :2], WEIGHTS, VALUES[:, :3]]),
        lambda y, t: (
            0.5 * weighted(binary)(y[:, :2], t[:, :3]) + squares(y[:, 2:], t[:, 3:])
        ),
    ),
}
