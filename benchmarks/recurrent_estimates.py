"""How good estimates of the gradient's error are for a gated recurrent unit.

The unit is that of docs/write-a-layer.md, with coarse steps by injection or by its own
composed gates.  It learns where the sum of a random walk ends; estimates are compared
with true errors on weights as drawn, and after training.

    python benchmarks/recurrent_estimates.py            5 seeds, 2 minutes
    python benchmarks/recurrent_estimates.py --seeds 1
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _machine import stamp

import mgresnet as mg
from mgresnet.arrays.trees import global_norm, tree_map

RESULTS = Path(__file__).parent / "results"
sys.path.append(str(RESULTS.parents[1] / "tests"))
from kinds import network, options  # noqa: E402  (layers of the page)

LAYERS = {"injection": "gated", "composed gates": "gated, composed"}
DEPTH, BATCH, STEPS, RATE = 64, 32, 200, 0.01
HEADER = "coarse          weights   k   true error   estimate / true error"
CORRECTIONS = (0, 1, 2, 3, 5, 8)
OBJECTIVE = mg.SoftmaxCrossEntropy()


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Steps of walks, and whether they end low, in the middle or high."""
    walks = rng.standard_normal((BATCH, DEPTH, 2))
    ends = walks[..., 0].sum(axis=1) / np.sqrt(DEPTH)
    return walks, np.digitize(ends, (-0.43, 0.43))


def gradient(net: mg.Network, params: mg.Params, batch: Any, solver: Any) -> Any:
    """Gradient, and the solutions it is from."""
    way = {"objective": OBJECTIVE, "forward": solver, "adjoint": solver}
    _, found, info = mg.value_and_gradient(net, params, *batch, **way)
    return found, info


def ratios(net: mg.Network, name: str, params: mg.Params, batch: Any) -> dict[int, Any]:
    """True relative error, and estimate over true error, by corrections."""
    exact, _ = gradient(net, params, batch, mg.MGRITOptions.serial((4,)))
    size, found = global_norm(exact, np.asarray), {}
    for k in CORRECTIONS:
        solver = options(name, k)
        inexact, info = gradient(net, params, batch, solver)
        true = global_norm(tree_map(np.subtract, inexact, exact), np.asarray)
        estimate = mg.estimate_gradient_error(
            net,
            params,
            info.forward,
            info.adjoint,
            batch[1],
            objective=OBJECTIVE,
            options=solver,
        ).total
        found[k] = {"true": true / size, "ratio": estimate / true}
    return found


def measure(how: str, seed: int) -> list[dict[str, Any]]:
    """Rows of one seed: weights as drawn, and trained exactly."""
    name, rng = LAYERS[how], np.random.default_rng(seed)
    net = network(name, depth=DEPTH)
    params, batch, rows = net.init(seed), draw(rng), []
    serial = mg.MGRITOptions.serial((4,))
    way = {"objective": OBJECTIVE, "forward": serial, "adjoint": serial}
    for weights in ("drawn", "trained"):
        loss = 0.0
        if weights == "trained":
            batches = [draw(rng) for _ in range(STEPS)]
            for record in mg.train(
                net, params, batches, optimiser=mg.adam(RATE), **way
            ):
                params, loss = record.params, record.loss
        for k, found in ratios(net, name, params, batch).items():
            row = {"coarse": how, "weights": weights, "corrections": k, "seed": seed}
            rows.append(row | found | {"last loss": loss})
    return rows


def case(row: dict[str, Any]) -> tuple[Any, ...]:
    """All that a row is about but the seed."""
    return row["coarse"], row["weights"], row["corrections"]


def main() -> None:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    rows = [row for how in LAYERS for seed in seeds for row in measure(how, seed)]
    print(HEADER)
    for how in LAYERS:
        for weights in ("drawn", "trained"):
            for k in CORRECTIONS:
                of = [row for row in rows if case(row) == (how, weights, k)]
                true = statistics.median(r["true"] for r in of)
                ratio = [r["ratio"] for r in of]
                spread = f"[{min(ratio):.2f} {max(ratio):.2f}]"
                text = f"{how:15s} {weights:8s} {k:2d}   {true:10.1e}"
                print(f"{text}   {statistics.median(ratio):.2f} {spread}")
    setting = {"depth": DEPTH, "batch": BATCH, "coarsening": 4, "steps": STEPS}
    found = {"machine": stamp(), "setting": setting | {"rate": RATE}, "rows": rows}
    text = json.dumps(found, indent=1) + "\n"
    (RESULTS / "recurrent_estimates.json").write_text(text)


if __name__ == "__main__":
    main()
