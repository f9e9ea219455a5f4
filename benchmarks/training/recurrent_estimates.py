"""How good estimates of the gradient's error are for a gated recurrent unit.

The unit is that of docs/write-a-layer.md, with coarse steps by injection or by its own
composed gates.  It learns where the sum of a random walk ends; estimates are compared
with true errors on weights as drawn, and after training.  Takes 2 minutes; --quick has
one seed in place of five.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.estimates import compared, ratios
from harness.table import Rows

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from kinds import network, options

LAYERS = {"injection": "gated", "composed gates": "gated, composed"}
DEPTH, BATCH, STEPS, RATE = 64, 32, 200, 0.01
CORRECTIONS = (0, 1, 2, 3, 5, 8)
OBJECTIVE = mg.SoftmaxCrossEntropy()
SERIAL = mg.MGRITOptions.serial((4,))


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Steps of walks, and whether they end low, in the middle or high."""
    walks = rng.standard_normal((BATCH, DEPTH, 2))
    ends = walks[..., 0].sum(axis=1) / np.sqrt(DEPTH)
    return walks, np.digitize(ends, (-0.43, 0.43))


def compare(coarse: str, seed: int) -> Rows:
    """Rows of one seed: weights as drawn, and trained exactly."""
    name, rng = LAYERS[coarse], np.random.default_rng(seed)
    net = network(name, depth=DEPTH)
    params, batch = net.init(seed), draw(rng)
    solvers = {k: options(name, k) for k in CORRECTIONS}
    drawn = ratios(net, params, batch, OBJECTIVE, solvers)
    batches = [draw(rng) for _ in range(STEPS)]
    way = {"objective": OBJECTIVE, "forward": SERIAL, "adjoint": SERIAL}
    *_, last = mg.train(net, params, batches, optimiser=mg.adam(RATE), **way)
    trained = ratios(net, last.params, batch, OBJECTIVE, solvers)
    head = {"coarse": coarse, "seed": seed}
    return [
        *(head | row | {"weights": "drawn", "last loss": 0.0} for row in drawn),
        *(
            head | row | {"weights": "trained", "last loss": last.loss}
            for row in trained
        ),
    ]


def measure(quick: bool) -> dict[str, Any]:
    """Both kinds of coarse steps, all seeds."""
    seeds = range(1 if quick else 5)
    cases = [(coarse, seed) for coarse in LAYERS for seed in seeds]
    rows = [row for case in tqdm(cases) for row in compare(*case)]
    setting = {"depth": DEPTH, "batch": BATCH, "coarsening": 4, "steps": STEPS}
    return {"setting": setting | {"rate": RATE}, "rows": rows}


def report(results: dict[str, Any]) -> str:
    """Medians over the seeds, and the range of the ratios."""
    return compared(results["rows"], ("coarse", "weights", "corrections"))


def main() -> None:
    """Answer."""
    run("recurrent_estimates", __doc__, measure, report)
