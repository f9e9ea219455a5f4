"""Whole training runs: one rank, a pipeline of two, and plans by a gradient tolerance.

Four runs of one network take their steps in turns, on the same batches: on one rank
with all states kept or with C-points, exactly in a pipeline of ranks, and by plans
that keep the relative error of the gradient below 1e-2.  Every 20th step the true error
is found.  Peaks regression, or the 500 images of Fashion-MNIST that are shipped; T = 5,
a spline of 12 values, or free weights.  `many_ranks` has the same runs for 16 and 64.
With --data-dir five passes over all of Fashion-MNIST come last.

Seconds are virtual: CPU time of every rank, and messages as a node has them, so that it
does not matter who else uses the cores.  Those by the clock of the wall stand beside
them; they mean something on a machine of one's own.

Takes ten minutes on two cores, with --quick one.
"""

import argparse
import itertools
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import mgresnet as mg
from harness.command import answer, parser
from harness.job import call
from harness.machine import stamp
from harness.problem import LOSS
from harness.results import load, path_of, save
from harness.table import Rows, rounded, table
from mgresnet.arrays.trees import tree_map

Case: TypeAlias = Sequence[Any]

ROOM = 2**29  # bytes of states up to which one rank keeps all of them
NODE = mg.Machine("node", 1.2e-6, 9.66e9, "as Open MPI between nodes")
TOLERANCE, EVERY = 1e-2, 20
ALONE = {"one rank, all states": "all", "one rank, C-points": "c-points"}
TOGETHER = {"pipeline": "all", "plans": "auto"}
CASES = (  # problem, width, depth, batch, steps, values of the spline or None
    ("peaks-regression", 8, 1024, 256, 240, 12),
    ("peaks-regression", 32, 1024, 256, 160, 12),
    ("peaks-regression", 32, 1024, 1000, 40, 12),
    ("peaks-regression", 32, 1024, 256, 80, None),
    ("fashion-mnist", 32, 1024, 250, 160, 12),
    ("fashion-mnist", 32, 512, 250, 160, 12),
    ("fashion-mnist", 32, 256, 250, 160, 12),
)
FULL = ("fashion-mnist", 32, 512, 250, 1200, 12)
QUICK = (("peaks-regression", 8, 256, 64, 40, 12),)
SIZES = {"peaks-regression": 2000, "fashion-mnist": 500}
LOSSES = {"peaks-regression": LOSS, "fashion-mnist": mg.SoftmaxCrossEntropy()}
NAMES = "problem", "width", "depth", "batch", "steps", "spline"
WAYS = "forward", "adjoint"
LABELS = "ms per step", "layers of a coarse step, 1: exact", "true error"
RATES = {"peaks-regression": 1e-2, "fashion-mnist": 2e-3}


class Run:
    """A training run that takes a step when asked to."""

    def __init__(
        self, name: str, case: Case, folder: str | None, comm: mg.TimeComm
    ) -> None:
        task, width, depth, batch, steps, values = case
        control = mg.Free() if values is None else mg.BSpline(values)
        n = None if folder else SIZES[task]
        data = mg.load_problem(task, n_train=n, seed=6601, data_dir=folder)
        n_outputs = data.n_outputs
        ends = mg.Linear(data.n_features, width, "tanh"), mg.Linear(width, n_outputs)
        self.net = mg.Network(mg.Dense(width), depth, 5.0, *ends, control)
        ranks = comm if name in TOGETHER else mg.SerialComm()
        self.comm = mg.VirtualTimeComm(ranks, NODE)
        stream = mg.batches(data.train, batch, epochs=steps, seed=6603)
        self._batches = [*itertools.islice(stream, steps)]
        self._noted: list[Any] = []
        self.loss: Any = LOSSES[task]
        note = mg.Transform(lambda params: (), self._note)
        alone = mg.MGRITOptions.serial((32,) if name.endswith("C-points") else ())
        how: dict[str, Any] = {"forward": alone, "adjoint": alone}
        if name == "plans":
            how = {"gradient_tolerance": TOLERANCE}
        self._steps: Iterator[mg.Record] = mg.train(
            self.net,
            self.net.init(seed=6602),
            self._batches,
            optimiser=mg.chain(note, mg.adam(RATES[task])),
            objective=self.loss,
            comm=self.comm,
            keep=(ALONE | TOGETHER)[name],
            **how,
        )

    def _note(self, gradient: Any, state: Any, params: Any, **given: Any) -> Any:
        self._noted[:] = gradient, params
        return gradient, state

    def step(self) -> mg.Record:
        """Take a step."""
        return next(self._steps)

    def again(self, record: mg.Record, options: mg.MGRITOptions) -> Any:
        """Gradient of the last step, by other options."""
        batch = self._batches[record.step]
        how = {"forward": options, "adjoint": options, "comm": self.comm}
        how |= {"objective": self.loss, "keep": "c-points"}
        given = self.net, self._noted[1], batch.inputs, batch.targets
        return mg.value_and_gradient(*given, **how)[1]

    def true_error(self, record: mg.Record, found: Any = None) -> float:
        """Relative error of the gradient of the last step, or of another one for it."""
        run = mg.default_options(self.net, self.comm.size)
        exact = mg.MGRITOptions.serial(run.coarsening, run.slabs)
        right = self.again(record, exact)
        norm = mg.space(self.net, exact, self.comm).norm
        found = self._noted[0] if found is None else found
        return norm(tree_map(np.subtract, found, right)) / norm(right)


