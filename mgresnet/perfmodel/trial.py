"""Short runs on one rank whose parts can be timed: the engine's own functions."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np

from mgresnet.arrays.layout import Array, samples_last
from mgresnet.arrays.trees import tree_map
from mgresnet.fused import leaves_sweep
from mgresnet.learning.gradient_error import estimate_gradient_error
from mgresnet.learning.gradients import value_and_gradient
from mgresnet.learning.objectives import LeastSquares
from mgresnet.learning.optimisers import adam
from mgresnet.learning.shared import pull_back_control
from mgresnet.learning.trainer import train
from mgresnet.mgrit import cycle
from mgresnet.mgrit.level import Level
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.segment import March, Segment
from mgresnet.network import Network, Params
from mgresnet.parallel import SerialComm
from mgresnet.parallel.shares import cut
from mgresnet.perfmodel.steps import Configuration
from mgresnet.slab import forward_propagator
from mgresnet.solution import Solution
from mgresnet.solve import solve_adjoint_with_gradient, solve_forward
from mgresnet.timeline.adjoints import Adjoint, RetracedAdjoint

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

    @classmethod
    def draw(cls, config: Configuration, depth: int, batch: int) -> Self:
        """Random numbers for a configuration, at another depth and batch size."""
        dtype = np.dtype(f"f{config.itemsize}")
        net = replace(config.net, depth=depth)
        params = net.init()
        own = tree_map(lambda values: values.astype(dtype), params)
        rng = np.random.default_rng(7)
        n = net.opening.n_inputs if net.opening else net.layer.feature_shape[0]
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
        return cls(net, own, inputs, targets, options)

    @property
    def rows(self) -> Params:
        """Parameters layer by layer."""
        body = self.net.layer_params(self.params.body, range(self.net.depth))
        return self.params._replace(body=body)

    @property
    def fused(self) -> bool:
        """Whether gradients leave the last sweep forward to the adjoint solve."""
        return leaves_sweep(self.net, self.options, self.options)

    @property
    def plain(self) -> Self:
        """The same layers without a control."""
        net = replace(self.net, control=None)
        return replace(self, net=net, params=self.rows)

    def serial(self, store: str) -> MGRITOptions:
        """Options of serial solves."""
        return MGRITOptions.serial(self.options.coarsening, store)

    def runs(self) -> list[Runs]:
        """Everything to be timed, by name; those of a group work on the same arrays."""
        plain = self.plain
        forward = partial(_forward, plain)
        adjoint = partial(_adjoint, plain, forward(self.options))
        exact = self.serial(self.options.store)
        back = partial(_adjoint, plain, forward(exact), exact)
        solution = forward(self.options)
        return [
            _solve("forward", _forward_level(plain), Segment.march),
            _solve("adjoint", _adjoint_level(plain, solution), _with_gradient),
            self._wholes("forward", forward),
            self._wholes("adjoint", adjoint),
            {"forward serial": partial(forward, self.serial("all"))},
            {"adjoint serial": back},
            {**self._around(), "step": self.step(self.options)},
        ]

    def marches(self) -> Runs:
        """Coarse solves, by way."""
        plain = self.plain
        solution = _forward(plain, self.options)
        levels = _forward_level(plain), _adjoint_level(plain, solution)
        ways = ("forward", "adjoint")
        return {way: _coarse_solve(f) for way, f in zip(ways, levels, strict=True)}

    def _wholes(self, way: str, solve: Callable[[MGRITOptions], Any]) -> Runs:
        return {
            f"{way} {k}": partial(solve, replace(self.options, max_iterations=k))
            for k in (0, 2)
        }

    def step(self, options: MGRITOptions) -> Callable[[], Any]:
        """Steps of training, one after the other."""
        steps = train(
            self.net,
            self.params,
            itertools.repeat((self.inputs, self.targets)),
            optimiser=adam(1e-9),
            objective=LeastSquares(),
            forward=options,
            adjoint=options,
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
        )
        _, _, info = gradient()
        slab, (m,) = range(self.net.depth), self.options.coarsening
        rows = np.ones_like(self.rows.body)
        return {
            "gradient": gradient,
            "collect": lambda: pull_back_control(self.net, rows, slab, m, ONE),
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


def _solve(way: str, fine: Level, last: March) -> Runs:
    """The functions of a cycle."""
    coarse = fine.coarser
    return {
        f"{way} sweep": lambda: fine.sweep("relax"),
        f"{way} last": lambda: fine.sweep("relax", last),
        f"{way} restrict": lambda: cycle.restrict(fine, coarse),
        f"{way} coarse": _coarse_solve(fine),
        f"{way} relax": lambda: cycle.relax(fine, ONE, FCF),
        f"{way} correct": fine.c_points.copy,
        f"{way} copy": lambda: cut(fine.c_points, 2),
    }


def _coarse_solve(fine: Level) -> Callable[[], Any]:
    coarse = fine.coarser
    return lambda: coarse.solve(fine.c_points, coarse.forcing, ONE)


def _forward(trial: Trial, options: MGRITOptions) -> Solution:
    return solve_forward(trial.net, trial.params, trial.inputs, options=options)


def _adjoint(trial: Trial, forward: Solution, options: MGRITOptions) -> Any:
    seed = np.ones_like(forward.final)
    return solve_adjoint_with_gradient(
        trial.net, trial.params, forward, seed, options=options
    )


def _forward_level(trial: Trial) -> Level:
    options, slab = trial.options, range(trial.net.depth)
    propagator = forward_propagator(trial.net, trial.params, slab, options)
    state = samples_last(trial.net.open(trial.params, trial.inputs))
    if options.store == "all":
        propagator = propagator.noting_slopes(state.shape)
    return _swept(propagator, state, options)


def _adjoint_level(trial: Trial, forward: Solution) -> Level:
    options = trial.options
    fine, states = forward.layers, samples_last(forward.states[:-1])
    propagator: Any = RetracedAdjoint(fine, states)
    if fine.slopes is not None:
        propagator = Adjoint(fine, states, fine.slopes)
    return _swept(propagator, np.ones_like(states[0]), options)


def _swept(propagator: Any, state: Array, options: MGRITOptions) -> Level:
    """Level on which all phases can be timed."""
    (m,) = options.coarsening
    spacing = 1 if options.store == "all" else m
    fine = Level.of(propagator, (m,), state, spacing)
    fine.begin(state)
    fine.coarser.forcing[:] = 0.0
    cycle.start(fine, ONE, FCF)
    fine.sweep("relax")
    cycle.relax(fine, ONE, FCF)
    return fine


def _with_gradient(segment: Segment) -> Any:
    propagator: Any = segment.propagator
    return propagator.gradient(segment.starts, segment.u)
