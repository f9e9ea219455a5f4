"""The gradient by PyTorch, eager, samples first."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rivals.task import Program, Task

try:
    import torch
except ImportError:
    torch = None
else:
    torch.set_num_threads(1)


def in_modules(task: Task) -> Program:
    """One `nn.Linear` per layer, as networks are usually written."""
    weight, bias, u, seed = _tensors(task)
    depth, width, _ = weight.shape
    layers = torch.nn.ModuleList(
        torch.nn.Linear(width, width, dtype=u.dtype) for _ in range(depth)
    )
    with torch.no_grad():
        for layer, w, b in zip(layers, weight, bias, strict=True):
            layer.weight.copy_(w)
            layer.bias.copy_(b)

    def propagate():
        state = u
        for layer in layers:
            state = torch.add(state, torch.tanh(layer(state)), alpha=task.h)
        return state

    def gradient():
        layers.zero_grad()
        propagate().backward(seed)
        return [x.weight.grad for x in layers], [x.bias.grad for x in layers]

    return Program(_without_tape(propagate), gradient)


def in_stacks(task: Task) -> Program:
    """Parameters of all layers in two tensors."""
    weight, bias, u, seed = _tensors(task)
    weight.requires_grad_()
    bias.requires_grad_()

    def gradient():
        last = march(u, weight, bias, task.h)
        return torch.autograd.grad(last, (weight, bias), seed)

    return Program(_without_tape(lambda: march(u, weight, bias, task.h)), gradient)


def march(u: Any, weight: Any, bias: Any, h: float) -> Any:
    """States (batch, width) behind layers (N, width, width) and (N, width)."""
    for w, b in zip(weight.unbind(), bias.unbind(), strict=True):
        rate = torch.tanh(torch.nn.functional.linear(u, w, b))
        u = torch.add(u, rate, alpha=h)
    return u


def _tensors(task: Task) -> list[Any]:
    """Copies, states (batch, width)."""
    states = (np.ascontiguousarray(x.T) for x in task[2:])
    return [torch.tensor(x) for x in (*task[:2], *states)]


def _without_tape(propagate: Callable[[], Any]) -> Callable[[], Any]:
    def forward():
        with torch.no_grad():
            return propagate()

    return forward
