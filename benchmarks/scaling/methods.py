"""One network, one batch, and the ways to train on them that scaling compares.

| method | gradients |
|---|---|
| a number k | k coarse-grid corrections in both directions |
| adaptive | as many as keep the relative error of the gradient below 1e-2 |
| serial-all | exact, layer after layer, every state kept |
| serial-c-points | exact, every m-th state kept |
| pytorch | exact, by PyTorch |

All train the network of a `Task` by Adam.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Protocol

import mgresnet as mg
from harness.problem import LOSS, corrections, gradient, relative_error
from scaling.task import RATE, Task

TOLERANCE = 1e-2  # of adaptive gradients
CHECK_EVERY = 20  # steps from one estimate of the gradient's error to the next
LIMIT = 4  # most corrections of adaptive solves
SERIAL = ("serial-all", "serial-c-points")
PYTORCH = "pytorch"
ALONE = (*SERIAL, PYTORCH)  # in one process, without MPI


class Training(Protocol):
    """A training run that goes on when asked to."""

    cycle: int
    """Steps after which it repeats itself: a sample is their mean."""

    def step(self) -> mg.Record:
        """Take one step."""

    def gradient_error(self) -> float:
        """Relative 2-norm of the error that the gradient of the last step had."""


def is_known(method: str) -> bool:
    """Whether this is a method of the table above."""
    return method.isdecimal() or method in ("adaptive", *ALONE)


def train(
    method: str, task: Task, coarsening: tuple[int, ...], comm: mg.TimeComm
) -> Training:
    """Begin to train by a method."""
    if method == PYTORCH:
        from scaling.torch_training import TorchTraining  # takes seconds to import

        return TorchTraining(task)
    if method in SERIAL:
        exact = corrections(coarsening, None)
        return LayerTraining(task, exact, comm, keep=method.removeprefix("serial-"))
    if method == "adaptive":
        options = corrections(coarsening, LIMIT)
        controller = {"check_every": CHECK_EVERY, "gradient_tolerance": TOLERANCE}
        return LayerTraining(task, options, comm, CHECK_EVERY, **controller)
    options = corrections(coarsening, int(method))
    return LayerTraining(task, options, comm, check_every=CHECK_EVERY)


class LayerTraining:
    """Training by this package; the same batch in every step."""

    def __init__(
        self,
        task: Task,
        options: mg.MGRITOptions,
        comm: mg.TimeComm,
        cycle: int = 1,
        keep: str = "c-points",
        **controller: Any,
    ) -> None:
        self.cycle = cycle
        self._problem, self._comm = task.problem, comm
        self._coarsening = options.coarsening
        self._noted: tuple[mg.Params, mg.Params] | None = None
        net, params, inputs, targets = self._problem
        note = mg.Transform(lambda params: (), self._note)
        self._steps: Iterator[mg.Record] = mg.train(
            net,
            params,
            itertools.repeat(mg.Batch(inputs, targets, 0)),
            optimiser=mg.chain(note, mg.adam(RATE)),
            objective=LOSS,
            forward=options,
            adjoint=options,
            comm=comm,
            keep=keep,
            **controller,
        )

    def _note(self, gradient: Any, state: Any, params: Any, **given: Any) -> Any:
        """Pass a gradient on to Adam, and keep it."""
        self._noted = gradient, params
        return gradient, state

    def step(self) -> mg.Record:
        """Take one step."""
        return next(self._steps)

    def gradient_error(self) -> float:
        """Compare with the serial gradient for the same weights and batch."""
        found, params = self._noted
        problem = self._problem._replace(params=params)
        serial = corrections(self._coarsening, None)
        _, exact, _ = gradient(problem, serial, self._comm)()
        return relative_error(found, exact)
