"""How good estimates of the gradient's error are for a staged network of images.

Two stages of 32 layers of two convolutions, weights from a spline over depth; estimates
are compared with true errors on weights as drawn, and after exact training on drawn
figures.  Takes 4 minutes; --quick has one seed in place of five.
"""

import itertools
from typing import Any

from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.estimates import compared, ratios
from harness.table import Rows
from images.staged import EXACT, OBJECTIVE, corrected, network

OPERATORS = ("mean", "matched", "third_order")
DEPTH, CHANNELS, BATCH, STEPS, RATE = 32, (4, 8), 32, 150, 0.005
CORRECTIONS = (0, 1, 2, 3)


def compare(seed: int) -> Rows:
    """Rows of one seed: weights as drawn, and trained exactly."""
    problem = mg.load_problem("shapes", n_train=500, n_validation=BATCH, seed=seed)
    net, batch = network(DEPTH, CHANNELS), problem.validation
    params = net.init(seed)
    batches = mg.batches(problem.train, BATCH, epochs=STEPS, seed=seed)
    some = itertools.islice(batches, STEPS)
    way = {"objective": OBJECTIVE, "forward": EXACT, "adjoint": EXACT}
    *_, last = mg.train(net, params, some, optimiser=mg.adam(RATE), **way)
    rows = []
    for weights, theta in {"drawn": params, "trained": last.params}.items():
        for operator in OPERATORS:
            solvers = {k: corrected(k, operator) for k in CORRECTIONS}
            head = {"weights": weights, "operator": operator, "seed": seed}
            found = ratios(net, theta, batch, OBJECTIVE, solvers)
            rows += [head | row | {"last loss": float(last.loss)} for row in found]
    return rows


def measure(quick: bool) -> dict[str, Any]:
    """All seeds."""
    seeds = range(1 if quick else 5)
    rows = [row for seed in tqdm(seeds) for row in compare(seed)]
    setting = {"depth": DEPTH, "channels": CHANNELS, "batch": BATCH, "steps": STEPS}
    return {"setting": setting | {"rate": RATE}, "rows": rows}


def report(results: dict[str, Any]) -> str:
    """Medians over the seeds, and the range of the ratios."""
    return compared(results["rows"], ("weights", "operator", "corrections"))


def main() -> None:
    """Answer."""
    run("image_estimates", __doc__, measure, report)
