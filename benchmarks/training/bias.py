"""What layer-parallel training loses, or not, against serial training.

Ten seeds each of three problems are trained six ways: weights from a B-spline over
depth, or free and first drawn independently per layer; gradients exact, with the error
kept below 1e-2 by the controller, or by a fixed two forward and one adjoint
FCF-iterations with injection (the settings of TorchBraid's examples).  Weights are
judged by exact inference.  Along the way the estimated gradient error is compared with
the true one.  Takes 45 minutes on one core; --quick has one seed and few epochs.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count, product
from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import answer, parser
from harness.machine import stamp
from harness.problem import corrections, relative_error
from harness.results import path_of
from harness.table import Rows, distinct, select, table
from mgresnet.plotting import save_bias

NAME = "training_bias"
DEPTH, FINAL_TIME, INTERVAL, BATCH = 256, 5.0, 16, 100
TOLERANCE, RANKS = 1e-2, 16
CHECK_EVERY = 5  # steps between comparisons with the exact gradient
PROBLEMS = {  # widths and rates
    "peaks": (8, 0.01),
    "peaks-regression": (8, 0.01),
    "fashion-mnist": (16, 0.003),
}
CONTROLS = {"spline": mg.BSpline(12), "free": mg.Free()}
SERIAL = corrections((INTERVAL,), None)
MATCHED = corrections((INTERVAL,), 8)
FCF = {"relaxations": 1, "coarse_operator": "injection"}
METHODS: dict[str, dict[str, Any]] = {
    "serial": {"forward": SERIAL, "adjoint": SERIAL},
    "controlled": {
        "forward": MATCHED,
        "adjoint": MATCHED,
        "gradient_tolerance": TOLERANCE,
        "ranks": RANKS,
    },
    "fixed 2+1 FCF injection": {
        "forward": corrections((INTERVAL,), 2, **FCF),
        "adjoint": corrections((INTERVAL,), 1, **FCF),
    },
}
KEYS = ("problem", "control", "method")
MEANS = (
    "seen_loss",  # by the forward solves that training used at its end
    "exact_loss",  # same weights and data, exact inference
    "exact_score",
    "validation_score",
    "forward_iterations",  # mean over the steps that iterated
    "adjoint_iterations",
    "serial_fraction",
)


def load(name: str, seed: int, data_dir: str | None) -> Any:
    """A problem of 1000 samples; images are all that there are in a folder."""
    image = name == "fashion-mnist"
    counts = {"n_train": 1000, "n_validation": 400}
    if image and data_dir is None:
        counts = {}
    return mg.load_problem(
        name, seed=seed, data_dir=data_dir if image else None, **counts
    )


class Comparison:
    """Batches, and a transform that notes the true relative errors of gradients."""

    def __init__(self, batches: Iterable[mg.Batch], net: mg.Network, loss: Any) -> None:
        self._batches, self._net, self._loss = batches, net, loss
        self._steps, self._batch = count(), None
        self.errors: list[float] = []
        self.transform = mg.Transform(lambda params: (), self._note)

    def batches(self) -> Iterator[mg.Batch]:
        """Hand out batches."""
        for batch in self._batches:
            self._batch = batch
            yield batch

    def _note(self, gradient: Any, state: Any, params: Any, **given: Any) -> Any:
        """Pass a gradient on."""
        if next(self._steps) % CHECK_EVERY == 0:
            x, y = self._batch.inputs, self._batch.targets
            exact = mg.value_and_gradient(self._net, params, x, y, objective=self._loss)
            self.errors.append(relative_error(exact[1], gradient))
        return gradient, state


def train(
    name: str, control: str, method: str, seed: int, epochs: int, data_dir: str | None
) -> dict[str, Any]:
    """Train one network and judge it."""
    width, rate = PROBLEMS[name]
    problem = load(name, seed, data_dir)
    classes = problem.kind == "classification"
    loss = {"objective": mg.SoftmaxCrossEntropy() if classes else mg.LeastSquares()}
    net = mg.Network(
        mg.Dense(width),
        DEPTH,
        FINAL_TIME,
        opening=mg.Linear(problem.n_features, width, "tanh"),
        head=mg.Linear(width, problem.n_outputs),
        control=CONTROLS[control],
    )
    batches = mg.batches(problem.train, BATCH, epochs, seed)
    true = Comparison(batches, net, loss["objective"])
    steps = epochs * -(-len(problem.train.inputs) // BATCH)
    adam = mg.adam(mg.cosine(rate, steps))
    how = {"optimiser": mg.chain(true.transform, adam), "check_every": 1}
    how |= {**loss, **METHODS[method]}
    records = list(mg.train(net, net.init(seed), true.batches(), **how))
    final, last = records[-1].params, last_options(method, records[-1])
    seen = mg.evaluate(net, final, *problem.train, options=last, **loss)
    exact = mg.evaluate(net, final, *problem.train, options=SERIAL, **loss)
    counts = np.array([(r.forward_iterations, r.adjoint_iterations) for r in records])
    means = [c[c >= 0].mean() if (c >= 0).any() else None for c in counts.T]
    score = mg.evaluate(net, final, *problem.validation, **loss).score
    judged = seen.loss, exact.loss, exact.score, score, *means, (counts < 0).mean()
    return {
        **dict(zip(KEYS, (name, control, method), strict=True)),
        "seed": seed,
        **dict(zip(MEANS, judged, strict=True)),
        "estimated": [r.gradient_error for r in records[::CHECK_EVERY]],
        "true": true.errors,
    }


def last_options(method: str, record: mg.Record) -> mg.MGRITOptions:
    """The forward solve as training did it in its last step."""
    if method != "controlled":
        return METHODS[method]["forward"]
    if record.forward_iterations < 0:
        return SERIAL
    return replace(MATCHED, max_iterations=record.forward_iterations)


def summary(runs: Rows) -> dict[str, Any]:
    """Means and spreads over the seeds of one problem, control and method."""
    row: dict[str, Any] = {}
    for field in MEANS:
        values = [run[field] for run in runs if run[field] is not None]
        row[field] = [float(np.mean(values)), float(np.std(values))] if values else None
    gaps = [abs(r["exact_loss"] - r["seen_loss"]) / r["seen_loss"] for r in runs]
    estimated, true = (
        np.concatenate([run[name] for run in runs]) for name in ("estimated", "true")
    )
    row["worst_gap"] = float(max(gaps))
    row["median_error"], row["largest_error"] = (
        float(np.median(true)),
        float(true.max()),
    )
    inexact = true > 1e-12
    if inexact.any():
        ratios = estimated[inexact] / true[inexact]
        spread = np.percentile(ratios, [0, 2.5, 50, 97.5, 100])
        row["ratio_percentiles"] = spread.tolist()
        row["within_factor_3"] = float(((ratios > 1 / 3) & (ratios < 3)).mean())
    return row


def measure(a: argparse.Namespace) -> dict[str, Any]:
    """All runs, and their table."""
    seeds, epochs = (range(101, 102), 4) if a.quick else (range(101, 111), 30)
    cases = [*product(PROBLEMS, CONTROLS, METHODS, seeds)]
    runs = [train(*case, epochs, a.data_dir) for case in tqdm(cases, unit="run")]
    rows = []
    for case in distinct(runs, *KEYS):
        names = dict(zip(KEYS, case, strict=True))
        rows.append(names | summary(select(runs, **names)))
    settings = {"depth": DEPTH, "final_time": FINAL_TIME, "interval": INTERVAL}
    settings |= {"epochs": epochs, "seeds": list(seeds), "ranks_assumed": RANKS}
    settings |= {"gradient_tolerance": TOLERANCE, "problems": PROBLEMS}
    return {"machine": stamp(), "settings": settings, "table": rows, "runs": runs}


def report(results: dict[str, Any]) -> str:
    """A row for every problem, control and method."""
    head = ["exact loss", "seen", "score", "iterations", "serial", "largest error"]
    head += ["estimate / true, 95 %", "within 3x"]
    rows = []
    for row in results["table"]:
        counts = (row["forward_iterations"], row["adjoint_iterations"])
        ratios = row.get("ratio_percentiles")
        rows.append(
            [
                *(row[key] for key in KEYS),
                "{:.4f} +- {:.4f}".format(*row["exact_loss"]),
                f"{row['seen_loss'][0]:.4f}",
                "{:.3f} +- {:.3f}".format(*row["exact_score"]),
                "/".join("-" if c is None else f"{c[0]:.1f}" for c in counts),
                f"{row['serial_fraction'][0]:.0%}",
                f"{row['largest_error']:.1e}",
                f"{ratios[1]:.2f} to {ratios[3]:.2f}" if ratios else "-",
                f"{row['within_factor_3']:.1%}" if ratios else "-",
            ]
        )
    return table([*KEYS, *head], rows)


def main() -> None:
    """Answer; draw the runs, if they are there."""
    options = parser(__doc__)
    options.add_argument("--data-dir", help="original Fashion-MNIST; else 500 shipped")
    a = options.parse_args()
    results = answer(NAME, a, lambda: measure(a), report)
    if "runs" in results:
        save_bias(path_of(NAME, a.quick).with_suffix(".png"), results["runs"])
