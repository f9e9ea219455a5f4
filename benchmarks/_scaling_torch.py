"""The same training by PyTorch, eager, on one thread."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _scaling_cases import RATE, Task, batch, distance, exact_gradient, network

import mgresnet as mg

torch.set_num_threads(1)


class TorchTraining:
    """Stacked weights from spline coefficients, autograd through all layers, Adam."""

    cycle = 1

    def __init__(self, task: Task) -> None:
        self._net, self._task = network(task), task
        params = self._net.init(task.seed)
        layers = range(task.depth)
        identity = np.eye(len(params.body))
        basis = self._net.control.values(identity, task.depth, layers)
        self._basis = torch.tensor(basis)
        self._coefficients = torch.tensor(params.body, requires_grad=True)
        samples = batch(task)
        self._inputs = torch.tensor(samples.inputs)
        self._targets = torch.tensor(samples.targets)
        self._adam = torch.optim.Adam([self._coefficients], RATE)
        self._before = params.body

    def step(self) -> Any:
        """Take one step."""
        self._before = self._coefficients.detach().numpy().copy()
        clock = [time.perf_counter()]
        self._adam.zero_grad()
        defect = self._march() - self._targets
        loss = 0.5 * (defect**2).sum() / self._task.batch_size
        clock.append(time.perf_counter())
        loss.backward()
        clock.append(time.perf_counter())
        self._adam.step()
        clock.append(time.perf_counter())
        phases = ("forward", "adjoint", "update")
        seconds = dict(zip(phases, np.diff(clock).tolist(), strict=True))
        return SimpleNamespace(
            seconds=seconds, forward_iterations=-1, adjoint_iterations=-1
        )

    def _march(self) -> torch.Tensor:
        width = self._task.width
        rows = self._basis @ self._coefficients
        weight = rows[:, : width * width].reshape(-1, width, width)
        bias = rows[:, width * width :]
        state, h = self._inputs, self._net.step
        for w, b in zip(weight.unbind(), bias.unbind(), strict=True):
            inside = torch.nn.functional.linear(state, w, b)
            state = torch.add(state, torch.tanh(inside), alpha=h)
        return state

    def gradient_error(self) -> float:
        """Compare with this package's serial gradient."""
        params = mg.Params(None, self._before, None)
        comm = mg.SerialComm()
        exact = exact_gradient(self._net, params, batch(self._task), (), comm)
        return distance(self._coefficients.grad.numpy(), exact)
