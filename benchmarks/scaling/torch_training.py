"""The same training by PyTorch, eager, on one thread."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import mgresnet as mg
from harness.problem import gradient, relative_error
from rivals.with_torch import march
from scaling.task import RATE, Task


class TorchTraining:
    """Stacked weights from spline coefficients, autograd through all layers, Adam."""

    cycle = 1

    def __init__(self, task: Task) -> None:
        self._problem = net, params, inputs, targets = task.problem
        identity = np.eye(len(params.body))
        basis = net.control.values(identity, task.depth, range(task.depth))
        self._basis, self._inputs, self._targets = (
            torch.tensor(x) for x in (basis, inputs, targets)
        )
        self._coefficients = torch.tensor(params.body, requires_grad=True)
        self._adam = torch.optim.Adam([self._coefficients], RATE)
        self._before = params

    def step(self) -> Any:
        """Take one step."""
        body = self._coefficients.detach().numpy().copy()
        self._before = mg.Params(None, body, None)
        clock = [time.perf_counter()]
        self._adam.zero_grad()
        loss = self._loss()
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

    def _loss(self) -> Any:
        rows, (batch, width) = self._basis @ self._coefficients, self._inputs.shape
        weight = rows[:, : width * width].reshape(-1, width, width)
        bias, h = rows[:, width * width :], self._problem.net.step
        gap = march(self._inputs, weight, bias, h) - self._targets
        return 0.5 * (gap**2).sum() / batch

    def gradient_error(self) -> float:
        """Compare with this package's serial gradient."""
        problem = self._problem._replace(params=self._before)
        _, exact, _ = gradient(problem, mg.MGRITOptions.serial())()
        found = mg.Params(None, self._coefficients.grad.numpy(), None)
        return relative_error(found, exact)