def side_by_side(comm: mg.TimeComm, case: Case, folder: str | None) -> Rows:
    """Seconds of every step of all runs, and what the steps were."""
    _, width, depth, batch, *_ = case
    small = 8 * width * depth * batch <= ROOM
    names = [name for name in (*ALONE, *TOGETHER) if small or ALONE.get(name) != "all"]
    runs = {name: Run(name, case, folder, comm) for name in names}
    rows = {name: _row(name, comm.size, case) for name in runs}
    for step, (name, run) in itertools.product(range(case[4]), runs.items()):
        row, record = rows[name], None
        comm.sum(np.zeros(1))
        started = time.perf_counter()
        run.comm.reset()
        if name in TOGETHER or comm.rank == 0:
            record = run.step()
        spent = comm.gather(np.array([run.comm.clock]))
        row["wall"].append(rounded(time.perf_counter() - started, 4))
        row["seconds"].append(rounded(spent[: run.comm.size].max(), 4))
        if record is None:
            continue
        row["losses"].append(rounded(record.loss, 6))
        if name == "plans":
            row["plans"].append([*map(str, record.plans)])
            row["estimates"].append(record.seconds.get("estimate", 0.0))
            if step % EVERY == 0:
                row["errors"].append(rounded(run.true_error(record)))
    return [*rows.values()]


def _row(name: str, ranks: int, case: Case) -> dict[str, Any]:
    lists: Any = ("seconds", "wall", "losses", "plans", "estimates", "errors")
    head = {"run": name, "ranks": ranks, "commit": stamp()["commit"]}
    head |= dict(zip(NAMES, case, strict=True))
    return head | {k: [] for k in lists}


def measure(
    path: Path, trials: Sequence[tuple[int, Case, str | None]], resume: bool
) -> dict[str, Any]:
    """All cases, each on its ranks, perhaps with all there is in a folder.

    Each is written when it is measured; to resume is to keep those that have been.
    """
    results: dict[str, Any] = {"machine": stamp(), "rows": []}
    if resume and path.exists():
        results["rows"] = load(path)["rows"]
        wanted = [[ranks, *case] for ranks, case, _ in trials]
        if [*map(_case, results["rows"])] != wanted[: len(results["rows"])]:
            raise SystemExit(f"{path} is of other cases; run without --resume")
    for ranks, *given in tqdm(trials[len(results["rows"]) :], leave=False):
        results["rows"].append(call(ranks, side_by_side, *given))
        save(path, results)
    return results


def _case(rows: Rows) -> list[Any]:
    return [rows[0][k] for k in ("ranks", *NAMES)]


def report(results: dict[str, Any]) -> str:
    """Seconds of whole runs, and speed-up in all and by quarters."""
    head = ["run", "seconds", "speed-up", "by the wall", "by quarters", "final loss"]
    lines = []
    for rows in results["rows"]:
        first = rows[0]
        lines.append(
            "\n{ranks} ranks: {problem}, {depth} layers of width {width}, "
            "batch {batch}, {steps} steps, spline {spline}\n".format(**first)
        )
        best = min((r for r in rows if r["run"] in ALONE), key=_total)
        lines.append(table(head, [_line(row, best) for row in rows]))
        plans = next(row for row in rows if row["run"] == "plans")
        lines.append(_plans(plans))
    return "\n".join(lines)


