"""A step ends, however wrong the plans turn out to be that it tries in turn."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.learning.ladder import SERIAL

TOLERANCE = 1e-2


@dataclass(frozen=True)
class Rough:
    """An oracle with errors of its own, drawn once for every pair of plans."""

    inner: Any
    seed: int
    scale: float
    tried: list[Any] = field(default_factory=list)
    last: list[Any] = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def solve(self, params, batch, ways, start):
        found, solved = self.inner.solve(params, batch, ways, start)
        self.tried.append(ways)
        assert len(self.tried) < 200, "tries without an end"
        self.last[:] = ways, mg.space(self.inner.net).norm(found.gradient)
        return found, solved

    def mean(self, error, solved):
        ways, norm = self.last
        exact = [way.initial_guess == "serial" for way in ways]
        text = repr([(w.coarsening, w.coarse_operator, w.max_iterations) for w in ways])
        rng = np.random.default_rng([self.seed, *text.encode()])
        parts = self.scale * norm * rng.uniform(0.3, 1.0, 2) * ~np.array(exact)
        return mg.GradientError(float(parts.sum()), *map(float, parts))


@pytest.mark.parametrize("scale", [0.7 * TOLERANCE, TOLERANCE, 1.0])
@pytest.mark.parametrize("ranks", [4, 8, 32])
@pytest.mark.parametrize("seed", range(3))
def test_a_step_ends(seed, ranks, scale):
    net = mg.Network(mg.Dense(3), 256, 2.0, control=mg.BSpline(6))
    options = mg.default_options(net, ranks)
    ways = {"forward": options, "adjoint": options}
    rough = Rough(mg.layer_parallel(net, mg.LeastSquares(), **ways), seed, scale)
    oracle = mg.accurate(rough, TOLERANCE, ranks=ranks, check_every=1)
    params, memory = net.init(seed=71), None
    batch = np.ones((40, 3)), np.zeros((40, 3))
    memory = oracle.init(params)
    for _ in range(4):
        rough.tried.clear()
        found = oracle.evaluate(params, batch, memory)
        memory = found.memory
        serial = all(plan.iterations == SERIAL for plan in found.plans)
        assert found.error.total <= TOLERANCE or serial
