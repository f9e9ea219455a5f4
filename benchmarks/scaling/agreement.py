"""What it costs that ranks agree before they compute, against a step of training.

Steps of `mg.train`, what such a step does to compare batches, and what
`mg.value_and_gradient` does to compare its arguments take turns in one job of two
ranks, sixty of each in 2 minutes; --quick has five.  Seconds are those of the clock on
rank 0, and waiting for the other counts.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import mgresnet as mg
from harness.command import run
from harness.job import call
from harness.problem import corrections
from harness.table import table
from harness.timing import summary
from mgresnet.learning.layer_parallel import layer_parallel
from mgresnet.learning.rounds import common_batches
from mgresnet.parallel.agree import agreement
from mgresnet.parallel.grid import as_process_grid
from mgresnet.solve.stages import columns, common_inputs
from scaling.turns import barrier

RANKS = 2
DEPTH, WIDTH, BATCH, M, CORRECTIONS, SEED = 1024, 8, 256, 16, 1, 71
STEPS, AGREEMENTS = 5, 100  # in one turn
TRAINING = "step of train"

exhaust = partial(deque, maxlen=0)


def turns(comm: mg.TimeComm) -> dict[str, tuple[int, Callable[[], object]]]:
    """What takes turns, and how many times it happens in one."""
    rng, grid = np.random.default_rng(SEED), as_process_grid(comm)
    maps = mg.Linear(2, WIDTH), mg.Linear(WIDTH, 5)
    net = mg.Network(mg.Dense(WIDTH), DEPTH, 5.0, *maps)
    params, batch = net.init(SEED), (rng.random((BATCH, 2)), rng.integers(0, 5, BATCH))
    options = corrections((M,), CORRECTIONS)
    loss: dict[str, Any] = {"objective": mg.SoftmaxCrossEntropy()}
    loss |= {"forward": options, "adjoint": options}
    given = {"net": net, "targets": batch[1], "regularisation": None, "keep": "auto"}
    oracle = layer_parallel(net, comm=comm, **loss)

    def train() -> None:
        some = [batch] * STEPS
        adam = mg.adam(1e-3)
        exhaust(mg.train(net, params, some, optimiser=adam, comm=grid, **loss))

    def agree_on_batches() -> None:
        exhaust(common_batches(oracle, net, params, [batch] * AGREEMENTS, grid))

    def agree_on_arguments() -> None:
        for _ in range(AGREEMENTS):
            with agreement(grid, "value_and_gradient", given | loss) as facts:
                facts["params"] = columns(net, params)
                facts["inputs"] = common_inputs(net, batch[0])

    return {
        TRAINING: (STEPS, train),
        "batches of a step": (AGREEMENTS, agree_on_batches),
        "arguments of value_and_gradient": (AGREEMENTS, agree_on_arguments),
    }


def seconds_of(comm: mg.TimeComm, rounds: int) -> dict[str, list[float]]:
    """Seconds of each, one number for a turn; the first turn is not counted."""
    runs = turns(comm)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, (times, turn) in runs.items():
            barrier(comm)
            start = time.perf_counter()
            turn()
            seconds[name].append((time.perf_counter() - start) / times)
    return {name: found[1:] for name, found in seconds.items()}


def measure(quick: bool) -> dict[str, Any]:
    """Quartiles in seconds, and as parts of the median step."""
    seconds = call(RANKS, seconds_of, 5 if quick else 60)
    times = {name: summary(found) for name, found in seconds.items()}
    step, rows = times[TRAINING].median, []
    for name, (median, lower, upper, _, _) in times.items():
        spread = {"median": median, "lower": lower, "upper": upper}
        share = {key: value / step for key, value in spread.items()}
        rows.append({"what": name, "seconds": spread, "of a step": share})
    setting = {"depth": DEPTH, "width": WIDTH, "batch": BATCH, "coarsening": M}
    setting |= {"corrections": CORRECTIONS, "ranks": RANKS, "seed": SEED}
    return {"setting": setting, "rows": rows}


def report(results: dict[str, Any]) -> str:
    """Microseconds, and parts of a step."""
    rows = []
    for row in results["rows"]:
        seconds, share = row["seconds"]["median"], row["of a step"]["median"]
        rows.append([row["what"], f"{1e6 * seconds:.1f}", f"{share:.2%}"])
    return table(["what", "microseconds", "of a step"], rows)


def main() -> None:
    """Answer."""
    run("agreement", __doc__, measure, report)
