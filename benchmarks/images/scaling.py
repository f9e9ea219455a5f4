"""What a training step of a staged network of images takes on 1 to 16 ranks.

Three stages of 64 layers of two convolutions, exact in turns of samples or with 0 or 1
corrections in every stage, on virtual clocks: ranks share the cores at hand, and only
their CPU time and messages count.  Takes 3 minutes; --quick has 1 and 2 ranks and 16
layers.
"""

import argparse
from typing import Any

import mgresnet as mg
from harness.command import run
from harness.job import call
from harness.table import Rows
from images.staged import OBJECTIVE, network, solver
from mgresnet.parallel.machine import MACHINES
from scaling.one_batch import Task, speed_ups, timed

RANKS, METHODS = (1, 2, 8, 16), ("exact", "0", "1")


def parser(description: str) -> argparse.ArgumentParser:
    """Options of a job."""
    found = argparse.ArgumentParser(
        description=description.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    found.add_argument("--methods", nargs="+", default=list(METHODS))
    found.add_argument("--depth", type=int, default=64, help="of every stage")
    found.add_argument("--batch-size", type=int, default=64)
    found.add_argument("--steps", type=int, default=3)
    found.add_argument("--virtual", choices=sorted(MACHINES), help="a machine")
    return found


def measure_ranks(plain: mg.TimeComm, a: dict[str, Any]) -> Rows:
    """Milliseconds of all methods on these ranks."""
    size, net = a["batch_size"], network(a["depth"])
    batch = mg.load_problem("shapes", n_train=size, n_validation=1, seed=6722).train
    task = Task(net, batch, OBJECTIVE)
    ways = {name: solver(name) for name in a["methods"]}
    head = {"ranks": plain.size, "depth": a["depth"], "batch": size}
    return timed(task, ways, plain, a["virtual"], a["steps"], head)


def measure(quick: bool) -> dict[str, Any]:
    """All numbers of ranks."""
    a = vars(parser(__doc__ or "").parse_args([])) | {"virtual": "infiniband"}
    a |= {"depth": 16, "batch_size": 16} if quick else {}
    ranks = RANKS[:2] if quick else RANKS
    return {"rows": [row for n in ranks for row in call(n, measure_ranks, a)]}


def report(results: dict[str, Any]) -> str:
    """Milliseconds, and speed-up over the exact step on one rank."""
    return speed_ups(results["rows"])


def main() -> None:
    """Answer."""
    run("image_scaling", __doc__, measure, report)
