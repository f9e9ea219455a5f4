r"""Parts of optimisers: :math:`\theta_{k+1} = \theta_k + s_k(g_0, ..., g_k)`.

A `Transform` is two pure functions that turn a gradient into a step and carry a
state along; `apply_updates` adds the step, `chain` joins small transforms.

A tree is a NamedTuple whose fields are arrays or None (`Params`); None marks
what this rank does not hold. All arithmetic is elementwise, so a slab of rows
is updated like the whole. Only what needs a dot product or a norm, as clipping
does, sees the other ranks, through a `Space`.

Transforms are made of functions of this module, and can be pickled.

References
----------
.. [1] B. T. Polyak, USSR Comput. Math. Math. Phys. 4(5) (1964), 1-17.
.. [2] I. Sutskever et al., ICML 2013, PMLR 28(3), 1139-1147.
.. [3] R. Pascanu et al., ICML 2013, PMLR 28(3), 1310-1318.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mgresnet.arrays.checks import provides
from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.arrays.space import SERIAL, Space
from mgresnet.arrays.trees import T, Tree, spread, tree_map, tree_maps
from mgresnet.kernels.moments import adam, plus
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
        ``step, state = update(gradient, state, params, *, space=None, value=None)``.
        The step is a tree like `params` that is added to them, so it leads downhill;
        None stays None.  ``space.dot(a, b)`` and ``space.norm(a)`` are those over all
        ranks, which all call them or none; without a `Space` there is one rank.
        ``value(params)`` is the objective at other parameters on the same batch, for
        line searches; NaN there is a reason to go less far.  Neither the gradient, nor
        the state, nor the parameters are modified.
    """

    init: Callable[[Tree], State]
    update: Callable[..., Output]


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
    return tree_map(_moved, params, step)


def _moved(params: Array, step: Array) -> Array:
    new = empty(params.shape, params.dtype)
    return np.add(params, step, out=new, casting="same_kind")


def chain(*transforms: Transform) -> Transform:
    """Feed each transform with the step of the one before; states in a tuple."""
    for i, one in enumerate(transforms):
        provides(f"transform {i}", one, ("init", "update"), "adam(0.001)")
    return Transform(partial(_init_each, transforms), partial(_chain, transforms))


def _init_each(transforms: tuple[Transform, ...], params: Tree) -> State:
    return tuple(transform.init(params) for transform in transforms)


def _chain(
    transforms: tuple[Transform, ...],
    gradient: Tree,
    state: State,
    params: Tree,
    **given: Any,
) -> Output:
    step, states = gradient, []
    for transform, old in zip(transforms, state, strict=True):
        step, new = transform.update(step, old, params, **given)
        states.append(new)
    return step, tuple(states)


def _no_state(params: Tree) -> State:
    return ()


def clip_by_global_norm(max_norm: float) -> Transform:
    r"""Shorten a gradient whose norm over all ranks exceeds `max_norm`.

    Notes
    -----
    :math:`g \leftarrow g \min(1, c/\|g\|)` with c = `max_norm`, Algorithm 1 of
    [3]_. If the norm is not finite, all entries on all ranks become NaN: a
    diverged run shows everywhere instead of standing still.
    """
    schedules.check_positive("max_norm", max_norm, "try 1.0, or do not chain it at all")
    return Transform(_no_state, partial(_clip_by_global_norm, max_norm))


def _clip_by_global_norm(
    max_norm: float,
    gradient: Tree,
    state: State,
    params: Tree,
    *,
    space: Space | None = None,
    **unused: Any,
) -> Output:
    norm = (space or SERIAL).norm(gradient)
    factor = max_norm / max(norm, max_norm) if math.isfinite(norm) else math.nan
    return tree_map(partial(_times, factor), gradient), state


