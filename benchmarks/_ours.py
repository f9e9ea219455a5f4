"""The gradient by these kernels."""

import numpy as np
from _task import Rival, Task

from mgresnet.layers import kernels
from mgresnet.layers.scheme import euler

TANH = kernels.ACTIVATIONS.index("tanh")


def ours(task: Task, activation: int = TANH) -> Rival:
    """The four sweeps of a serial solve: forward, linearise, adjoint, gradient."""
    weight, bias, u, seed = task
    stages, shifts, (a, b) = weight[:, None], bias[:, None], euler()
    depth, h = len(weight), task.h
    states, adjoints = np.zeros((2, 1, depth + 1, *u.shape), u.dtype)
    states[0, 0], adjoints[0, 0] = u, seed
    slopes, in_order = np.zeros((depth, 1, *u.shape), u.dtype), np.zeros_like(states[0])
    nothing = np.empty((0, 1, *u.shape), u.dtype)
    d_weight, d_bias = np.zeros_like(weight), np.zeros_like(bias)

    def forward():
        kernels.march(states, nothing, stages, shifts, h, a, b, activation)
        return states[0, -1]

    def gradient():
        forward()
        points = states[0, :-1]
        kernels.linearise(points, stages, shifts, h, a, activation, slopes)
        kernels.march_adjoint(adjoints, nothing, stages, slopes, h, a, b)
        np.copyto(in_order, adjoints[0, ::-1])
        kernels.gradient(
            states[0], in_order, weight, bias, h, activation, d_weight, d_bias
        )
        return d_weight, d_bias

    return Rival(forward, gradient)
