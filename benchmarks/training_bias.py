"""What layer-parallel training loses, or not, against serial training.

Ten seeds each of three problems are trained six ways: weights from a B-spline over
depth, or free and first drawn independently per layer; gradients exact, with the error
kept below 1e-2 by the controller, or by a fixed two forward and one adjoint
FCF-iterations with injection (the settings of TorchBraid's examples).  Weights are
judged by exact inference.  Along the way the estimated gradient error is compared with
the true one.

    python benchmarks/training_bias.py            about 45 minutes on one core
    python benchmarks/training_bias.py --quick    one seed, few epochs
"""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _machine import stamp
from tqdm import tqdm

import mgresnet as mg
from mgresnet.plotting import save_bias

RESULTS = Path(__file__).parent / "results"
DEPTH, FINAL_TIME, INTERVAL = 256, 5.0, 16
TOLERANCE, RANKS = 1e-2, 16
CHECK_EVERY = 5  # steps between comparisons with the exact gradient
PROBLEMS = {
    "peaks": (8, 0.01),
    "peaks-regression": (8, 0.01),
    "fashion-mnist": (16, 0.003),
}
CONTROLS = {"spline": mg.BSpline(12), "free": mg.Free()}
SERIAL = mg.MGRITOptions.serial((INTERVAL,))
MATCHED = mg.MGRITOptions((INTERVAL,), max_iterations=8, tolerance=0.0)
PEER = mg.MGRITOptions(
    (INTERVAL,),
    relaxations=1,
    max_iterations=2,
    tolerance=0.0,
    coarse_operator="injection",
)
METHODS = {
    "serial": {"forward": SERIAL, "adjoint": SERIAL},
    "controlled": {
        "forward": MATCHED,
        "adjoint": MATCHED,
        "gradient_tolerance": TOLERANCE,
        "ranks": RANKS,
    },
    "fixed 2+1 FCF injection": {
        "forward": PEER,
        "adjoint": mg.MGRITOptions(
            (INTERVAL,),
            relaxations=1,
            max_iterations=1,
            tolerance=0.0,
            coarse_operator="injection",
        ),
    },
}


class Run(NamedTuple):
    """One trained network."""

    problem: str
    control: str
    method: str
    seed: int
    seen_loss: float  # by the forward solves that training used at its end
    exact_loss: float  # same weights and data, exact inference
    exact_score: float
    validation_score: float
    forward_iterations: float | None  # mean over the steps that iterated
    adjoint_iterations: float | None
    serial_fraction: float
    estimated: list[float]  # relative gradient errors where checked
    true: list[float]


def spy(batches, net, objective, errors):
    """A transform that passes gradients on and notes their true relative error."""
    steps = itertools.count()

    def update(gradient, state, params, gather):
        if next(steps) % CHECK_EVERY == 0:
            batch = batches.current
            _, exact, _ = mg.value_and_gradient(
                net, params, batch.inputs, batch.targets, objective=objective
            )
            change = type(exact)(*(g - e for g, e in zip(gradient, exact, strict=True)))
            error = mg.global_norm(change, gather) / mg.global_norm(gradient, gather)
            errors.append(error)
        return gradient, state

    return mg.Transform(lambda params: (), update)


class Watched:
    """Batches that remember the one handed out last."""

    def __init__(self, batches):
        self._batches = batches
        self.current = None

    def __iter__(self):
        for batch in self._batches:
            self.current = batch
            yield batch


