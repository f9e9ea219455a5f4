"""Compare the performance model with runs of the package on virtual clocks.

A hundred configurations are drawn, each with a task and a number of ranks.  Ranks are
threads that wait without spinning: a virtual clock counts the CPU time of its own
thread, so that sixteen of them need no sixteen cores.  The model's costs are timed on
one rank before the run, and nothing is fitted to it.  Every stretch between verbs
counts with its median over the repetitions, and of several rounds over all cases the
one whose error is the middle one.

    python benchmarks model_validation [--seed 2030] [--number 100] [--quick]
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

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
from mgresnet.layers.coarse import COARSE_OPERATORS  # noqa: E402
from mgresnet.parallel.clock import Stretches  # noqa: E402
from mgresnet.parallel.machine import MACHINES  # noqa: E402
from mgresnet.perfmodel.configuration import Configuration  # noqa: E402
from mgresnet.perfmodel.measure import measure_rates  # noqa: E402
from mgresnet.perfmodel.predict import predict  # noqa: E402
from mgresnet.perfmodel.tasks import TASKS, Problem  # noqa: E402
from mgresnet.plotting.style import STYLE  # noqa: E402

MACHINE = MACHINES["infiniband"]
REPEATS = 11
ROUNDS = 3  # over all cases: the machine is faster now, slower then
MOST_RANKS = 16
NUMBERS = 2**20  # most numbers in the states of all layers


class Case(NamedTuple):
    """A network, a batch, how it is solved, and what is compared."""

    depth: int
    width: int
    batch: int
    coarsening: tuple[int, ...]
    iterations: int
    adjoint_iterations: int
    relaxations: int
    operator: str
    control: int
    keep: str
    task: str
    ranks: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw one that fits in memory and has an interval for every rank."""
        while True:
            depth = int(2.0 ** rng.uniform(5.0, 11.0))
            width, batch = (int(2.0 ** rng.uniform(2.0, n)) for n in (6.0, 8.0))
            coarsening = (int(2.0 ** rng.uniform(1.0, 6.0)),)
            if rng.random() < 0.3:
                coarsening += (int(rng.integers(2, 5)),)
            most = depth
            for m in coarsening:
                most //= m
            if most >= 2 and depth * width * batch <= NUMBERS:
                break
        return cls(
            depth,
            width,
            batch,
            coarsening,
            iterations=int(rng.integers(0, 4)),
            adjoint_iterations=int(rng.integers(0, 4)),
            relaxations=int(rng.integers(0, 2)),
            operator=str(rng.choice([*COARSE_OPERATORS])),
            control=int(rng.choice([0, 0, 8, 20])),
            keep=str(rng.choice(["all", "c-points"])),
            task=str(rng.choice([*TASKS])),
            ranks=int(rng.integers(1, min(most, MOST_RANKS) + 1)),
        )

    @property
    def config(self) -> Configuration:
        """For the model."""
        control = mg.BSpline(self.control) if self.control else mg.Free()
        net = mg.Network(mg.Dense(self.width), self.depth, control=control)
        forward = mg.MGRITOptions(
            coarsening=self.coarsening,
            relaxations=self.relaxations,
            max_iterations=self.iterations,
            tolerance=0.0,
            coarse_operator=self.operator,
        )
        adjoint = replace(forward, max_iterations=self.adjoint_iterations)
        return Configuration(net, self.batch, 8, forward, adjoint, self.keep)


def measured(case: Case) -> float:
    """Virtual seconds of the last rank; stretches take medians over repetitions."""
    config, stretches = case.config, [Stretches() for _ in range(case.ranks)]

    def work(plain: Any) -> float:
        comm = mg.VirtualTimeComm(plain, MACHINE)
        net, options = config.net, config.forward
        own = mg.local_slab(net, net.init(), options=options, comm=comm)
        call = TASKS[case.task](Problem(config, net, own, comm))
        call()
        for _ in range(REPEATS):
            plain.sum(np.zeros(1))
            comm.reset(stretches[plain.rank])
            call()
            seconds = comm.clock
        return seconds

    return max(run_ranks(work, case.ranks, timeout=600.0))


def compare(case: Case) -> dict[str, Any]:
    """Measured and predicted seconds."""
    task, config = case.task, case.config
    found = predict(task, config, measure_rates(task, config), MACHINE, case.ranks)
    seconds, predicted = measured(case), found.seconds
    return {
        "case": case._asdict(),
        "task": case.task,
        "ranks": case.ranks,
        "measured": seconds,
        "predicted": predicted,
        "error": predicted / seconds - 1.0,
        "phases": found.phases,
    }


def compare_all(cases: list[Case]) -> list[dict[str, Any]]:
    """Compare in all cases, one after the other."""
    rows = []
    for case in cases:
        rows.append(compare(case))
        print(f"{rows[-1]['error']:+.0%}  {tuple(case)}", flush=True)
    return rows


def median(found: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """Of the rounds of a case the one whose error is the middle one."""
    return sorted(found, key=lambda row: row["error"])[len(found) // 2]


def quartiles(rows: list[dict[str, Any]]) -> list[float]:
    """Quartiles of the size of the relative error."""
    errors = [abs(row["error"]) for row in rows]
    quarters: list[float] = np.percentile(errors, [25, 50, 75]).tolist()
    return quarters


def report(rows: list[dict[str, Any]]) -> None:
    """Print errors by task and ranks, and the worst."""
    for name in ("task", "ranks"):
        for value in sorted({row[name] for row in rows}):
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
    memory.LIMIT *= MOST_RANKS
    sys.setswitchinterval(1.0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """Run, compare, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cases")
    parser.add_argument("--seed", type=int, default=2030)
    parser.add_argument("--number", type=int, default=100, help="of cases")
    arguments = parser.parse_args()
    settle()
    started = time.perf_counter()
    rng = np.random.default_rng(arguments.seed)
    cases = [Case.draw(rng) for _ in range(4 if arguments.quick else arguments.number)]
    path = path_of("model_validation", arguments.quick)
    rounds: list[list[dict[str, Any]]] = []
    while len(rounds) < (1 if arguments.quick else ROUNDS):
        rounds.append(compare_all(cases))
        rows = [median(found) for found in zip(*rounds, strict=True)]
        content = {"machine": stamp(), "seed": arguments.seed}
        content |= {"quartiles_of_rounds": [quartiles(found) for found in rounds]}
        content |= {"quartiles": quartiles(rows), "runs": rows}
        save(path, content)
    report(rows)
    draw(path.with_suffix(".png"), rows)
    print(f"{time.perf_counter() - started:.0f} s; wrote {path} and the figure")


if __name__ == "__main__":
    main()
