"""How fast MGRIT converges on deep networks, and how good its gradients are.

Five studies, every number over several seeds of weights and batch:

    histories   residuals before corrections 1..6, N = 1024, m = 16
    factors     convergence factor per iteration over depth, m, levels, T, activation
    depths      iterations to a relative residual of 1e-8, N = 256..16384
    gradients   relative gradient error after k forward and k adjoint corrections
    guesses     what a solve starts from, at the first step and during training

    python benchmarks/convergence.py            about 30 minutes on one core
    python benchmarks/convergence.py --quick    two seeds, shallow networks, 2 minutes
    python benchmarks/convergence.py --only gradients --only guesses
    python benchmarks/convergence.py --stored   tables and figures of what is there

Results go to results/convergence.json (one entry per study, kept if not run again).
"""

import argparse
import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _cases import LOSS, WEIGHTS, both_solves, make_case
from _convergence_report import draw, print_table, write
from _guesses import study_guesses
from _machine import stamp
from tqdm import tqdm

import mgresnet as mg
from mgresnet.layers.coarse import COARSE_OPERATORS

RESULTS = Path(__file__).parent / "results"
OPERATORS = ("injection", *(name for name in COARSE_OPERATORS if name != "injection"))
DIRECTIONS = ("forward", "adjoint")
TOLERANCE = 1e-8
DEEPEST_TRAINED = 1024  # with one free weight per layer; deeper takes too long
ROUNDING = 1e-13  # of the 2-norm of the states; residuals below say nothing
Rows = list[dict[str, Any]]


class Plan(NamedTuple):
    """How much to measure."""

    seeds: tuple[int, ...]
    depth: int  # of the histories and gradients
    depths: tuple[int, ...]  # of the factors
    long_depths: tuple[int, ...]  # of the iteration counts
    activations: tuple[str, ...]


FULL = Plan(
    seeds=(11, 23, 37, 41, 59),
    depth=1024,
    depths=(256, 1024, 4096, 8192),
    long_depths=(256, 1024, 4096, 16384),
    activations=("tanh", "smooth_relu"),
)
QUICK = Plan((11, 23), 256, (256, 512), (256, 1024), ("tanh",))
COARSENINGS = ((4,), (8,), (16,), (32,), (64,), (4, 4), (4, 4, 4), (16, 4))


def fixed(coarsening: tuple[int, ...], k: int, operator: str) -> mg.MGRITOptions:
    """Exactly k corrections."""
    return mg.MGRITOptions(
        coarsening, max_iterations=k, tolerance=0.0, coarse_operator=operator
    )


def study_histories(plan: Plan) -> Rows:
    """Residuals before corrections 1..6, over weights, T, operator and direction."""
    rows = []
    cases = list(itertools.product(WEIGHTS, (5.0, 1.0)))
    for weights, time in tqdm(cases, "histories"):
        solvers = [
            both_solves(make_case(weights, plan.depth, time, seed, batch=100))
            for seed in plan.seeds
        ]
        for operator, direction in itertools.product(OPERATORS, DIRECTIONS):
            options = fixed((16,), 6, operator)
            runs = [s.solve(direction, options).residuals for s in solvers]
            rows.append(
                {
                    "weights": weights,
                    "final_time": time,
                    "operator": operator,
                    "direction": direction,
                    "residuals": rounded(runs),
                }
            )
    return rows


def study_factors(plan: Plan) -> Rows:
    """Convergence factors; entries of mean and spread belong to the depths."""
    rows = []
    untried = [w for w in WEIGHTS if w != "spline"]
    cases = list(itertools.product(untried, plan.activations, (5.0, 1.0)))
    combinations = list(itertools.product(COARSENINGS, OPERATORS, DIRECTIONS))
    for weights, activation, time in tqdm(cases, "factors"):
        shape = (len(combinations), len(plan.depths), len(plan.seeds))
        found = np.empty(shape)
        for (d, depth), (s, seed) in itertools.product(
            enumerate(plan.depths), enumerate(plan.seeds)
        ):
            if weights == "trained free" and depth > DEEPEST_TRAINED:
                found[:, d, s] = np.nan
                continue
            case = make_case(
                weights, depth, time, seed, activation=activation, batch=16
            )
            solver = both_solves(case)
            for c, (coarsening, operator, direction) in enumerate(combinations):
                options = fixed(coarsening, 4, operator)
                found[c, d, s] = factor(solver.solve(direction, options))
        for (coarsening, operator, direction), values in zip(
            combinations, found, strict=True
        ):
            logs = np.log(np.maximum(values, ROUNDING))
            rows.append(
                {
                    "weights": weights,
                    "activation": activation,
                    "final_time": time,
                    "coarsening": list(coarsening),
                    "operator": operator,
                    "direction": direction,
                    "mean": rounded(np.exp(logs.mean(axis=1))),
                    "spread": rounded(np.exp(logs.std(axis=1)), 2),
                }
            )
    return rows


