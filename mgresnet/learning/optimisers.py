r"""First-order optimisers: :math:`\theta_{k+1} = \theta_k + s_k(g_0, ..., g_k)`.

An optimiser is a `Transform`: two pure functions that turn a gradient into a
step and carry a state along; `apply_updates` adds the step, `chain` joins
small transforms (Adam is two in a row).

A tree is a NamedTuple whose fields are arrays or None (`Params`); None marks
what this rank does not hold. All arithmetic is elementwise, so a slab of rows
is updated like the whole. Only clipping sees the other ranks, through `gather`,
which joins the ranks' arrays along axis 0 in layer order (serial: identity).

References
----------
.. [1] B. T. Polyak, USSR Comput. Math. Math. Phys. 4(5) (1964), 1-17.
.. [2] I. Sutskever et al., ICML 2013, PMLR 28(3), 1139-1147.
.. [3] R. Pascanu et al., ICML 2013, PMLR 28(3), 1310-1318.
.. [4] D. P. Kingma, J. Ba, "Adam: A method for stochastic optimization", ICLR 2015.
.. [5] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mgresnet.arrays.trees import Gather, T, Tree, global_norm, tree_map
from mgresnet.learning import schedules
from mgresnet.learning.schedules import Rate

State: TypeAlias = Any
Output: TypeAlias = tuple[Tree, State]


class Transform(NamedTuple):
    """Two functions: ``init(params)`` makes the first state, and ``update`` a step.

    Parameters
    ----------
    init : callable
        ``state = init(params)``, of what this rank owns.
    update : callable
        ``step, state = update(gradient, state, params, gather)``.  The step is a tree
        like `params` that is added to them, so it leads downhill; None stays None.
        ``gather(values)`` joins the arrays of all ranks along axis 0 in layer order,
        the same on every rank, and serially returns them as they are: all ranks call
        it or none.  For a chain of networks it is a tuple with one for each stage.
    """

    init: Callable[[Tree], State]
    update: Callable[[Tree, State, Tree, Gather], Output]


class TraceState(NamedTuple):
    """Decaying sum of past gradients."""

    trace: Tree


class AdamState(NamedTuple):
    """Updates made, and decaying means of the gradients and their squares."""

    steps: int
    mean: Tree
    square: Tree


class RateState(NamedTuple):
    """Updates made, which is the step number the schedule is asked for."""

    steps: int


def apply_updates(params: T, step: Tree) -> T:
    """Return ``params + step`` in the dtype of `params`; nothing is modified."""
    return tree_map(lambda p, s: (p + s).astype(p.dtype, copy=False), params, step)


def chain(*transforms: Transform) -> Transform:
    """Feed each transform with the step of the one before; states in a tuple."""

    def init(params: Tree) -> State:
        return tuple(transform.init(params) for transform in transforms)

    def update(gradient: Tree, state: State, params: Tree, gather: Gather) -> Output:
        step, states = gradient, []
        for transform, old in zip(transforms, state, strict=True):
            step, new = transform.update(step, old, params, gather)
            states.append(new)
        return step, tuple(states)

    return Transform(init, update)


def clip_by_global_norm(max_norm: float) -> Transform:
    r"""Shorten a gradient whose norm over all ranks exceeds `max_norm`.

    Notes
    -----
    :math:`g \leftarrow g \min(1, c/\|g\|)` with c = `max_norm`, Algorithm 1 of
    [3]_. If the norm is not finite, all entries on all ranks become NaN: a
    diverged run shows everywhere instead of standing still.
    """
    schedules.check_positive("max_norm", max_norm, "try 1.0, or do not chain it at all")

    def update(gradient: Tree, state: State, params: Tree, gather: Gather) -> Output:
        norm = global_norm(gradient, gather)
        factor = max_norm / max(norm, max_norm) if math.isfinite(norm) else math.nan
        return tree_map(lambda g: factor * g, gradient), state

    return Transform(lambda params: (), update)


def add_decayed_weights(weight_decay: float) -> Transform:
    """Add ``weight_decay * params`` to the step, pulling weights to zero."""
    schedules.check_rate("weight_decay", weight_decay)

    def update(gradient: Tree, state: State, params: Tree, gather: Gather) -> Output:
        return tree_map(lambda g, p: g + weight_decay * p, gradient, params), state

    return Transform(lambda params: (), update)


def trace(decay: float, nesterov: bool = False) -> Transform:
    r"""Replace the gradient by a decaying sum of all gradients so far.

    Notes
    -----
    :math:`t_k = g_k + \mu t_{k-1}`, :math:`t_{-1} = 0`, :math:`\mu` = `decay`.
    The step is :math:`t_k` (heavy ball [1]_) or :math:`g_k + \mu t_k`
    (Nesterov, [2]_ equations (3)-(4), at the points where gradients are taken).
    """
    schedules.check_fraction("decay", decay)

    def update(gradient: Tree, state: State, params: Tree, gather: Gather) -> Output:
        total = tree_map(lambda g, t: g + decay * t, gradient, state.trace)
        step = total
        if nesterov:
            step = tree_map(lambda g, t: g + decay * t, gradient, total)
        return step, TraceState(total)

    return Transform(lambda params: TraceState(tree_map(np.zeros_like, params)), update)


def scale_by_adam(beta1: float, beta2: float, epsilon: float) -> Transform:
    """Divide the mean gradient by its root mean square; see `adam`."""
    schedules.check_fraction("beta1", beta1)
    schedules.check_fraction("beta2", beta2)
    schedules.check_positive("epsilon", epsilon, "gradients may be 0, so try 1e-8")

    def init(params: Tree) -> State:
        zeros = tree_map(np.zeros_like, params)
        return AdamState(0, zeros, zeros)

    def update(gradient: Tree, state: State, params: Tree, gather: Gather) -> Output:
        steps = state.steps + 1
        new1, new2 = 1.0 - beta1, 1.0 - beta2
        mean = tree_map(lambda g, m: beta1 * m + new1 * g, gradient, state.mean)
        square = tree_map(lambda g, v: beta2 * v + new2 * g * g, gradient, state.square)
        sum1, sum2 = 1.0 - beta1**steps, 1.0 - beta2**steps
        root = tree_map(lambda v: np.sqrt(v / sum2) + epsilon, square)
        step = tree_map(lambda m, r: m / sum1 / r, mean, root)
        return step, AdamState(steps, mean, square)

    return Transform(init, update)


def scale_by_learning_rate(rate: Rate) -> Transform:
    """Multiply by minus the rate at this step, so that steps lead downhill."""
    schedule = rate if callable(rate) else schedules.constant(rate)

    def update(gradient: Tree, state: State, params: Tree, gather: Gather) -> Output:
        factor = -float(schedule(state.steps))
        return tree_map(lambda g: factor * g, gradient), RateState(state.steps + 1)

    return Transform(lambda params: RateState(0), update)


def sgd(
    learning_rate: Rate, momentum: float = 0.0, nesterov: bool = False
) -> Transform:
    r"""Gradient descent, plain or with momentum.

    Parameters
    ----------
    learning_rate : float or callable
        Rate, or a function of the step number counted from 0.
    momentum : float, optional
        Weight of past gradients, in [0, 1).
    nesterov : bool, optional
        Nesterov's form of momentum in place of Polyak's; see `trace`.

    Notes
    -----
    :math:`\theta_{k+1} = \theta_k - \alpha_k t_k`, :math:`\alpha_k` =
    `learning_rate`, :math:`t_k` the step of `trace` with :math:`\mu` = `momentum`.
    """
    schedules.check_fraction("momentum", momentum)
    if nesterov and momentum == 0.0:
        raise ValueError(
            "nesterov=True with momentum = 0: need momentum > 0 to look ahead along; "
            "try momentum=0.9"
        )
    descend = scale_by_learning_rate(learning_rate)
    return chain(trace(momentum, nesterov), descend) if momentum else chain(descend)


def adam(
    learning_rate: Rate, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Transform:
    r"""Adam: steps of nearly the same length in every coordinate.

    Parameters
    ----------
    learning_rate : float or callable
        Rate, or a function of the step number counted from 0.
    beta1, beta2 : float, optional
        Weight of the past in the means of gradients and of their squares.
    epsilon : float, optional
        Keeps the quotient finite; added outside the root.

    Notes
    -----
    Algorithm 1 of [4]_, with k counted from 1 in these four lines:
    :math:`m_k = \beta_1 m_{k-1} + (1 - \beta_1) g_k`,
    :math:`v_k = \beta_2 v_{k-1} + (1 - \beta_2) g_k^2`,
    :math:`\hat m = m_k/(1 - \beta_1^k)`, :math:`\hat v = v_k/(1 - \beta_2^k)`,
    :math:`\theta \leftarrow \theta - \alpha\,\hat m/(\sqrt{\hat v} + \epsilon)`
    with :math:`\alpha` = `learning_rate`, m, v = `AdamState` mean, square.
    """
    return chain(
        scale_by_adam(beta1, beta2, epsilon), scale_by_learning_rate(learning_rate)
    )


def adamw(
    learning_rate: Rate,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 1e-2,
) -> Transform:
    r"""Adam with weight decay that bypasses the division by gradient size.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in `adam`.
    weight_decay : float, optional
        Pull of all parameters towards zero, biases included.

    Notes
    -----
    Algorithm 2 of [5]_: :math:`\theta \leftarrow \theta - \alpha\,
    (\hat m/(\sqrt{\hat v} + \epsilon) + \lambda\theta)`, :math:`\lambda` =
    `weight_decay`. The decay is multiplied by the rate, as libraries do; the
    paper multiplies it by the schedule alone, so divide its value by the rate.
    """
    return chain(
        scale_by_adam(beta1, beta2, epsilon),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(learning_rate),
    )