def _total(row: dict[str, Any], clock: str = "seconds") -> float:
    """Seconds of all steps but the first, which finds its memory."""
    seconds: list[float] = row[clock]
    return sum(seconds[1:])


def _quarters(row: dict[str, Any]) -> list[list[float]]:
    """Seconds of the steps of each quarter, without the first step."""
    return _parts(row["seconds"][1:], -(-len(row["seconds"][1:]) // 4))


def _parts(seconds: list[float], n: int) -> list[list[float]]:
    return [seconds[i : i + n] for i in range(0, len(seconds), n)]


def _line(row: dict[str, Any], best: dict[str, Any]) -> list[str]:
    quarters = [
        sum(b) / sum(a) for a, b in zip(*map(_quarters, (row, best)), strict=True)
    ]
    ratios = " ".join(f"{q:.2f}" for q in quarters)
    loss = f"{statistics.mean(row['losses'][-10:]):.5f}"
    speeds = (f"{_total(best, c) / _total(row, c):.2f}" for c in ("seconds", "wall"))
    return [row["run"], f"{_total(row):.1f}", *speeds, ratios, loss]


def _plans(row: dict[str, Any]) -> str:
    n, text = -(-row["steps"] // 4), []
    for i in range(0, row["steps"], n):
        some = Counter(" + ".join(both) for both in row["plans"][i : i + n])
        text.append(", ".join(f"{k} of {p}" for p, k in some.most_common(2)))
    spent = sum(row["estimates"]) / sum(row["wall"])
    worst = max(row["errors"])
    return (
        f"\nplans by quarters: {'; '.join(text)}\n"
        f"largest true error {worst:.1e}; estimates {100 * spent:.1f} % of the time"
    )


def figures(results: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Milliseconds of a step over training, plans, and true errors."""
    cases = results["rows"]
    figure = Figure(figsize=(3.2 * len(cases), 7.0), layout="constrained")
    axes = figure.subplots(3, len(cases), squeeze=False)
    for column, rows in zip(axes.T, cases, strict=True):
        _draw(*column, rows)
    for axis, label in zip(axes[:, 0], LABELS, strict=True):
        axis.set_ylabel(label)
    axes[0, int(np.argmax([*map(len, cases)]))].legend(fontsize="small")
    axes[1, 0].legend(fontsize="small")
    yield "", figure


def _draw(times: Any, plans: Any, errors: Any, rows: Rows) -> None:
    for row in rows:
        parts = [
            1e3 * statistics.median(part) for part in _parts(row["seconds"], EVERY)
        ]
        colour = f"C{[*ALONE, *TOGETHER].index(row['run'])}"
        times.plot(
            EVERY * np.arange(len(parts)), parts, f"{colour}.-", label=row["run"]
        )
        if row["errors"]:
            shown = np.maximum(row["errors"], 1e-5)
            errors.semilogy(EVERY * np.arange(len(shown)), shown, ".-")
            ways = zip(*row["plans"], strict=True)
            for name, mark, way in zip(WAYS, "_|", ways, strict=True):
                plans.plot([*map(_interval, way)], mark, label=name)
    form = "{problem}, spline {spline}\n{depth} x {width}, batch {batch}, {ranks} ranks"
    times.set_title(form.format(**rows[0]), fontsize="medium")
    times.set_ylim(bottom=0)
    plans.set_yscale("log", base=2)
    plans.set_ylim(0.7, 180)
    errors.set_ylim(1e-5, 3e-2)
    errors.axhline(TOLERANCE, color="grey", lw=0.8)
    errors.set(xlabel="step")


def _interval(plan: str) -> int:
    """Layers of a coarse step of a plan; 1 if it is exact."""
    found = re.search(r"m=(\d+)", plan)
    return int(found[1]) if found else 1


def options(description: str) -> argparse.ArgumentParser:
    """Those of every question, and to go on."""
    known = parser(description)
    known.add_argument("--resume", action="store_true", help="keep what is measured")
    return known


def main() -> None:
    """Answer."""
    known = options(__doc__)
    known.add_argument("--data-dir", metavar="DIR", help="all of Fashion-MNIST, too")
    a = known.parse_args()
    trials = [(2, case, None) for case in (QUICK if a.quick else CASES)]
    trials += [(2, FULL, a.data_dir)] if a.data_dir else []
    path = path_of("whole_runs", a.quick)
    answer("whole_runs", a, lambda: measure(path, trials, a.resume), report, figures)
