"""Does the error of MGRIT help to leave a plateau?  Steps until the loss has fallen.

All weights start tiny and positive, so that the loss stays at ln 5 for a while.  Every
condition starts from the same weights and data for a seed; the exact loss is looked at
after each step of plain gradient descent.  A run that has not left within the budget
counts with the budget.

Three contrasts are named before the run, with intervals that hold together, by
Bonferroni:

1. MGRIT with one correction, injection, both ways, less exact propagation;
2. a random direction with the norm of that error, both ways, less exact propagation;
3. that MGRIT forward alone, less the same backward alone.

All else is description.

References
----------
.. [1] R. Datar, H. Köstler, "Evaluating multigrid-in-time algorithm for layer-parallel
   training of residual networks", ECCOMAS 2022: the hypothesis, from its abstract; the
   noise and the statistics of that paper are not known here.
"""

from typing import Any

import numpy as np

from mgresnet.arrays.trees import tree_map
from mgresnet.data import load_problem
from mgresnet.layers import Dense, Linear
from mgresnet.learning.layer_parallel import LayerParallel, layer_parallel
from mgresnet.learning.noise import noise
from mgresnet.learning.optimisers import sgd
from mgresnet.learning.oracle import Oracle
from mgresnet.learning.trainer import train
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.studies.statistics import Estimate, estimate, paired
from mgresnet.studies.study import Case, Request, Row, Study

LEFT = 1.5  # the loss, of which the plateau has ln 5 = 1.61
RATE = 0.1
LEVELS = (0.01, 0.1, 0.5)
WAYS = ("forward", "backward", "both")
SERIAL = "exact"
WORST = "MGRIT 1 injection"
CONTRASTS = {
    "MGRIT less exact": (f"{WORST}, both", SERIAL),
    "random direction less exact": ("random direction, both", SERIAL),
    "MGRIT forward less backward": (f"{WORST}, forward", f"{WORST}, backward"),
}


def conditions(quick: bool) -> list[str]:
    """Names of all that is compared."""
    kinds = [f"MGRIT {k} {o}" for k in (1, 2) for o in ("injection", "matched")]
    kinds += [
        "MGRIT 0 injection",
        "random direction",
        *(f"Gaussian {level}" for level in LEVELS),
    ]
    if quick:
        kinds = [WORST, "random direction", f"Gaussian {LEVELS[-1]}"]
    return [SERIAL, *(f"{kind}, {way}" for kind in kinds for way in WAYS)]


def oracle_of(name: str, net: Network) -> Oracle:
    """What makes the gradients of a condition."""
    plain = layer_parallel(net, SoftmaxCrossEntropy())
    if name == SERIAL:
        return plain
    kind, way = name.split(", ")
    ways = ("forward", "backward") if way == "both" else (way,)
    if kind.startswith("MGRIT"):
        _, count, operator = kind.split()
        return _inexact(net, _options(int(count), operator), ways)
    size: Any = _options(1, "injection")
    if kind.startswith("Gaussian"):
        size = float(kind.split()[1])
    return noise(plain, **dict.fromkeys(ways, size))


def _options(count: int, operator: str) -> MGRITOptions:
    """Few corrections from a guess of zero, as in the papers' code."""
    rest: dict[str, Any] = {"tolerance": 0.0, "initial_guess": "zero"}
    return MGRITOptions((4,), max_iterations=count, coarse_operator=operator, **rest)


def _inexact(
    net: Network, options: MGRITOptions, ways: tuple[str, ...]
) -> LayerParallel:
    exact = MGRITOptions.serial(options.coarsening)
    forward, adjoint = (options if way in ways else exact for way in WAYS[:2])
    loss = SoftmaxCrossEntropy()
    return layer_parallel(net, loss, forward=forward, adjoint=adjoint)


def start(seed: int, depth: int) -> tuple[Network, Params]:
    """Network, and weights between 0 and 0.001."""
    ends = Linear(2, 8, "tanh"), Linear(8, 5)
    net, rng = Network(Dense(8), depth, 5.0, *ends), np.random.default_rng((seed, 11))
    return net, tree_map(lambda x: 1e-3 * rng.random(x.shape), net.init(seed))