def add_decayed_weights(weight_decay: float, mask: Tree | None = None) -> Transform:
    """Add ``weight_decay * params`` to the step, pulling weights to zero.

    Parameters
    ----------
    weight_decay : float
    mask : Params, or a tuple of them, optional
        Factors of the decay for every parameter, or for every column of rows: 0 where
        there is to be none, as `weights_only` has them for biases.  On several ranks
        factors for every parameter are those of a rank's own: see `local_slab`.
    """
    schedules.check_rate("weight_decay", weight_decay)
    return Transform(_no_state, partial(_add_decayed_weights, weight_decay, mask))


def _add_decayed_weights(
    weight_decay: float,
    mask: Tree | None,
    gradient: Tree,
    state: State,
    params: Tree,
    **unused: Any,
) -> Output:
    some = (
        params if mask is None else tree_map(np.multiply, params, spread(mask, params))
    )
    return tree_map(lambda g, p: plus(g, weight_decay, p), gradient, some), state


def trace(decay: float, nesterov: bool = False) -> Transform:
    r"""Replace the gradient by a decaying sum of all gradients so far.

    Notes
    -----
    :math:`t_k = g_k + \mu t_{k-1}`, :math:`t_{-1} = 0`, :math:`\mu` = `decay`.
    The step is :math:`t_k` (heavy ball [1]_) or :math:`g_k + \mu t_k`
    (Nesterov, [2]_ equations (3)-(4), at the points where gradients are taken).
    """
    schedules.check_fraction("decay", decay)
    return Transform(_start_trace, partial(_trace, decay, nesterov))


def _start_trace(params: Tree) -> TraceState:
    return TraceState(tree_map(np.zeros_like, params))


def _trace(
    decay: float,
    nesterov: bool,
    gradient: Tree,
    state: State,
    params: Tree,
    **unused: Any,
) -> Output:
    total = tree_map(lambda g, t: plus(g, decay, t), gradient, state.trace)
    step = total
    if nesterov:
        step = tree_map(lambda g, t: plus(g, decay, t), gradient, total)
    return step, TraceState(total)


def scale_by_adam(
    beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Transform:
    """Divide the mean gradient by its root mean square; see `adam`."""
    schedules.check_fraction("beta1", beta1)
    schedules.check_fraction("beta2", beta2)
    schedules.check_positive("epsilon", epsilon, "gradients may be 0, so try 1e-8")
    return Transform(_start_adam, partial(_scale_by_adam, beta1, beta2, epsilon))


def _start_adam(params: Tree) -> AdamState:
    zeros = tree_map(np.zeros_like, params)
    return AdamState(0, zeros, zeros)


def _scale_by_adam(
    beta1: float,
    beta2: float,
    epsilon: float,
    gradient: Tree,
    state: State,
    params: Tree,
    **unused: Any,
) -> Output:
    steps = state.steps + 1

    def advance(g: Array, m: Array, v: Array) -> Any:
        return adam(g, m, v, (beta1, beta2), epsilon, steps)

    mean, square, step = tree_maps(3, advance, gradient, state.mean, state.square)
    return step, AdamState(steps, mean, square)


def scale_by_learning_rate(rate: Rate) -> Transform:
    """Multiply by minus the rate at this step, so that steps lead downhill."""
    schedule = rate if callable(rate) else schedules.constant(rate)
    return Transform(_start_rate, partial(_scale_by_learning_rate, schedule))


def _start_rate(params: Tree) -> RateState:
    return RateState(0)


def _scale_by_learning_rate(
    schedule: schedules.Schedule,
    gradient: Tree,
    state: State,
    params: Tree,
    **unused: Any,
) -> Output:
    rate = schedule(state.steps)
    schedules.check_rate(f"learning rate of step {state.steps}", rate)
    factor = -float(rate)
    return tree_map(partial(_times, factor), gradient), RateState(state.steps + 1)


def _times(factor: float, values: Array) -> Array:
    return np.multiply(values, factor, out=empty(values.shape, values.dtype))