def train(name, control, method, seed, epochs, data_dir):
    """Train one network and judge it."""
    width, rate = PROBLEMS[name]
    image = name == "fashion-mnist"
    problem = mg.load_problem(
        name,
        n_train=None if image and data_dir is None else 1000,
        n_validation=None if image and data_dir is None else 400,
        seed=seed,
        data_dir=data_dir if image else None,
    )
    classes = problem.kind == "classification"
    objective = mg.SoftmaxCrossEntropy() if classes else mg.LeastSquares()
    net = mg.Network(
        mg.Dense(width),
        DEPTH,
        FINAL_TIME,
        opening=mg.Linear(problem.n_features, width, "tanh"),
        head=mg.Linear(width, problem.n_outputs),
        control=CONTROLS[control],
    )
    params = net.init(seed)
    batches = Watched(mg.batches(problem.train, 100, epochs, seed))
    steps = epochs * -(-len(problem.train.inputs) // 100)
    true: list[float] = []
    optimiser = mg.chain(
        spy(batches, net, objective, true), mg.adam(mg.cosine(rate, steps))
    )
    options = METHODS[method]
    records = list(
        mg.train(
            net, params, batches, optimiser=optimiser, objective=objective, **options
        )
    )
    final = records[-1].params
    seen, exact = (
        mg.evaluate(net, final, *problem.train, objective=objective, options=o)
        for o in (last_options(method, records[-1]), SERIAL)
    )
    new = mg.evaluate(net, final, *problem.validation, objective=objective)
    counts = np.array([(r.forward_iterations, r.adjoint_iterations) for r in records])
    iterated = np.where(counts < 0, np.nan, counts)
    means = [np.nanmean(c) if (c >= 0).any() else None for c in iterated.T]
    return Run(
        problem=name,
        control=control,
        method=method,
        seed=seed,
        seen_loss=seen.loss,
        exact_loss=exact.loss,
        exact_score=exact.score,
        validation_score=new.score,
        forward_iterations=means[0],
        adjoint_iterations=means[1],
        serial_fraction=float((counts < 0).mean()),
        estimated=[r.gradient_error for r in records[::CHECK_EVERY]],
        true=true,
    )


def last_options(method, record):
    """The forward solve as training did it in its last step."""
    if method != "controlled":
        return METHODS[method]["forward"]
    if record.forward_iterations < 0:
        return SERIAL
    return replace(MATCHED, max_iterations=record.forward_iterations)


def summarise(runs):
    """Means and spreads over the seeds of one problem, control and method."""
    table = []
    key = ("problem", "control", "method")
    groups = itertools.groupby(runs, key=lambda run: tuple(run[:3]))
    for names, group in groups:
        members = list(group)
        row = dict(zip(key, names, strict=True))
        for field in Run._fields[4:11]:
            values = [
                getattr(m, field) for m in members if getattr(m, field) is not None
            ]
            row[field] = (
                [float(np.mean(values)), float(np.std(values))] if values else None
            )
        gaps = [abs(m.exact_loss - m.seen_loss) / m.seen_loss for m in members]
        row["worst_gap"] = float(np.max(gaps))
        estimated, true = (
            np.concatenate([getattr(m, name) for m in members])
            for name in ("estimated", "true")
        )
        row["median_error"] = float(np.median(true))
        row["largest_error"] = float(np.max(true))
        inexact = true > 1e-12
        if inexact.any():
            ratios = estimated[inexact] / true[inexact]
            row["ratio_percentiles"] = np.percentile(
                ratios, [0, 2.5, 50, 97.5, 100]
            ).tolist()
            row["within_factor_3"] = float(((ratios > 1 / 3) & (ratios < 3)).mean())
        table.append(row)
    return table


def show(table):
    """Print one line per problem, control and method."""
    print(
        f"{'problem':16} {'control':7} {'method':24} {'exact loss':>17} {'seen':>8} "
        f"{'score':>13} {'iter f/a':>9} {'serial':>6} {'max err':>8} "
        f"{'est/true 95%':>13} {'in 3x':>6}"
    )
    for row in table:
        loss, score = row["exact_loss"], row["exact_score"]
        counts = (row["forward_iterations"], row["adjoint_iterations"])
        iterations = "/".join("-" if c is None else f"{c[0]:.1f}" for c in counts)
        ratios = row.get("ratio_percentiles")
        spread = f"{ratios[1]:.2f}..{ratios[3]:.2f}" if ratios else "-"
        inside = f"{row['within_factor_3']:.1%}" if ratios else "-"
        print(
            f"{row['problem']:16} {row['control']:7} {row['method']:24} "
            f"{loss[0]:8.4f} +- {loss[1]:.4f} {row['seen_loss'][0]:8.4f} "
            f"{score[0]:.3f} +- {score[1]:.3f} {iterations:>9} "
            f"{row['serial_fraction'][0]:6.0%} {row['largest_error']:8.1e} "
            f"{spread:>13} {inside:>6}"
        )


def main():
    """Train, print the table, save results and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--data-dir", help="original Fashion-MNIST files; else 500 shipped"
    )
    arguments = parser.parse_args()
    seeds = range(101, 102 if arguments.quick else 111)
    epochs = 4 if arguments.quick else 30
    cases = list(itertools.product(PROBLEMS, CONTROLS, METHODS, seeds))
    runs = [
        train(*case, epochs, arguments.data_dir) for case in tqdm(cases, unit="run")
    ]
    table = summarise(runs)
    show(table)
    name = "training_bias_quick" if arguments.quick else "training_bias"
    results = {
        "machine": stamp(),
        "settings": {
            "depth": DEPTH,
            "final_time": FINAL_TIME,
            "interval": INTERVAL,
            "epochs": epochs,
            "seeds": list(seeds),
            "gradient_tolerance": TOLERANCE,
            "ranks_assumed": RANKS,
            "problems": {
                name: {"width": w, "rate": r} for name, (w, r) in PROBLEMS.items()
            },
        },
        "table": table,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    save_bias(RESULTS / f"{name}.png", [run._asdict() for run in runs])


if __name__ == "__main__":
    main()
