r"""Three programs for the same gradient: these kernels, NumPy, and PyTorch.

The task is :math:`u_{n+1} = u_n + h \tanh(W_n u_n + b_n)` from u_0 to u_N and, from
dJ/du_N, the gradients for all W and b.  Every array is allocated beforehand, but for
PyTorch, which allocates by itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mgresnet.layers import kernels
from mgresnet.layers.scheme import euler

try:
    import torch
except ImportError:
    torch = None

TANH = kernels.ACTIVATIONS.index("tanh")


class Task(NamedTuple):
    """Numbers to compute with; states are (width, batch)."""

    weight: Any  # (N, width, width)
    bias: Any  # (N, width)
    u: Any
    seed: Any

    @property
    def h(self) -> float:
        """Step."""
        return 1.0 / len(self.weight)


def draw(width: int, batch: int, depth: int, dtype: str, seed: int = 6577) -> Task:
    """Weights of variance 1 / width, states and seeds of variance 1."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((depth, width, width)) / np.sqrt(width)
    bias = 0.1 * rng.standard_normal((depth, width))
    u, seed = rng.standard_normal((2, width, batch))
    return Task(*(x.astype(dtype) for x in (weight, bias, u, seed)))


class Rival(NamedTuple):
    """A program: states to the end, and the gradients dW, db."""

    forward: Callable[[], Any]
    gradient: Callable[[], tuple[Any, Any]]


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


def in_numpy(task: Task) -> Rival:
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

    return Rival(forward, gradient)


def in_torch(task: Task) -> Rival:
    """Eager, samples first, parameters of all layers stacked in two tensors."""
    weight, bias = (torch.tensor(x, requires_grad=True) for x in task[:2])
    u, seed = (torch.tensor(np.ascontiguousarray(x.T)) for x in task[2:])

    def march():
        state = u
        for w, b in zip(weight.unbind(), bias.unbind(), strict=True):
            state = torch.add(
                state,
                torch.tanh(torch.nn.functional.linear(state, w, b)),
                alpha=task.h,
            )
        return state

    def forward():
        with torch.no_grad():
            return march()

    def gradient():
        return torch.autograd.grad(march(), (weight, bias), seed)

    return Rival(forward, gradient)


def rivals(task: Task) -> dict[str, Rival]:
    """Those that can run here."""
    found = {"mgresnet": ours(task), "numpy": in_numpy(task)}
    if torch is not None:
        torch.set_num_threads(1)
        found["torch"] = in_torch(task)
    return found
