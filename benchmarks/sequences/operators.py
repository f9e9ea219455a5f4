"""How good coarse operators of gated cells are, on weights that have been trained.

Sequences of 128 steps are oscillations in noise, to be told apart by their frequency.
Recurrent networks of explicit and implicit cells learn that with exact gradients; then
one gradient is found with k corrections both ways, from intervals of m steps, for
every coarse operator, and compared with the exact one.  At weights as they are drawn
everything converges: judge on trained ones.  Takes 2 minutes.
"""

from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.table import Rows, table

STEPS, N_CLASSES, BATCH = 128, 4, 64
OPERATORS = ("injection", "mean", "matched", "e", "e2")
INTERVALS, CORRECTIONS = (4, 8), (0, 1, 2)
EXACT = mg.MGRITOptions.serial()
LOSS = mg.SoftmaxCrossEntropy()


def main() -> None:
    """Answer."""
    run("gru_operators", __doc__, measure, report)


def measure(quick: bool) -> dict[str, Any]:
    """Errors before and after training, for cells of both kinds."""
    widths, n_training = ((8,), 40) if quick else ((16, 64), 400)
    cells = [(w, implicit) for w in widths for implicit in (False, True)]
    rows = []
    for n_hidden, implicit in tqdm(cells, disable=None):
        layer = mg.GRU(2, n_hidden, implicit=implicit)
        ends = {"head": mg.Linear(n_hidden, N_CLASSES), "control": mg.Shared()}
        net = mg.Network(layer, STEPS, float(STEPS), **ends)
        params, x, labels = net.init(), *drawn(seed=6607)
        learnt, accuracy = trained(net, params, n_training)
        for name, at in (("as drawn", params), ("trained", learnt)):
            names = {"hidden": n_hidden, "implicit": implicit, "weights": name}
            errors = errors_of(net, at, x, labels)
            rows.append(names | {"accuracy": accuracy, "errors": errors})
    return {"steps": STEPS, "training steps": n_training, "rows": rows}


def drawn(seed: int) -> tuple[Any, Any]:
    """A batch of oscillations, and which of the frequencies they have."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_CLASSES, BATCH)
    angles = np.multiply.outer(0.06 * 1.5**labels, np.arange(STEPS))
    angles += rng.uniform(0.0, 2.0 * np.pi, (BATCH, 1))
    waves = np.stack([np.cos(angles), np.sin(2.0 * angles)], axis=-1)
    return waves + rng.standard_normal(waves.shape), labels


def trained(net: Any, params: Any, n: int) -> tuple[Any, float]:
    """Parameters after n steps of Adam, and how often they are then right."""
    batches = (drawn(seed) for seed in range(n))
    way = {"objective": LOSS, "forward": EXACT, "adjoint": EXACT}
    for record in mg.train(net, params, batches, optimiser=mg.adam(5e-3), **way):
        params = record.params
    found = mg.evaluate(net, params, *drawn(seed=n), objective=LOSS)
    return params, float(found.score)


def errors_of(net: Any, params: Any, x: Any, labels: Any) -> dict[str, list[float]]:
    """Relative errors of the body's gradient by operator and interval, for every k."""

    def gradient(options: Any) -> Any:
        way = {"objective": LOSS, "forward": options, "adjoint": options}
        return mg.value_and_gradient(net, params, x, labels, **way)[1].body

    exact, errors = gradient(EXACT), {}
    for operator in OPERATORS:
        for m in INTERVALS:
            errors[f"{operator} {m}"] = [
                relative(gradient(options(operator, m, k)), exact) for k in CORRECTIONS
            ]
    return errors


def options(operator: str, m: int, k: int) -> Any:
    """K corrections from a coarse initial guess."""
    return mg.MGRITOptions(
        (m,), max_iterations=k, tolerance=0.0, coarse_operator=operator
    )


def relative(found: Any, exact: Any) -> float:
    """Error in the 2-norm."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def report(results: dict[str, Any]) -> str:
    """Errors after 0, 1 and 2 corrections."""
    rows: Rows = []
    for row in results["rows"]:
        cell = "implicit" if row["implicit"] else "explicit"
        for operator in OPERATORS:
            found = [
                "  ".join(f"{error:.0e}" for error in row["errors"][f"{operator} {m}"])
                for m in INTERVALS
            ]
            rows.append([cell, row["hidden"], row["weights"], operator, *found])
    head = ["cells", "hidden", "weights", "operator"]
    return table([*head, *(f"m = {m}: k = 0, 1, 2" for m in INTERVALS)], rows)
