"""A network of images in three stages, and ways to take a step of training on it."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

import mgresnet as mg
from mgresnet.arrays.trees import tree_map

SHAPE, CHANNELS, M = (3, 16, 16), (4, 8, 16), 4  # channels, height, width; an interval
OBJECTIVE = mg.SoftmaxCrossEntropy()
EXACT = mg.MGRITOptions.serial((M,))


def network(depth: int, channels: tuple[int, ...] = CHANNELS) -> mg.Chain:
    """Layers of two convolutions, weights from a spline over depth, in every stage."""
    form: dict[str, Any] = {"activation": "relu", "spline": 8, "final_time": 2.0}
    return mg.resnet(SHAPE, 4, channels=channels, depth=depth, **form)


def corrected(k: int, operator: str = "third_order") -> mg.MGRITOptions:
    """So many corrections."""
    return mg.MGRITOptions(
        (M,), max_iterations=k, tolerance=0.0, coarse_operator=operator
    )


def solver(method: str) -> mg.MGRITOptions:
    """Of a method: a number of corrections, or exact propagation in turns."""
    return EXACT if method == "exact" else corrected(int(method))


class StagedTraining:
    """Training on the same batch; a `scaling.methods.Training`."""

    cycle = 1

    def __init__(
        self, method: str, net: mg.Chain, batch: Any, comm: mg.TimeComm
    ) -> None:
        self._net, self._batch, self._comm = net, batch, comm
        self._noted: list[Any] = []
        note = mg.Transform(lambda params: (), self._note)
        options = solver(method)
        self._steps: Iterator[mg.Record] = mg.train(
            net,
            net.init(6721),
            itertools.repeat(mg.Batch(*batch, 0)),
            optimiser=mg.chain(note, mg.adam(1e-3)),
            objective=OBJECTIVE,
            forward=options,
            adjoint=options,
            comm=comm,
        )

    def _note(self, gradient: Any, state: Any, params: Any, **given: Any) -> Any:
        self._noted[:] = gradient, params
        return gradient, state

    def step(self) -> mg.Record:
        """Take one step."""
        return next(self._steps)

    def gradient_error(self) -> float:
        """Compare with the exact gradient for the same weights and batch."""
        found, params = self._noted
        way = {"objective": OBJECTIVE, "forward": EXACT, "adjoint": EXACT}
        _, exact, _ = mg.value_and_gradient(
            self._net, params, *self._batch, comm=self._comm, **way
        )
        norm = mg.space(self._net, EXACT, self._comm).norm
        return norm(tree_map(np.subtract, found, exact)) / norm(exact)
