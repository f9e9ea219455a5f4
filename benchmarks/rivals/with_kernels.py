"""The gradient by these kernels."""

import numpy as np

from mgresnet.kernels import dense, dense_back
from mgresnet.kernels.activations import ACTIVATIONS
from mgresnet.layers.scheme import euler
from rivals.task import Program, Task

TANH = ACTIVATIONS.index("tanh")
INTERVAL = 16  # layers from a state that is kept to the next
CACHE = 2**21  # bytes of states and slopes up to which keeping all of them is faster


def ours(task: Task, activation: int = TANH) -> Program:
    """The two sweeps of a serial solve, keeping what is faster.

    That is every 16th state; where all states and slopes fit in cache, it is those.
    """
    small = 2 * len(task.weight) * task.u.nbytes <= CACHE
    return sweeps(task, 1 if small else INTERVAL, activation)


def sweeps(task: Task, interval: int, activation: int = TANH) -> Program:
    """Forward, and back with the gradient.

    Forward keeps every so many states, and the way back computes those between again;
    with all states it keeps the slopes as well.
    """
    weight, bias, u, seed = task
    theta = np.hstack([weight.reshape(len(weight), -1), bias])
    layers, (a, b) = (theta[:, None], task.h), euler()
    depth, batch = len(weight), u.shape[-1]
    kept = -(-depth // interval)
    states, back = np.zeros((kept + 1, *u.shape), u.dtype), np.zeros_like(u)
    states[0], behind = u, seed[None]
    absent = np.empty((0, 1, *u.shape), u.dtype)
    slopes = np.zeros((depth, 1, *u.shape), u.dtype) if interval == 1 else absent
    d_theta = np.empty_like(theta)
    d_weight, d_bias = np.split(d_theta, [weight[0].size], axis=1)
    d_weight = d_weight.reshape(weight.shape)

    def space(room, n):
        return np.empty(room(len(u), n, batch, u.dtype), u.dtype)

    ahead = space(dense.workspace, 1)
    again = space(dense_back.workspace, -(-depth // kept))

    def march(noted):
        points = states[:1], states[None, 1:]
        how = *layers, a, b, activation
        dense.march(*points, absent, noted, *how, 0, batch, ahead)
        return states[-1]

    def gradient():
        march(slopes)
        known = behind, back[None, None], absent, states[:-1], slopes
        outputs = d_theta, absent[:, 0]
        how = *layers, activation, *outputs
        dense_back.pull_back(*known, *how, 0, batch, again)
        return d_weight, d_bias

    return Program(lambda: march(absent), gradient)
