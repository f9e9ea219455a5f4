"""Cold starts under mpiexec: ranks that compile at once, in one cache.

Every start has three ranks and an empty cache that they share.  Each rank compiles all
kernels, in an order of its own; then all compute a gradient together.  A start is clean
if it ends without error and with every bit of one process.  Twelve starts take 15
minutes; --quick has two.
"""

import hashlib
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.job import command
from harness.launch import launch
from harness.problem import Problem, corrections
from harness.problem import gradient as gradient_of
from harness.table import table
from mgresnet.commands.warmup import DTYPES, TASKS

RANKS, LONGEST = 3, 600.0  # seconds until a start counts as hanging
M = 4


def digest(comm: mg.TimeComm) -> str:
    """Loss, gradient and residuals in both types of numbers, bit by bit."""
    found = hashlib.sha256()
    options = corrections((M,), 2)
    net = mg.Network(mg.Dense(5), 16 * M, 2.0, mg.Linear(2, 5, "tanh"))
    inputs, targets = np.ones((37, 2)), np.zeros((37, 5))
    inputs[:, 0] = np.linspace(-1.0, 1.0, 37)
    for dtype in DTYPES:
        batch = inputs.astype(dtype), targets.astype(dtype)
        problem = Problem(net, net.init(dtype=dtype), *batch)
        value, gradient, info = gradient_of(problem, options, comm)()
        own = gradient.opening if comm.rank == 0 else np.zeros(0, dtype)
        found.update(np.float64(value).tobytes())
        for part in (own, gradient.body):
            found.update(comm.gather(part).tobytes())
        for solution in (info.forward, info.adjoint):
            found.update(solution.residuals.tobytes())
    return found.hexdigest()


def compile_and_compute(comm: mg.TimeComm, number: int) -> str:
    """Compile, beginning with another task on every rank; then compute together."""
    tasks = list(itertools.product(DTYPES, TASKS.values()))
    first = (number + comm.rank * len(tasks) // comm.size) % len(tasks)
    for dtype, task in tasks[first:] + tasks[:first]:
        task(dtype)
    return digest(comm)


def start(number: int, needed: str) -> dict[str, Any]:
    """One cold start."""
    began, job = time.perf_counter(), command(RANKS, compile_and_compute, number)
    with tempfile.TemporaryDirectory() as cache:
        done = launch(job, LONGEST, NUMBA_CACHE_DIR=cache)
        compiled = len(list(Path(cache).rglob("*.nbc")))
    found, errors = done.stdout.strip().strip('"'), done.stderr.strip()
    return {
        "start": number,
        "clean": done.returncode == 0 and found == needed and not errors,
        "bits": found == needed,
        "exit code": done.returncode,
        "errors": errors[-500:],
        "compiled": compiled,
        "seconds": time.perf_counter() - began,
    }


def measure(quick: bool) -> dict[str, Any]:
    """All starts."""
    needed = digest(mg.SerialComm())
    rows = [start(number, needed) for number in tqdm(range(2 if quick else 12))]
    return {"ranks": RANKS, "starts": rows}


def report(results: dict[str, Any]) -> str:
    """A row for every start, then what they said of errors."""
    keys = ["start", "clean", "bits", "exit code", "compiled"]
    rows = results["starts"]
    cells = ([*(row[key] for key in keys), f"{row['seconds']:.0f}"] for row in rows)
    clean = f"{sum(row['clean'] for row in rows)} of {len(rows)} cold starts clean"
    said = (row["errors"] for row in rows if row["errors"])
    return "\n\n".join([table([*keys, "seconds"], cells), clean, *said])


def main() -> None:
    """Answer."""
    run("cold_starts", __doc__, measure, report)
