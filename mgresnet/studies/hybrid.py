"""Auxiliary variables, corrected and filtered, beside exact propagation and MGRIT.

Penalty and augmented Lagrangian methods on K modules train modules apart; in the hybrid
every third epoch is a correction by exact propagation, perhaps on augmented images.
All ways have the same network, first weights, batches and number of steps.  Seconds on
K ranks are modelled, for the layers alone: exact propagation is a pipeline, MGRIT has
a controller that keeps the error of gradients below 5 %.

References
----------
.. [1] Q. Sun et al., arXiv:2009.01462: augmentation in the correction closes the gap in
   accuracy that auxiliary variables leave, and filters send less at no loss.  Only the
   abstract was at hand: networks, rates, epochs and numbers are not theirs.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mgresnet.data import Batch, Problem, augmented, batches, load_problem
from mgresnet.layers import Conv2d, Dense, Linear, Pool
from mgresnet.learning.evaluation import evaluate
from mgresnet.learning.hybrid import Hybrid, hybrid
from mgresnet.learning.layer_parallel import layer_parallel
from mgresnet.learning.optimisers import sgd
from mgresnet.learning.penalty import augmented_lagrangian, penalty
from mgresnet.learning.trainer import train
from mgresnet.learning.transforms import chain, clip_by_global_norm
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.studies.rank_costs import Ranks, total
from mgresnet.studies.statistics import estimate, paired
from mgresnet.studies.study import Case, Request, Row, Study

EXACT, MGRIT, PENALTY, MULTIPLIERS = "exact", "MGRIT", "penalty", "multipliers"
PLAIN, CORRECTED, AUGMENTED, FILTERED = "", "corrected", "augmented", "filtered"
BOTH = f"{CORRECTED}, {AUGMENTED}"
HOW = MGRITOptions((4,), max_iterations=8, tolerance=0.0)
LOSS = SoftmaxCrossEntropy()
RULE = chain(clip_by_global_norm(1.0), sgd(0.05, momentum=0.9))
MODULES = (2, 4, 8)
TURNS = (2, 1)
VARIABLES: dict[str, Any] = {"beta": 1.0, "step": 0.4, "dtype": np.float32}


def cases(request: Request) -> list[Case]:
    """All ways for every seed; images of CIFAR-10 where there is their folder."""
    request.readable("all of fashion-mnist", "fashion-mnist")  # or says what to give
    sizes: dict[str, Any] = {"depth": 32, "n": 3000, "epochs": 24, "batch": 100}
    tasks = {"fashion-mnist": sizes}
    if request.data_dir is not None:
        tasks["cifar-10"] = {"depth": 8, "n": 2000, "epochs": 12, "batch": 50}
    if request.quick:
        small = {"depth": 16, "n": 60, "epochs": 3, "batch": 20}
        tasks = {"fashion-mnist": small}
    counts = (2,) if request.quick else MODULES
    return [
        {"task": task, "seed": seed, **way, **sizes}
        for task, sizes in tasks.items()
        for seed in request.repetitions(5)
        for way in _ways(counts)
    ]


def _ways(counts: tuple[int, ...]) -> Iterator[Case]:
    """Method, variant, number of modules and of sweeps."""
    for method, variant in ((EXACT, PLAIN), (EXACT, AUGMENTED), (MGRIT, PLAIN)):
        yield {"method": method, "variant": variant, "modules": 1, "sweeps": 1}
    every = PLAIN, FILTERED, CORRECTED, BOTH, f"{BOTH}, {FILTERED}"
    ways = (PENALTY, 1, every), (MULTIPLIERS, 1, every), (MULTIPLIERS, 3, (PLAIN,))
    for method, sweeps, variants in ways:
        for variant in variants:
            for k in counts:
                known = {"method": method, "variant": variant}
                yield known | {"modules": k, "sweeps": sweeps}


class Setting(NamedTuple):
    """A network for a problem, and what to keep of its states if that is filtered."""

    net: Network
    filter: Any


def setting(case: Case, problem: Problem) -> Setting:
    """Dense layers, or convolutional ones for images in colour."""
    depth, n = case["depth"], problem.n_features
    if case["task"] != "cifar-10":
        ends = Linear(n, 32, "tanh"), Linear(32, 10)
        return Setting(Network(Dense(32), depth, 2.0, *ends), Pool((1, 4, 8)))
    shape, opening = (8, 8, 8), Pool((3, 32, 32), 4, channels=8)
    layer, head = Conv2d(shape, 3, "relu", kind="double"), Linear(512, 10)
    return Setting(Network(layer, depth, 2.0, opening, head), Pool(shape))


def oracle_of(case: Case, one: Setting) -> Any:
    """What makes the gradients, but those of MGRIT with its controller."""
    exact = layer_parallel(one.net, LOSS)
    if case["method"] in (EXACT, MGRIT):
        return exact
    given = VARIABLES | {"sweeps": case["sweeps"]}
    if FILTERED in case["variant"]:
        given["filters"] = one.filter
    rest = one.net, LOSS, case["modules"], case["n"]
    if case["method"] == PENALTY:
        oracle = penalty(*rest, **given)
    else:
        oracle = augmented_lagrangian(*rest, pace=0.5, **given)
    return hybrid(oracle, exact, TURNS) if CORRECTED in case["variant"] else oracle


def seen(case: Case, problem: Problem, oracle: Any) -> Iterator[Batch]:
    """Batches, augmented where the variant says so."""
    shape: Any = problem.image_shape
    some = batches(problem.train, case["batch"], case["epochs"], case["seed"])
    for batch in some:
        corrects = not isinstance(oracle, Hybrid) or oracle.corrects(batch)
        if AUGMENTED in case["variant"] and corrects:
            yield from augmented([batch], shape, pad=2)
        else:
            yield batch


@lru_cache(1)
def _images(task: str, seed: int, n: int, folder: Path | None) -> Problem:
    """Some images; of those that are shipped, without a folder."""
    if folder is None:
        return load_problem(task, seed=seed, n_train=n)
    here: dict[str, Any] = {"data_dir": folder / task, "n_validation": 1000}
    return load_problem(task, seed=seed, n_train=n, **here)


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Train; what was learned, and what it takes on as many ranks as modules."""
    folder = None if request.quick else request.data_dir
    data = _images(case["task"], case["seed"], case["n"], folder)
    one = setting(case, data)
    oracle: Any = oracle_of(case, one)
    how: dict[str, Any] = {"oracle": oracle}
    if case["method"] == MGRIT:
        how = {"objective": LOSS, "forward": HOW, "adjoint": HOW, "check_every": 10}
        how |= {"gradient_tolerance": 0.05, "ranks": max(MODULES)}
    kept = []
    start = one.net.init(case["seed"])
    for record in train(
        one.net, start, seen(case, data, oracle), optimiser=RULE, **how
    ):
        kept.append(record._replace(state=None))
        params = record.params
    found = evaluate(one.net, params, *data.validation, objective=LOSS)
    several = case["method"] in (EXACT, MGRIT)
    costs = {
        str(k): total(oracle, kept, Ranks(one.net, case["batch"], HOW, k))
        for k in ((1, *MODULES) if several else (case["modules"],))
    }
    return {
        "score": found.score,
        "exact_loss": found.loss,
        "loss": float(np.mean([record.loss for record in kept[-20:]])),
        "defect": kept[-1].forward_residual,
        "status": kept[-1].status.name,
        "kept": getattr(getattr(oracle, "parallel", oracle), "bytes_kept", 0),
        "bytes": {k: cost.bytes for k, cost in costs.items()},
        "seconds": {k: cost.seconds for k, cost in costs.items()},
    }