def factor(solution: mg.Solution) -> float:
    """Geometric mean of the residual ratios above rounding; infinite on overflow."""
    if solution.status is mg.Status.NON_FINITE:
        return math.inf
    residuals = np.append(solution.residuals, solution.final_residual)
    floor = ROUNDING * np.linalg.norm(solution.states)
    last = max(1, int(np.sum(residuals > floor)) - 1)
    if residuals[0] <= floor:
        return 0.0
    return float((residuals[last] / residuals[0]) ** (1.0 / last))


def study_depths(plan: Plan) -> Rows:
    """Iterations to 1e-8 (None: not within 20), on coarse grids that grow or do not."""
    coarsenings = {
        "m = 16": lambda depth: (16,),
        "64 intervals": lambda depth: (depth // 64,),
        "16 intervals": lambda depth: (depth // 16,),
        "4, 4, ... to 16 steps": lambda depth: (4,) * (int(math.log2(depth)) // 2 - 2),
    }
    rows = []
    weights = ("smooth", "trained spline", "free")
    for name, time in tqdm(list(itertools.product(weights, (5.0, 1.0))), "depths"):
        found = {}
        for depth, seed in itertools.product(plan.long_depths, plan.seeds):
            solver = both_solves(make_case(name, depth, time, seed))
            for key in itertools.product(coarsenings, OPERATORS, DIRECTIONS):
                options = mg.MGRITOptions(
                    coarsenings[key[0]](depth),
                    max_iterations=20,
                    tolerance=TOLERANCE,
                    coarse_operator=key[1],
                )
                done = solver.solve(key[2], options)
                count = done.iterations if done.converged else None
                found.setdefault(key, {}).setdefault(seed, []).append(count)
        rows += [
            {
                "weights": name,
                "final_time": time,
                "coarsening": coarsening,
                "operator": operator,
                "direction": direction,
                "iterations": list(by_seed.values()),
            }
            for (coarsening, operator, direction), by_seed in found.items()
        ]
    return rows


def study_gradients(plan: Plan) -> Rows:
    """Relative gradient errors with k forward and k adjoint corrections, m = 32."""
    rows = []
    for weights, time in tqdm(list(itertools.product(WEIGHTS, (5.0, 1.0))), "gradient"):
        errors = {(op, k): [] for op in OPERATORS for k in range(3)}
        for seed in plan.seeds:
            case = make_case(weights, plan.depth, time, seed, batch=100)
            _, exact, _ = mg.value_and_gradient(*case, objective=LOSS)
            for operator, k in errors:
                options = fixed((32,), k, operator)
                _, found, _ = mg.value_and_gradient(
                    *case, objective=LOSS, forward=options, adjoint=options
                )
                errors[operator, k].append(distance(found, exact))
        rows += [
            {
                "weights": weights,
                "final_time": time,
                "operator": operator,
                "corrections": k,
                "errors": rounded(values),
            }
            for (operator, k), values in errors.items()
        ]
    return rows


def distance(found: mg.Params, exact: mg.Params) -> float:
    """Relative 2-norm over all parameters."""
    parts = zip(found, exact, strict=True)
    gaps = [None if e is None else f - e for f, e in parts]
    return norm(mg.Params(*gaps)) / norm(exact)


def norm(params: mg.Params) -> float:
    """2-norm over all parameters."""
    return mg.global_norm(params, lambda rows: rows)


def rounded(values: Any, digits: int = 3) -> Any:
    """Numbers with a few digits, nested as the values are; None if not finite."""
    if np.ndim(values):
        return [rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if math.isfinite(values) else None


STUDIES = {
    "histories": study_histories,
    "factors": study_factors,
    "depths": study_depths,
    "gradients": study_gradients,
    "guesses": lambda plan: study_guesses(plan.seeds, plan.depth),
}


def main() -> None:
    """Run the studies, save their results, draw and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=list(STUDIES))
    parser.add_argument("--stored", action="store_true", help="run nothing, show all")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    path = (RESULTS / "quick" if arguments.quick else RESULTS) / "convergence.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.only or STUDIES:
        if not arguments.stored:
            rows = STUDIES[name](plan)
            results[name] = {"machine": stamp(), **plan._asdict(), "rows": rows}
            write(path, results)
        print_table(name, results[name])
        draw(name, results[name], path)


if __name__ == "__main__":
    main()
