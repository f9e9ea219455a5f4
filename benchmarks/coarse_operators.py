r"""Which coarse step is worth its price: injection, mean, matched, and four others.

m Euler steps are themselves a Runge-Kutta method with nodes i / m, and parameters that
vary linearly over the interval enter it through their mean and slope only.  Hence any
explicit tableau (a, b, c) that fulfils the order conditions

    sum b_i = 1                     sum b_i c_i^2 = (1 - 1/m)(2 - 1/m) / 6
    sum b_i c_i = (1 - 1/m) / 2     sum b_i a_ij c_j = (1 - 1/m)(1 - 2/m) / 6

and takes its i-th stage with the parameters ``mean + (c_i - sum b_j c_j) slope`` agrees
with the m steps: through H^2 if the first two equations of the left column hold,
through H^3 if all do, with parameters that vary and not only with constant ones.

Besides these, two ideas for weights that have nothing to do with their neighbours:

variance   replace the mean activation of the m layers, s(z_i), by its expectation for
           normal z_i, tanh(z / sqrt(1 + pi v / 2)), v the variance of z_i from those of
           the entries of the weights
fitted     add to matched an affine map of the state per interval, fitted by least
           squares to what matched missed on another batch (an earlier training step)

    python benchmarks/coarse_operators.py            about 5 minutes on one core
    python benchmarks/coarse_operators.py --quick    two seeds, half a minute

All in NumPy, for tanh; the engine is the package's.
"""

import argparse
import itertools
import json
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from _cases import LOSS, WEIGHTS, Case, make_case
from _convergence_report import write
from _machine import stamp
from _operators import OPERATORS, Operator, Steps, Transposed
from convergence import RESULTS, rounded
from tqdm import tqdm

import mgresnet as mg
from mgresnet.arrays.layout import absent, samples_first, samples_last
from mgresnet.mgrit.solver import Outputs, Result, iterate
from mgresnet.plotting import draw_histories
from mgresnet.solve.slab import Slab

SEEDS, DEPTH, CORRECTIONS = (11, 23, 37, 41, 59), 1024, 5
INTERVALS = (16, 32)
SERIAL = mg.MGRITOptions.serial()
Array = Any


def fine_steps(case: Case, operator: Operator) -> Steps:
    """Layers of a case."""
    net, params = case.net, case.params
    rows = net.control.values(params.body, net.depth, range(net.depth))
    w = net.layer.width
    weights, biases = rows[:, : w * w].reshape(-1, w, w), rows[:, w * w :, None]
    theta = np.concatenate([weights, biases], axis=2)
    return Steps(theta, np.zeros_like(theta), net.step, operator)


def solve(steps: Steps | Transposed, start: Array, m: int, k: int) -> Result:
    """Make k corrections, and keep all points; m = 1 is exact."""
    comm = mg.SerialComm()
    outputs = Outputs(steps, np.empty((steps.n_steps + 1, *start.shape)))
    if m == 1:
        return iterate(steps, start, (), SERIAL, comm, outputs=outputs)
    options = mg.MGRITOptions((m,), max_iterations=k, tolerance=0.0)
    return iterate(steps, start, (m,), options, comm, outputs=outputs)


def first_state(case: Case) -> Array:
    """State before the layers, samples last."""
    return samples_last(case.net.open(case.params, case.inputs), 1)


def last_adjoint(case: Case, last: Array) -> Array:
    """Adjoint behind the layers, samples last."""
    net, params = case.net, case.params
    state = samples_first(last, 1)
    _, seed = LOSS.value_and_seed(net.close(params, state), case.targets)
    if net.head is not None:
        _, seed = net.head.pull_back(params.head, state, seed)
    return samples_last(seed, 1)


def fit_defect(steps: Steps, points: Array, m: int) -> Array:
    """Affine maps (n_intervals, w, w + 1) to what coarse steps miss, least squares."""
    n = steps.n_steps // m
    starts, ends = points[: n * m : m], points[m : n * m + 1 : m]
    missed = ends - steps.part(slice(0, n * m)).coarsen(m).step(starts)
    ones = np.ones((n, 1, points.shape[-1]))
    known = np.concatenate([starts, ones], axis=1)
    gram = known @ known.swapaxes(1, 2)
    ridge = 1e-10 * np.trace(gram, axis1=1, axis2=2)[:, None, None]
    right = known @ missed.swapaxes(1, 2)
    return np.linalg.solve(gram + ridge * np.eye(gram.shape[-1]), right).swapaxes(1, 2)


class Exact(NamedTuple):
    """What serial propagation finds, samples last; `earlier` is for other samples."""

    case: Case
    states: Array
    adjoints: Array
    gradient: Array
    earlier: Array


def solve_exactly(case: Case, other: Case) -> Exact:
    """Serial forward and adjoint."""
    steps = fine_steps(case, OPERATORS["mean"])
    states, earlier = (solve(steps, first_state(c), 1, 0).points for c in (case, other))
    seed = last_adjoint(case, states[-1])
    adjoints = solve(Transposed(steps, states[:-1]), seed, 1, 0).points[::-1]
    return Exact(case, states, adjoints, gradient(case, states, adjoints), earlier)