def label(case: Case) -> str:
    """Method and variant."""
    sweeps = f", {case['sweeps']} sweeps" if case["sweeps"] > 1 else ""
    variant = f", {case['variant']}" if case["variant"] else ""
    return f"{case['method']}{sweeps}{variant}"


def groups(rows: list[Row], task: str) -> dict[tuple[str, str], list[Row]]:
    """Rows by method with variant, and by number of ranks."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for k in row.result["seconds"] if row.case["task"] == task else ():
            found.setdefault((label(row.case), k), []).append(row)
    return found


def beside(rows: list[Row], exact: list[Row]) -> tuple[list[float], list[float]]:
    """Accuracies, and those of exact training with the same seeds."""
    seeds = {row.case["seed"]: row.result["score"] for row in exact}
    ours = [row.result["score"] for row in rows]
    return ours, [seeds[row.case["seed"]] for row in rows]


def table(rows: list[Row]) -> list[str]:
    """Accuracy, its difference from exact training, bytes, and modelled speed-up."""
    heads = f"seeds ranks {'accuracy':25s} {'less exact':29s} MB sent MB kept speed-up"
    lines = []
    for task in dict.fromkeys(row.case["task"] for row in rows):
        found = groups(rows, task)
        exact = found[EXACT, "1"]
        alone = {row.case["seed"]: row.result["seconds"]["1"] for row in exact}
        lines.append(f"{task:44s} {heads}")
        for (name, k), some in found.items():
            both = beside(some, exact)
            sent = np.mean([row.result["bytes"][k] for row in some])
            seconds = [row.result["seconds"][k] for row in some]
            once = sum(alone[row.case["seed"]] for row in some)
            kept = some[0].result["kept"]
            lines.append(
                f"{name:44s} {len(some):5d} {k:>5s} {estimate(both[0])!s:25s} "
                f"{paired(*both)!s:29s} {sent / 1e6:7.1f} {kept / 1e6:7.2f} "
                f"{once / sum(seconds):8.2f}"
            )
    return lines


def draw(rows: list[Row]) -> dict[str, Any]:
    """Differences of accuracies from exact training, of the same seeds."""
    from mgresnet.plotting.studies import draw_estimates

    figures = {}
    for task in dict.fromkeys(row.case["task"] for row in rows):
        found, drawn = groups(rows, task), {}
        for (name, k), some in found.items():
            less = paired(*beside(some, found[EXACT, "1"]))
            if k != "1" and not name.startswith((EXACT, MGRIT)) and less.n > 1:
                drawn[f"{name}, K = {k}"] = less.mean, less.low, less.high
        figures[task] = draw_estimates(drawn, "accuracy less that of exact training")
    return figures


STUDY = Study(
    "auxiliary variables with corrections and filters, exact propagation and MGRIT",
    cases,
    measure,
    table,
    draw,
)
