"""One network, one batch, and the ways to train on them that scaling compares.

| method | gradients |
|---|---|
| a number k | k coarse-grid corrections in both directions |
| adaptive | as many as keep the relative error of the gradient below 1e-2 |
| serial-all | exact, layer after layer, every state kept |
| serial-c-points | exact, every m-th state kept |
| pytorch | exact, by PyTorch |

The weights are a B-spline over depth, trained by Adam.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

import mgresnet as mg

COEFFICIENTS, FINAL_TIME = 12, 5.0
RATE = 1e-3  # of Adam
TOLERANCE = 1e-2  # of adaptive gradients
CHECK_EVERY = 20  # steps from one estimate of the gradient's error to the next
LIMIT = 4  # most corrections of adaptive solves
OBJECTIVE = mg.LeastSquares()
SERIAL = ("serial-all", "serial-c-points")
PEER = "pytorch"


class Task(NamedTuple):
    """Sizes of a training step."""

    depth: int
    width: int
    batch_size: int
    seed: int = 6577


class Training(Protocol):
    """A training run that goes on when asked to."""

    cycle: int
    """Steps after which it repeats itself: a sample is their mean."""

    def step(self) -> mg.Record:
        """Take one step."""

    def gradient_error(self) -> float:
        """Relative 2-norm of the error that the gradient of the last step had."""


def network(task: Task) -> mg.Network:
    """Smooth weights over depth."""
    control = mg.BSpline(COEFFICIENTS)
    return mg.Network(mg.Dense(task.width), task.depth, FINAL_TIME, control=control)


def batch(task: Task) -> mg.Batch:
    """Normal inputs and targets, the same on every rank."""
    rng = np.random.default_rng(task.seed)
    return mg.Batch(*rng.normal(size=(2, task.batch_size, task.width)), 0)


def is_known(method: str) -> bool:
    """Whether this is a method of the table above."""
    return method.isdecimal() or method in ("adaptive", *SERIAL, PEER)


def train(
    method: str, task: Task, coarsening: tuple[int, ...], comm: mg.TimeComm
) -> Training:
    """Begin to train by a method."""
    if method == PEER:
        from _scaling_torch import TorchTraining  # takes seconds to import

        return TorchTraining(task)
    if method in SERIAL:
        keep = method.removeprefix("serial-")
        exact = mg.MGRITOptions.serial(coarsening)
        return OurTraining(task, exact, comm, keep=keep)
    corrections = LIMIT if method == "adaptive" else int(method)
    options = mg.MGRITOptions(coarsening, max_iterations=corrections, tolerance=0.0)
    how: dict[str, Any] = {"check_every": CHECK_EVERY, "keep": "c-points"}
    if method == "adaptive":
        how["gradient_tolerance"] = TOLERANCE
        return OurTraining(task, options, comm, CHECK_EVERY, **how)
    return OurTraining(task, options, comm, **how)


class OurTraining:
    """Training by this package; the same batch in every step."""

    def __init__(
        self,
        task: Task,
        options: mg.MGRITOptions,
        comm: mg.TimeComm,
        cycle: int = 1,
        keep: str = "c-points",
        **how: Any,
    ) -> None:
        self.cycle = cycle
        self._net, self._batch, self._comm = network(task), batch(task), comm
        self._coarsening = options.coarsening
        self._noted: tuple[mg.Params, mg.Params] | None = None
        self._steps: Iterator[mg.Record] = mg.train(
            self._net,
            self._net.init(task.seed),
            itertools.repeat(self._batch),
            optimiser=mg.chain(
                mg.Transform(lambda params: (), self._note), mg.adam(RATE)
            ),
            objective=OBJECTIVE,
            forward=options,
            adjoint=options,
            comm=comm,
            keep=keep,
            **how,
        )

    def _note(self, gradient: Any, state: Any, params: Any, gather: Any) -> Any:
        """Pass a gradient on to Adam, and keep it."""
        self._noted = gradient, params
        return gradient, state

    def step(self) -> mg.Record:
        """Take one step."""
        return next(self._steps)

    def gradient_error(self) -> float:
        """Compare with the serial gradient for the same weights and batch."""
        gradient, params = self._noted
        exact = exact_gradient(
            self._net, params, self._batch, self._coarsening, self._comm
        )
        return distance(gradient.body, exact)


def exact_gradient(
    net: mg.Network,
    params: mg.Params,
    samples: mg.Batch,
    coarsening: tuple[int, ...],
    comm: mg.TimeComm,
) -> Any:
    """Gradient for the coefficients by serial propagation over all ranks."""
    _, exact, _ = mg.value_and_gradient(
        net,
        params,
        samples.inputs,
        samples.targets,
        objective=OBJECTIVE,
        forward=mg.MGRITOptions.serial(coarsening),
        comm=comm,
        keep="c-points",
    )
    return exact.body


def distance(found: Any, exact: Any) -> float:
    """Relative 2-norm of a difference."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
