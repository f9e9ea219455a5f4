"""Compare the performance model with runs of the package on virtual clocks.

Ranks are threads that wait without spinning: a virtual clock counts the CPU time of its
own thread, so that sixteen of them need no sixteen cores.  The model's costs are timed
on one rank beside the runs; nothing is fitted to them.  Several rounds do both, and
medians count: of every stretch between verbs, and of predictions.

    python benchmarks model_validation [--quick]
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

# One thread each; and freed memory stays with the process, or what an allocation costs
# would depend on what ran before.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
    os.environ.update(SETTINGS)  # read when a process starts
    os.execv(sys.executable, [sys.executable, *sys.argv])

import matplotlib as mpl  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

ROOT = Path(__file__).parents[2]
for folder in (ROOT, ROOT / "tests", ROOT / "benchmarks"):
    sys.path.insert(0, str(folder))

from fakes import run_ranks  # noqa: E402

import mgresnet as mg  # noqa: E402
from harness.machine import stamp  # noqa: E402
from harness.results import path_of, save  # noqa: E402
from mgresnet.arrays import memory  # noqa: E402
from mgresnet.parallel.clock import Stretches  # noqa: E402
from mgresnet.parallel.machine import MACHINES  # noqa: E402
from mgresnet.perfmodel.cost import Rates  # noqa: E402
from mgresnet.perfmodel.measure import measure_rates  # noqa: E402
from mgresnet.perfmodel.steps import Configuration, Prediction, predict  # noqa: E402
from mgresnet.plotting.style import STYLE  # noqa: E402

MACHINE = MACHINES["infiniband"]
ROUNDS = 3  # over all cases, minutes apart: the machine is faster now, slower then
REPEATS = 7  # in a round
RANKS = (1, 2, 4, 8, 16)
TASKS = ("forward", "gradient", "step")


class Case(NamedTuple):
    """A network, a batch, and how it is solved."""

    depth: int
    width: int
    batch: int
    coarsening: tuple[int, ...]
    iterations: int
    relaxations: int
    control: int
    store: str

    @property
    def config(self) -> Configuration:
        """For the model."""
        control = mg.BSpline(self.control) if self.control else mg.Free()
        net = mg.Network(mg.Dense(self.width), self.depth, control=control)
        options = mg.MGRITOptions(
            coarsening=self.coarsening,
            relaxations=self.relaxations,
            max_iterations=self.iterations,
            tolerance=0.0,
        )
        return Configuration(net, self.batch, 8, options, options, self.store)


CASES = (
    Case(256, 8, 32, (8,), 1, 0, 0, "all"),
    Case(512, 8, 128, (16,), 2, 1, 12, "c-points"),
    Case(1024, 8, 128, (8, 4), 1, 0, 0, "c-points"),
    Case(1024, 8, 32, (32,), 0, 0, 12, "all"),
    Case(256, 32, 128, (16,), 1, 1, 0, "c-points"),
    Case(512, 32, 32, (16,), 2, 0, 0, "all"),
    Case(1024, 32, 128, (32,), 1, 0, 12, "c-points"),
    Case(1024, 32, 128, (16, 4), 1, 1, 0, "all"),
    Case(512, 32, 128, (8,), 0, 0, 0, "c-points"),
    Case(1024, 32, 32, (16,), 1, 0, 0, "c-points"),
)
QUICK = CASES[1:6:2]


def task_of(name: str, case: Case, comm: Any) -> Any:
    """Call that does a task on this rank."""
    config = case.config
    net, options = config.net, config.forward
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(case.batch, case.width))
    targets = np.zeros_like(inputs)
    params = mg.local_slab(net, net.init(), options=options, comm=comm)
    both = {"forward": options, "adjoint": options, "comm": comm, "keep": case.store}
    loss = {"objective": mg.LeastSquares()}
    if name == "forward":
        plain = replace(net, control=mg.Free())
        rows = mg.local_slab(plain, plain.init(), options=options, comm=comm)
        call = partial(mg.solve_forward, options=options, comm=comm, keep=case.store)
        return partial(call, plain, rows, inputs)
    if name == "gradient":
        call = partial(mg.value_and_gradient, **loss, **both)
        return partial(call, net, params, inputs, targets)
    batches = [(inputs, targets)] * (REPEATS + 1)
    adam = mg.adam(1e-9)
    return partial(next, mg.train(net, params, batches, optimiser=adam, **loss, **both))


class Run(NamedTuple):
    """A task of a case, and what stretches of its ranks usually take."""

    case: Case
    task: str
    stretches: tuple[Stretches, ...]


def runs_of(case: Case) -> list[Run]:
    """All tasks on all numbers of ranks."""
    most = case.config.grid.steps[-1]
    sizes = [size for size in RANKS if size <= most]
    ranks = ((task, range(size)) for size in sizes for task in TASKS)
    return [Run(case, task, tuple(Stretches() for _ in r)) for task, r in ranks]


def measured(run: Run) -> dict[str, Any]:
    """Virtual seconds of the last rank, and most CPU seconds of a rank.

    Of the last repetition, whose stretches take the medians over all so far.
    """
    case, task, stretches = run

    def work(plain: Any) -> Any:
        comm = mg.VirtualTimeComm(plain, MACHINE)
        call = task_of(task, case, comm)
        call()
        for _ in range(REPEATS):
            plain.sum(np.zeros(1))
            comm.reset(stretches[plain.rank])
            call()
            account = comm.account
        return account[:2]

    ranks = len(stretches)
    seconds, computed = np.max(run_ranks(work, ranks), axis=0).tolist()
    return {
        "case": case,
        "task": task,
        "ranks": ranks,
        "measured": seconds,
        "computed": computed,
    }


def compare(quick: bool) -> list[dict[str, Any]]:
    """Rows of measured and predicted seconds."""
    runs = {case: runs_of(case) for case in (QUICK if quick else CASES)}
    rates: dict[Case, list[Rates]] = {case: [] for case in runs}
    for _ in range(ROUNDS):
        rows = []
        for case in runs:
            rates[case].append(measure_rates(case.config))
            rows += [measured(run) for run in runs[case]]
    for row in rows:
        case = row["case"]
        found = predicted(row["task"], case, rates[case], row["ranks"])
        row["predicted"] = found.seconds
        row["error"] = found.seconds / row["measured"] - 1.0
        row["phases"] = found.phases
        row["case"] = case._asdict()
    return rows


def predicted(task: str, case: Case, rates: list[Rates], size: int) -> Prediction:
    """Median over rates of several rounds."""
    found = [predict(task, case.config, r, MACHINE, size) for r in rates]
    return sorted(found, key=lambda p: p.seconds)[len(found) // 2]


def quartiles(rows: list[dict[str, Any]]) -> list[float]:
    """Quartiles of the size of the relative error."""
    errors = [abs(row["error"]) for row in rows]
    quarters: list[float] = np.percentile(errors, [25, 50, 75]).tolist()
    return quarters


def report(rows: list[dict[str, Any]]) -> None:
    """Print errors by task and ranks, and the worst."""
    for name in ("task", "ranks"):
        for value in dict.fromkeys(row[name] for row in rows):
            some = [row for row in rows if row[name] == value]
            spread = "  ".join(f"{q:6.1%}" for q in quartiles(some))
            signed = float(np.median([row["error"] for row in some]))
            print(f"{name} {value!s:9} quartiles {spread}   signed {signed:+.1%}")
    spread = "  ".join(f"{q:6.1%}" for q in quartiles(rows))
    print(f"all {len(rows)} runs     quartiles {spread}\nworst")
    for row in sorted(rows, key=lambda row: -abs(row["error"]))[:6]:
        print(
            f"  {row['error']:+.0%}  {row['task']} P={row['ranks']} "
            f"{tuple(row['case'].values())} measured {1e3 * row['measured']:.2f} ms"
        )


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Scatter predicted against measured seconds."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.0, 4.6), layout="constrained")
        axes = figure.subplots()
        for task in TASKS:
            some = [row for row in rows if row["task"] == task]
            x, y = ([1e3 * row[k] for row in some] for k in ("measured", "predicted"))
            axes.loglog(x, y, "o", markersize=4, alpha=0.7, label=task)
        ends = np.array(axes.get_xlim())
        axes.loglog(ends, ends, color="black", linewidth=0.8)
        axes.fill_between(ends, ends / 1.15, ends * 1.15, color="black", alpha=0.1)
        axes.set(xlabel="ms on virtual clocks", ylabel="ms predicted")
        axes.legend(title="band: 15 %")
        figure.savefig(path, dpi=150)


def settle() -> None:
    """Keep all ranks on one core, and let each compute until it waits.

    Ranks that are processes would each keep memory for what comes next; so do these,
    although they share what is kept.
    """
    memory.LIMIT *= max(RANKS)
    sys.setswitchinterval(1.0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """Run, compare, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cases")
    arguments = parser.parse_args()
    settle()
    started = time.perf_counter()
    rows = compare(arguments.quick)
    report(rows)
    path = path_of("model_validation", arguments.quick)
    save(path, {"machine": stamp(), "quartiles": quartiles(rows), "runs": rows})
    draw(path.with_suffix(".png"), rows)
    print(f"{time.perf_counter() - started:.0f} s; wrote {path} and the figure")
