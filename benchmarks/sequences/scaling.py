"""What a step of training a recurrent network takes on several ranks, by its length.

Gated units of 16 features, 512 and 4096 steps: exact in turns of samples, or by "e2"
with one or two corrections each way, on virtual clocks: ranks share the cores at hand,
and only their CPU time and messages count.  Weights are hardly trained: how far one may
trust such gradients is what ``mgresnet study gru-operators`` says.  Takes five minutes;
--quick has 1 and 2 ranks and 64 steps.
"""

from typing import Any

import numpy as np

import mgresnet as mg
from harness.command import run
from harness.job import call
from harness.table import Rows
from scaling.one_batch import Task, speed_ups, timed

FEATURES, HIDDEN, CLASSES = 9, 16, 6
M, MACHINE = 4, "infiniband"


def ways() -> dict[str, mg.MGRITOptions]:
    """Exact propagation, and fixed numbers of corrections."""
    found = {"exact": mg.MGRITOptions.serial((M,))}
    for k in (1, 2):
        found[f"e2 {k} + {k}"] = mg.MGRITOptions(
            (M,), max_iterations=k, tolerance=0.0, coarse_operator="e2"
        )
    return found


def measure_ranks(plain: mg.TimeComm, steps: int, batch: int) -> Rows:
    """Milliseconds of all ways on these ranks."""
    rng = np.random.default_rng(6731)
    head = mg.Linear(HIDDEN, CLASSES)
    layer = mg.GRU(FEATURES, HIDDEN)
    net = mg.Network(layer, steps, float(steps), head=head, control=mg.Shared())
    inputs = rng.standard_normal((batch, steps, FEATURES))
    task = Task(
        net, (inputs, rng.integers(0, CLASSES, batch)), mg.SoftmaxCrossEntropy()
    )
    about = {"ranks": plain.size, "steps": steps, "batch": batch}
    return timed(task, ways(), plain, MACHINE, 3, about)


def measure(quick: bool) -> dict[str, Any]:
    """All lengths on all numbers of ranks."""
    lengths, ranks, batch = (512, 4096), (1, 8, 32), 100
    if quick:
        lengths, ranks, batch = (64,), (1, 2), 20
    return {
        "rows": [
            row
            for steps in lengths
            for n in ranks
            for row in call(n, measure_ranks, steps, batch)
        ]
    }


def report(results: dict[str, Any]) -> str:
    """Milliseconds, and speed-up over the exact step on one rank."""
    return speed_ups(results["rows"], "steps")


def main() -> None:
    """Answer."""
    run("sequence_scaling", __doc__, measure, report)
