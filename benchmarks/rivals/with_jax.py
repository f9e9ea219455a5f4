"""The gradient by JAX: a compiled scan over the layers, samples last.

XLA gets one thread, and works in the one that calls: what `time.process_time` counts is
then what the clock shows.
"""

import os
from collections.abc import Callable
from typing import Any

from rivals.task import Program, Task

try:
    import jax
except ImportError:
    jax = None
else:
    os.environ["NPROC"] = "1"  # of the pool of threads; read at the first array
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_enable_x64", True)


SEGMENT = 32  # layers
March = Callable[[Callable[..., Any], Any, Any, Any], Any]


def in_scan(task: Task) -> Program:
    """A plain scan, which keeps what the backward pass needs of every layer."""
    return _compile(task, _scan)


def in_remat(task: Task) -> Program:
    """A scan over segments that keeps their first states and repeats the rest."""
    return _compile(task, _scan_segments)


def _scan(step: Callable[..., Any], u: Any, weight: Any, bias: Any) -> Any:
    return jax.lax.scan(step, u, (weight, bias))[0]


def _scan_segments(step: Callable[..., Any], u: Any, weight: Any, bias: Any) -> Any:
    segment = jax.checkpoint(lambda state, theta: jax.lax.scan(step, state, theta))
    parts = tuple(x.reshape(-1, SEGMENT, *x.shape[1:]) for x in (weight, bias))
    return jax.lax.scan(segment, u, parts)[0]


def _compile(task: Task, march: March) -> Program:
    """Forward sweep and gradient as one compiled function each."""
    weight, bias, u, seed = map(jax.numpy.asarray, task)
    h = jax.numpy.asarray(task.h, u.dtype)

    def step(state: Any, theta: Any) -> tuple[Any, None]:
        w, b = theta
        return state + h * jax.numpy.tanh(w @ state + b[:, None]), None

    def last(weight: Any, bias: Any, u: Any) -> Any:
        return march(step, u, weight, bias)

    def pull_back(weight: Any, bias: Any, u: Any, seed: Any) -> Any:
        return jax.vjp(lambda w, b: last(w, b, u), weight, bias)[1](seed)

    forward, gradient = jax.jit(last), jax.jit(pull_back)
    return Program(
        lambda: forward(weight, bias, u).block_until_ready(),
        lambda: jax.block_until_ready(gradient(weight, bias, u, seed)),
    )
