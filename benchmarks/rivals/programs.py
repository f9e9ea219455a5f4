"""What a user would otherwise write: NumPy, PyTorch eager and JAX, on one thread.

Only NumPy has to be there.  Every program computes in the layout that suits it best,
and is compared with NumPy before it is timed.
"""

from collections.abc import Callable

import numpy as np

from rivals.task import Program, Task
from rivals.with_jax import in_remat, in_scan, jax
from rivals.with_kernels import ours
from rivals.with_numpy import in_numpy
from rivals.with_torch import in_modules, in_stacks, torch

LARGE = 4e7  # layers x features x samples: one program per framework is enough
CLOSE = {"float64": 1e-10, "float32": 1e-4}
ABSENT = [name for name, m in {"PyTorch": torch, "JAX": jax}.items() if m is None]


def programs(task: Task) -> dict[str, Program]:
    """Those that can run here, all of them correct.

    Beyond `LARGE` PyTorch's modules and JAX's plain scan are left out: the first are as
    fast as stacked parameters there, the second slower than with rematerialisation.
    """
    large = len(task.weight) * task.u.size > LARGE
    makers: dict[str, Callable[[Task], Program]] = {"mgresnet": ours, "numpy": in_numpy}
    if torch is not None:
        makers |= {} if large else {"torch modules": in_modules}
        makers |= {"torch stacked": in_stacks}
    if jax is not None:
        makers |= {} if large else {"jax scan": in_scan}
        makers |= {"jax remat": in_remat}
    found = {name: make(task) for name, make in makers.items()}
    check(found, CLOSE[task.u.dtype.name])
    return found


def check(found: dict[str, Program], close: float) -> None:
    """Compare gradients with NumPy's, relative to it in the 2-norm."""
    exact = found["numpy"].gradient()
    for name, program in found.items():
        for got, right in zip(program.gradient(), exact, strict=True):
            gap = np.stack([np.asarray(g) for g in got]) - right
            error = np.linalg.norm(gap) / np.linalg.norm(right)
            if not error < close:
                raise ValueError(f"{name}: gradient off by {error:.1e}, not {close:g}")
