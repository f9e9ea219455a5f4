"""What it costs that ranks agree before they compute, against a step of training.

Steps of `mg.train`, what such a step does to compare batches, and what
`mg.value_and_gradient` does to compare its arguments take turns in one job.
Seconds are those of the clock on rank 0, and waiting for the other ranks counts.

    mpiexec -n 2 python -m mpi4py benchmarks/agreement.py            2 minutes
    mpiexec -n 2 python -m mpi4py benchmarks/agreement.py --turns 5
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import json  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from _machine import stamp  # noqa: E402
from mpi4py import MPI  # noqa: E402

import mgresnet as mg  # noqa: E402
from mgresnet.learning.rounds import common_batches  # noqa: E402
from mgresnet.parallel.agree import agreement  # noqa: E402
from mgresnet.parallel.grid import as_process_grid  # noqa: E402
from mgresnet.solve.stages import columns, common_inputs  # noqa: E402

RESULTS = Path(__file__).parent / "results"
DEPTH, WIDTH, BATCH, M, CORRECTIONS, SEED = 1024, 8, 256, 16, 1, 71
STEPS, AGREEMENTS = 5, 100  # in one turn
MOST = 0.01  # of a step

Turn = Callable[[], object]


def turns() -> dict[str, tuple[int, Turn]]:
    """What takes turns, and how many times it happens in one."""
    rng, grid = np.random.default_rng(SEED), as_process_grid(MPI.COMM_WORLD)
    net = mg.Network(
        mg.Dense(WIDTH), DEPTH, 5.0, mg.Linear(2, WIDTH), mg.Linear(WIDTH, 5)
    )
    params, batch = net.init(SEED), (rng.random((BATCH, 2)), rng.integers(0, 5, BATCH))
    options = mg.MGRITOptions((M,), max_iterations=CORRECTIONS, tolerance=0.0)
    loss: dict[str, Any] = {"objective": mg.SoftmaxCrossEntropy()}
    loss |= {"forward": options, "adjoint": options}
    given = {
        "net": net,
        "targets": batch[1],
        **loss,
        "regularisation": None,
        "keep": "auto",
    }

    def train() -> None:
        steps = mg.train(
            net, params, [batch] * STEPS, optimiser=mg.adam(1e-3), comm=grid, **loss
        )
        for _ in steps:
            pass

    def agree_on_batches() -> None:
        batches = [batch] * AGREEMENTS
        for _ in common_batches(net, batches, grid, lambda x, _: np.asarray(x)):
            pass

    def agree_on_arguments() -> None:
        for _ in range(AGREEMENTS):
            with agreement(grid, "value_and_gradient", given) as facts:
                facts["params"] = columns(net, params)
                facts["inputs"] = common_inputs(net, batch[0])

    return {
        "step of train": (STEPS, train),
        "batches of a step": (AGREEMENTS, agree_on_batches),
        "arguments of value_and_gradient": (AGREEMENTS, agree_on_arguments),
    }


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each, one number for a turn; the first turn is not counted."""
    rivals = turns()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds + 1):
        for name, (times, turn) in rivals.items():
            MPI.COMM_WORLD.Barrier()
            start = time.perf_counter()
            turn()
            seconds[name].append((time.perf_counter() - start) / times)
    return {name: found[1:] for name, found in seconds.items()}


def main() -> None:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=60)
    seconds = measure(parser.parse_args().turns)
    if MPI.COMM_WORLD.rank:
        return
    step = statistics.median(seconds["step of train"])
    rows = []
    for name, found in seconds.items():
        lower, median, upper = statistics.quantiles(found, n=4)
        share = {"median": median / step, "lower": lower / step, "upper": upper / step}
        quartiles = {"median": median, "lower": lower, "upper": upper}
        rows.append({"what": name, "seconds": quartiles, "of a step": share})
        print(f"{name:33s} {1e6 * median:9.1f} us {median / step:8.2%} of a step")
    setting = {"depth": DEPTH, "width": WIDTH, "batch": BATCH, "coarsening": M}
    setting |= {"corrections": CORRECTIONS, "ranks": MPI.COMM_WORLD.size, "seed": SEED}
    found = {"machine": stamp(), "setting": setting, "goal": MOST, "rows": rows}
    (RESULTS / "agreement.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
