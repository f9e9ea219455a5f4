"""The gradient by NumPy, samples last."""

import numpy as np

from rivals.task import Program, Task


def in_numpy(task: Task) -> Program:
    """Samples last, which suits BLAS best, everything in place."""
    weight, bias, u, seed = task
    depth, h = len(weight), u.dtype.type(task.h)
    states, slopes = np.zeros((2, depth + 1, *u.shape), u.dtype)
    states[0], column = u, bias[..., None]
    adjoint, g, product = np.zeros((3, *u.shape), u.dtype)
    d_weight, d_bias = np.zeros_like(weight), np.zeros_like(bias)

    def step(n):
        np.matmul(weight[n], states[n], out=product)
        np.add(product, column[n], out=product)
        np.tanh(product, out=product)
        np.multiply(product, h, out=states[n + 1])
        np.add(states[n + 1], states[n], out=states[n + 1])

    def forward():
        for n in range(depth):
            step(n)
        return states[-1]

    def gradient():
        for n in range(depth):
            step(n)
            np.multiply(product, product, out=slopes[n])
            np.subtract(1, slopes[n], out=slopes[n])
        np.copyto(adjoint, seed)
        for n in reversed(range(depth)):
            np.multiply(slopes[n], adjoint, out=g)
            np.multiply(g, h, out=g)
            np.matmul(g, states[n].T, out=d_weight[n])
            np.sum(g, axis=1, out=d_bias[n])
            np.matmul(weight[n].T, g, out=product)
            np.add(adjoint, product, out=adjoint)
        return d_weight, d_bias

    return Program(forward, gradient)
