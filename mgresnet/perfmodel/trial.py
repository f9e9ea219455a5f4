"""Short runs on one rank whose parts can be timed: the engine's own functions."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np

from mgresnet.accuracy.gradient_error import estimate_gradient_error
from mgresnet.arrays.layout import Array, absent, samples_last
from mgresnet.arrays.memory import empty
from mgresnet.arrays.trees import tree_map
from mgresnet.control import Free
from mgresnet.learning.optimisers import adam
from mgresnet.learning.trainer import train
from mgresnet.mgrit import cycle
from mgresnet.mgrit.level import Level
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.parallel import SerialComm
from mgresnet.parallel.shares import cut
from mgresnet.perfmodel.steps import Configuration
from mgresnet.solve.gradient import value_and_gradient
from mgresnet.solve.propagation import solve_adjoint, solve_forward
from mgresnet.solve.regression import LeastSquares
from mgresnet.solve.roundtrip import leaves_sweep
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution
from mgresnet.timeline.adjoints import Adjoint, Gradients, RetracedAdjoint

ONE = SerialComm()
FCF = cycle.Method("V", (1,), 1.0)
Runs = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Trial:
    """A short network of so many intervals, and a batch for it."""

    net: Network
    params: Params
    inputs: Array
    targets: Array
    options: MGRITOptions
    keep: str

    @classmethod
    def draw(cls, config: Configuration, depth: int, batch: int) -> Self:
        """Random numbers for a configuration, at another depth and batch size."""
        dtype = np.dtype(f"f{config.itemsize}")
        net = replace(config.net, depth=depth)
        params = net.init()
        own = tree_map(lambda values: values.astype(dtype), params)
        rng = np.random.default_rng(7)
        n = net.opening.n_inputs if net.opening else net.layer.state_shape[0]
        inputs = rng.normal(size=(batch, n)).astype(dtype)
        targets = np.zeros((batch, net.n_outputs), dtype)
        options = replace(
            config.forward,
            coarsening=config.grid.factors[:1],
            relaxations=0,
            tolerance=0.0,
            max_iterations=0,
            initial_guess="coarse",
        )
        return cls(net, own, inputs, targets, options, config.keep)

    @property
    def slab(self) -> Slab:
        """All layers."""
        return Slab.of(self.net, self.options, ONE)

    @property
    def fused(self) -> bool:
        """Whether gradients leave the last sweep forward to the adjoint solve."""
        grid = self.slab.grid
        return self.keep == "c-points" and leaves_sweep(grid, self.options, grid)

    @property
    def plain(self) -> Self:
        """The same layers without a control."""
        params = self.params._replace(body=self.slab.theta(self.params))
        return replace(self, net=replace(self.net, control=Free()), params=params)

    @property
    def serial(self) -> MGRITOptions:
        """Options of serial solves."""
        return MGRITOptions.serial(self.options.coarsening)

    def runs(self) -> list[Runs]:
        """Everything to be timed, by name; those of a group work on the same arrays."""
        plain = self.plain
        forward = partial(_forward, plain)
        adjoint = partial(_adjoint, plain, forward(self.options))
        exact = self.serial
        back = partial(_adjoint, plain, forward(exact), exact)
        solution = forward(self.options)
        return [
            _solve("forward", *_forward_level(plain)),
            _solve("adjoint", *_adjoint_level(plain, solution)),
            self._wholes("forward", forward),
            self._wholes("adjoint", adjoint),
            {"forward serial": partial(forward, exact)},
            {"adjoint serial": back},
            {**self._around(), "step": self.step(self.options, self.keep)},
        ]

    def marches(self) -> Runs:
        """Coarse solves, by way."""
        plain = self.plain
        solution = _forward(plain, self.options)
        levels = _forward_level(plain)[0], _adjoint_level(plain, solution)[0]
        ways = ("forward", "adjoint")
        return {way: _coarse_solve(f) for way, f in zip(ways, levels, strict=True)}

    def _wholes(self, way: str, solve: Callable[[MGRITOptions], Any]) -> Runs:
        return {
            f"{way} {k}": partial(solve, replace(self.options, max_iterations=k))
            for k in (0, 2)
        }

    def step(self, options: MGRITOptions, keep: str) -> Callable[[], Any]:
        """Steps of training, one after the other."""
        steps = train(
            self.net,
            self.params,
            itertools.repeat((self.inputs, self.targets)),
            optimiser=adam(1e-9),
            objective=LeastSquares(),
            forward=options,
            adjoint=options,
            keep=keep,
        )
        return lambda: next(steps)

    def _around(self) -> Runs:
        gradient = partial(
            value_and_gradient,
            self.net,
            self.params,
            self.inputs,
            self.targets,
            objective=LeastSquares(),
            forward=self.options,
            adjoint=self.options,
            keep=self.keep,
        )
        _, _, info = gradient()
        slab = self.slab
        rows = np.ones((self.net.depth, self.net.layer.n_params), self.inputs.dtype)
        return {
            "gradient": gradient,
            "collect": lambda: slab.pull_back(rows),
            "estimate": lambda: estimate_gradient_error(
                self.net,
                self.params,
                info.forward,
                info.adjoint,
                self.targets,
                objective=LeastSquares(),
                options=self.options,
            ),
        }


def _solve(way: str, fine: Level, last: Callable[[], Any]) -> Runs:
    """The functions of a cycle, and its last sweep."""
    coarse = fine.coarser
    return {
        f"{way} sweep": fine.sweep,
        f"{way} last": last,
        f"{way} restrict": lambda: cycle.restrict(fine, coarse),
        f"{way} coarse": _coarse_solve(fine),
        f"{way} relax": lambda: cycle.relax(fine, ONE, FCF),
        f"{way} correct": fine.c_points.copy,
        f"{way} copy": lambda: cut(fine.c_points, 2),
    }


def _coarse_solve(fine: Level) -> Callable[[], Any]:
    coarse = fine.coarser
    return lambda: coarse.solve(fine.c_points, coarse.forcing, ONE)


def _forward(trial: Trial, options: MGRITOptions) -> Any:
    given = trial.net, trial.params, trial.inputs
    return solve_forward(*given, options=options, keep=trial.keep)


def _adjoint(trial: Trial, forward: Solution, options: MGRITOptions) -> Any:
    given = trial.net, trial.params, forward, np.ones_like(forward.final)
    return solve_adjoint(*given, options=options, keep=trial.keep, gradient=True)


def _forward_level(trial: Trial) -> tuple[Level, Callable[[], Any]]:
    slab = trial.slab
    layers = slab.propagator(slab.theta(trial.params))
    state = samples_last(trial.net.open(trial.params, trial.inputs))
    noting = layers.noting(state.shape[-1]) if trial.keep == "all" else layers
    return _swept(trial, layers, noting, state)


def _adjoint_level(trial: Trial, forward: Solution) -> tuple[Level, Callable[[], Any]]:
    fine, states = forward.layers, samples_last(forward.states[:-1])
    (m,), none = trial.options.coarsening, absent(states.dtype)
    propagator: Any = RetracedAdjoint(fine, states, m, none)
    if trial.keep == "all":
        propagator = Adjoint(fine, states)
    d_theta = empty((fine.n_steps, fine.layer.n_params), states.dtype)
    noting = propagator.noting(Gradients(d_theta, none), none)
    return _swept(trial, propagator, noting, np.ones_like(states[0]))


def _swept(
    trial: Trial, propagator: Any, noting: Any, state: Array
) -> tuple[Level, Callable[[], Any]]:
    """Level on which all phases can be timed, and the last sweep through it."""
    (m,), none = trial.options.coarsening, absent(state.dtype)
    fine = Level.of(propagator, (m,), state, none)
    fine.points[0] = state
    fine.coarser.forcing[:] = 0.0
    cycle.start(fine, ONE, FCF, none)
    fine.sweep()
    cycle.relax(fine, ONE, FCF)
    if trial.keep == "c-points":
        return fine, lambda: fine.sweep(noting)
    points = empty((propagator.n_steps + 1, *state.shape), state.dtype)

    def last() -> None:
        fine.sweep_into(points, noting)
        fine.settle(points)

    return fine, last