def measure(exact: Exact, operator: Operator, m: int) -> dict[str, Any]:
    """Residual histories, and the gradient error with one correction both ways."""
    case, first = exact.case, exact.states[0]
    steps = fine_steps(case, operator)
    if operator.fitted:
        steps = replace(steps, fit=fit_defect(steps, exact.earlier, m))
    backward = Transposed(steps, exact.states[:-1])
    states = solve(steps, first, m, 1).points
    inexact = Transposed(steps, states[:-1])
    adjoints = solve(inexact, last_adjoint(case, states[-1]), m, 1).points[::-1]
    gap = gradient(case, states, adjoints) - exact.gradient
    return {
        "forward": history(solve(steps, first, m, CORRECTIONS)),
        "adjoint": history(solve(backward, exact.adjoints[-1], m, CORRECTIONS)),
        "gradient_error": np.linalg.norm(gap) / np.linalg.norm(exact.gradient),
    }


def gradient(case: Case, states: Array, adjoints: Array) -> Array:
    """For the parameters of the layers."""
    slab = Slab.of(case.net, SERIAL, None)
    rows = slab.theta(case.params)
    steps, d_theta = slab.propagator(rows).prepared, np.empty_like(rows)
    behind, none = np.ascontiguousarray(adjoints[:0:-1]), absent(rows.dtype)
    known = behind, none, none, np.ascontiguousarray(states[:-1]), none
    case.net.layer.march_back(steps, *known, d_theta, none)
    return d_theta


def history(result: Result) -> list[float]:
    """Residuals before corrections 1, 2, ... ."""
    return [m.residual for m in result.measures]


def study(seeds: tuple[int, ...], depth: int) -> list[dict[str, Any]]:
    """All operators on all weights; means over the seeds."""
    rows = []
    kinds = [w for w in WEIGHTS if w != "spline"]
    for weights, time in tqdm(list(itertools.product(kinds, (5.0, 1.0)))):
        cases = [make_case(weights, depth, time, seed, batch=64) for seed in seeds]
        exact = [
            solve_exactly(case, swap_batch(case, seed))
            for case, seed in zip(cases, seeds, strict=True)
        ]
        for (name, operator), m in itertools.product(OPERATORS.items(), INTERVALS):
            runs = [measure(e, operator, m) for e in exact]
            rows.append(
                {
                    "weights": weights,
                    "final_time": time,
                    "operator": name,
                    "m": m,
                    "evaluations": len(operator.tableau(m).b) * (depth // m),
                    **{key: rounded([run[key] for run in runs]) for key in runs[0]},
                }
            )
    return rows


def swap_batch(case: Case, seed: int) -> Case:
    """The same network with other samples."""
    rng = np.random.default_rng((seed, 1))
    if case.net.opening is None:
        return case._replace(inputs=rng.normal(size=case.inputs.shape))
    split = mg.load_problem("peaks-regression", seed=seed).validation
    chosen = rng.choice(len(split.inputs), len(case.inputs), replace=False)
    return case._replace(inputs=split.inputs[chosen], targets=split.targets[chosen])


def main() -> None:
    """Run, save, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--stored", action="store_true", help="run nothing, show all")
    arguments = parser.parse_args()
    seeds, depth = (SEEDS[:2], 256) if arguments.quick else (SEEDS, DEPTH)
    folder = RESULTS / "quick" if arguments.quick else RESULTS
    path = folder / "coarse_operators.json"
    if not arguments.stored:
        head = {"machine": stamp(), "seeds": seeds, "depth": depth}
        write(path, {"operators": {**head, "rows": study(seeds, depth)}})
    rows = json.loads(path.read_text())["operators"]["rows"]
    panels: dict[str, Any] = {}
    for row in rows:
        print_row(row)
        if row["m"] == 16 and row["final_time"] == 5.0:
            panels.setdefault(row["weights"], {})[row["operator"]] = row["forward"]
    draw_histories(panels).savefig(path.with_suffix(".png"), dpi=150)


def print_row(row: dict[str, Any]) -> None:
    """Geometric means over the seeds, and the worst third residual over the first."""
    forward, adjoint = np.array(row["forward"]), np.array(row["adjoint"])
    worst = (forward[:, 2] / forward[:, 0]).max()
    print(
        f"{row['weights']:15}{row['final_time']:4.0f} {row['operator']:18}{row['m']:3}"
        f"{row['evaluations']:5} |",
        *(f"{v:.1e}" for v in np.exp(np.log(forward).mean(axis=0))),
        f"| {worst:.1e} |",
        *(f"{v:.1e}" for v in np.exp(np.log(adjoint).mean(axis=0))[:3]),
        "|",
        f"{np.exp(np.log(row['gradient_error']).mean()):.1e}",
    )


if __name__ == "__main__":
    main()