def cases(request: Request) -> list[Case]:
    """All conditions for every seed."""
    size = {"depth": 16, "budget": 60, "n": 40} if request.quick else {}
    rest = {"depth": 32, "budget": 400, "n": 200} | size
    return [
        {"condition": name, "seed": seed, **rest}
        for seed in request.repetitions(20)
        for name in conditions(request.quick)
    ]


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Steps until the exact loss is below the plateau's."""
    net, params = start(case["seed"], case["depth"])
    data = load_problem("peaks", n_train=case["n"], seed=case["seed"]).train
    exact, errors = layer_parallel(net, SoftmaxCrossEntropy()), []
    batches = [tuple(data)] * case["budget"]
    how: dict[str, Any] = {"oracle": oracle_of(case["condition"], net)}
    for record in train(net, params, batches, optimiser=sgd(RATE), **how):
        if record.step == 0:
            errors.append(_gradient_error(how["oracle"], exact, params, data))
        if exact.value(record.params, data, ()) < LEFT:
            break
    return {"left": record.step + 1, "first_error": errors[0]}


def _gradient_error(oracle: Any, exact: Any, params: Any, data: Any) -> float:
    """Relative error of the gradient at the start."""
    found, wanted = (
        np.concatenate([part.ravel() for part in gradient])
        for gradient in (
            one.evaluate(params, tuple(data), one.init(params)).gradient
            for one in (oracle, exact)
        )
    )
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def times(rows: list[Row]) -> dict[str, list[float]]:
    """Steps of every condition, by seed."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row.case["condition"], []).append(row.result["left"])
    return found


def contrasts(rows: list[Row]) -> dict[str, Estimate]:
    """The three that were named, with intervals that hold together."""
    left, level = times(rows), 1.0 - 0.05 / len(CONTRASTS)
    return {name: paired(left[a], left[b], level) for name, (a, b) in CONTRASTS.items()}


def table(rows: list[Row]) -> list[str]:
    """Steps to leave, differences from exact propagation, and the verdict."""
    left, budget = times(rows), rows[0].case["budget"]
    lines = [
        f"{'condition':30s} {'steps to leave':26s} {'less exact':26s} stayed  error"
    ]
    for name, steps in left.items():
        stayed = sum(step >= budget for step in steps)
        first = [r.result["first_error"] for r in rows if r.case["condition"] == name]
        lines.append(
            f"{name:30s} {estimate(steps)!s:26s} {paired(steps, left[SERIAL])!s:26s} "
            f"{stayed:6d}  {np.median(first):.0e}"
        )
    lines += ["", "contrasts named before the run, simultaneous 95 % intervals"]
    for name, found in contrasts(rows).items():
        verdict = "no difference shown"
        if found.differs:
            verdict = "leaves earlier" if found.mean < 0 else "leaves later"
        lines.append(f"{name:30s} {found!s:26s} {verdict}")
    return lines


def draw(rows: list[Row]) -> dict[str, Any]:
    """Survival on the plateau, and differences with intervals."""
    from mgresnet.plotting.studies import draw_estimates, draw_survival

    left = times(rows)
    panels: dict[str, dict[str, list[float]]] = {}
    for name in left:
        if name != SERIAL:
            kind, way = name.split(", ")
            panels.setdefault(way, {SERIAL: left[SERIAL]})[kind] = left[name]
    some = {n: t for n, t in left.items() if min(t) < rows[0].case["budget"]}
    differences = {n: paired(t, left[SERIAL]) for n, t in some.items() if n != SERIAL}
    intervals = {n: (e.mean, e.low, e.high) for n, e in differences.items()}
    return {
        "survival": draw_survival(panels, rows[0].case["budget"], "steps"),
        "differences": draw_estimates(intervals, "steps to leave, less exact"),
    }


STUDY = Study(
    "does the error of MGRIT help to leave a plateau?", cases, measure, table, draw
)
