"""What a user would otherwise write: NumPy, PyTorch eager and JAX, on one thread.

Only NumPy has to be there.  Every program computes in the layout that suits it best,
and is compared with NumPy before it is timed.
"""

from collections.abc import Callable

import numpy as np
from _jax_rivals import in_remat, in_scan, jax
from _ours import ours
from _task import Rival, Task
from _torch_rivals import in_modules, in_stacks, torch

LARGE = 4e7  # layers x features x samples: one program per framework is enough
CLOSE = {"float64": 1e-10, "float32": 1e-4}


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


def rivals(task: Task) -> dict[str, Rival]:
    """Those that can run here, all of them correct.

    Beyond `LARGE` PyTorch's modules and JAX's plain scan are left out: the first are as
    fast as stacked parameters there, the second slower than with rematerialisation.
    """
    large = len(task.weight) * task.u.size > LARGE
    makers: dict[str, Callable[[Task], Rival]] = {"mgresnet": ours, "numpy": in_numpy}
    if torch is not None:
        makers |= {} if large else {"torch modules": in_modules}
        makers |= {"torch stacked": in_stacks}
    if jax is not None:
        makers |= {} if large else {"jax scan": in_scan}
        makers |= {"jax remat": in_remat}
    found = {name: make(task) for name, make in makers.items()}
    check(found, CLOSE[task.u.dtype.name])
    return found


def check(found: dict[str, Rival], close: float) -> None:
    """Compare gradients with NumPy's, relative to it in the 2-norm."""
    needed = found["numpy"].gradient()
    for name, rival in found.items():
        for got, right in zip(rival.gradient(), needed, strict=True):
            gap = np.stack([np.asarray(g) for g in got]) - right
            error = np.linalg.norm(gap) / np.linalg.norm(right)
            if not error < close:
                raise ValueError(f"{name}: gradient off by {error:.1e}, not {close:g}")


def absent() -> list[str]:
    """Frameworks that are not installed."""
    known = {"PyTorch": torch, "JAX": jax}
    return [name for name, module in known.items() if module is None]


def versions() -> dict[str, str | None]:
    """Versions of the frameworks, None where absent."""
    modules = {"torch": torch, "jax": jax}
    return {name: module and module.__version__ for name, module in modules.items()}
