"""The gradient by PyTorch, eager, samples first."""

from collections.abc import Callable
from typing import Any

import numpy as np
from _task import Rival, Task

try:
    import torch
except ImportError:
    torch = None
else:
    torch.set_num_threads(1)


def in_modules(task: Task) -> Rival:
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

    def march():
        state = u
        for layer in layers:
            state = torch.add(state, torch.tanh(layer(state)), alpha=task.h)
        return state

    def gradient():
        layers.zero_grad()
        march().backward(seed)
        return [x.weight.grad for x in layers], [x.bias.grad for x in layers]

    return Rival(_without_tape(march), gradient)


def in_stacks(task: Task) -> Rival:
    """Parameters of all layers in two tensors."""
    weight, bias, u, seed = _tensors(task)
    weight.requires_grad_()
    bias.requires_grad_()
    linear = torch.nn.functional.linear

    def march():
        state = u
        for w, b in zip(weight.unbind(), bias.unbind(), strict=True):
            state = torch.add(state, torch.tanh(linear(state, w, b)), alpha=task.h)
        return state

    def gradient():
        return torch.autograd.grad(march(), (weight, bias), seed)

    return Rival(_without_tape(march), gradient)


def _tensors(task: Task) -> list[Any]:
    """Copies, states (batch, width)."""
    states = (np.ascontiguousarray(x.T) for x in task[2:])
    return [torch.tensor(x) for x in (*task[:2], *states)]


def _without_tape(march: Callable[[], Any]) -> Callable[[], Any]:
    def forward():
        with torch.no_grad():
            return march()

    return forward
