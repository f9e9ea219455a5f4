"""Memory that a gradient needs on every rank, as the number of ranks grows.

Every rank asks Linux for its highest resident memory during one gradient, less that
just before: arrays, workspace of kernels and buffers of MPI.  Its parameters are added,
and the largest sum over ranks is compared with what C-point storage has to hold there:
C-points of both directions, the states of one interval, parameters, and the gradient.

    python benchmarks/memory_ranks.py              about 3 minutes
    python benchmarks/memory_ranks.py --quick      a short network, 1 and 2 ranks

Results go to results/memory_ranks.json and .png.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from _machine import stamp
from _scaling_launch import ENVIRONMENT, on
from matplotlib.figure import Figure
from memory import BATCH, MB, RESULTS, WIDTH, held, needed, options

import mgresnet as mg
from mgresnet.plotting.style import STYLE

DEPTH = 4096
FACTORS = (16, 64)
CORRECTIONS = (0, 1)
RANKS = (1, 2, 4, 8, 16)
GOAL = 1.3  # over what has to be held


def peak(m: int, corrections: int, depth: int, comm: mg.TimeComm) -> float:
    """Megabytes of the rank that needs most."""
    given = options(m, corrections)
    for layers, samples in ((m * comm.size, comm.size), (depth, BATCH)):
        net = mg.Network(mg.Dense(WIDTH), layers)
        params = mg.local_slab(net, net.init(), options=given, comm=comm)
        batch = np.random.default_rng(7).normal(size=(2, samples, WIDTH))
        grown = needed(
            partial(
                mg.value_and_gradient,
                net,
                params,
                *batch,
                objective=mg.LeastSquares(),
                forward=given,
                adjoint=given,
                comm=comm,
                keep="c-points",
            )
        )
    total = np.array([grown + params.body.nbytes])
    return float(comm.gather(total).max()) / MB


def cases(quick: bool) -> Iterator[tuple[int, int, int, int]]:
    """Factor, corrections, ranks, depth."""
    for m in FACTORS[:1] if quick else FACTORS:
        for corrections in CORRECTIONS:
            for ranks in RANKS[:2] if quick else RANKS:
                yield m, corrections, ranks, 256 if quick else DEPTH


def measure(case: tuple[int, int, int, int]) -> dict[str, Any]:
    """One case on ranks of its own."""
    m, corrections, ranks, depth = case
    command = on(ranks, __file__, "--case", json.dumps([m, corrections, depth]))
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(
        command,
        env=environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        timeout=600.0,
    )
    sums = held(m, depth, ranks)
    megabytes = float(done.stdout)
    return {
        "m": m,
        "corrections": corrections,
        "ranks": ranks,
        "depth": depth,
        "megabytes": megabytes,
        "held": sums,
        "ratio": megabytes / sum(sums.values()),
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Memory over ranks, beside what has to be held."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.6), layout="constrained")
        for axes, m in zip(figure.subplots(1, 2, sharey=True), FACTORS, strict=True):
            for k in CORRECTIONS:
                some = [r for r in rows if (r["m"], r["corrections"]) == (m, k)]
                ranks = [r["ranks"] for r in some]
                label = f"{k} corrections" if k != 1 else "1 correction"
                axes.loglog(ranks, [r["megabytes"] for r in some], "o-", label=label)
            total = [sum(r["held"].values()) for r in some]
            axes.loglog(ranks, total, "k--", label="has to be held")
            one = [m * 8 * WIDTH * BATCH / MB] * len(ranks)
            axes.loglog(ranks, one, "k:", label="one interval")
            axes.set(title=f"m = {m}", xlabel="ranks", xticks=ranks, xticklabels=ranks)
            axes.minorticks_off()
        figure.axes[0].set_ylabel("MB on a rank")
        figure.axes[-1].legend()
        figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        from mgresnet.parallel.mpi import world

        comm = world()
        megabytes = peak(*arguments.case, comm)
        if comm.rank == 0:
            print(megabytes)
        return
    rows = []
    for case in cases(arguments.quick):
        rows.append(row := measure(case))
        where = "m = {m}, {corrections} corrections, {ranks} rank(s)".format(**row)
        print(
            f"{where:38} {row['megabytes']:7.1f} MB, {row['ratio']:5.2f} of what has "
            f"to be held (goal {GOAL})",
            flush=True,
        )
    if arguments.quick:
        return
    text = json.dumps({"machine": stamp(), "goal": GOAL, "cases": rows}, indent=1)
    (RESULTS / "memory_ranks.json").write_text(text + "\n", encoding="utf-8")
    draw(rows, RESULTS / "memory_ranks.png")


if __name__ == "__main__":
    main()
