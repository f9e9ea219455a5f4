"""What a training step of a staged network of images takes on 1 to 16 ranks.

Three stages of 64 layers of two convolutions, exact in turns of samples or with 0 or 1
corrections in every stage, on virtual clocks: ranks share the cores at hand, and only
their CPU time and messages count.  Takes 15 minutes; --quick has 1 and 2 ranks and 16
layers.
"""

import argparse
import statistics
from typing import Any

import mgresnet as mg
from harness.command import run
from harness.job import call
from harness.table import Rows, distinct, select, table
from images.staged import StagedTraining, network
from mgresnet.parallel.machine import MACHINES
from scaling.turns import TimedComm, VirtualClock, WallClock, summary, take_turns

RANKS, METHODS = (1, 2, 4, 8, 16), ("exact", "0", "1")


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
    if a["virtual"]:
        virtual = mg.VirtualTimeComm(plain, MACHINES[a["virtual"]])
        comm: Any = virtual
        clock: Any = VirtualClock(plain, virtual)
    else:
        comm = TimedComm(plain, [])
        clock = WallClock(plain, comm)
    size = a["batch_size"]
    batch = mg.load_problem("shapes", n_train=size, n_validation=1, seed=6722).train
    net = network(a["depth"])
    runs = [StagedTraining(name, net, batch, comm) for name in a["methods"]]
    timed = take_turns(runs, clock, plain, 2, a["steps"])
    head = {"ranks": plain.size, "depth": a["depth"], "batch": size}
    rows = []
    for name, found in zip(a["methods"], timed, strict=True):
        told = summary(found, clock.columns)
        middle = 1e3 * statistics.median(told["samples"])
        rows.append({"method": name, **head, "milliseconds": middle, **told})
    return rows


def measure(quick: bool) -> dict[str, Any]:
    """All numbers of ranks."""
    a = vars(parser(__doc__ or "").parse_args([])) | {"virtual": "infiniband"}
    a |= {"depth": 16, "batch_size": 16} if quick else {}
    ranks = RANKS[:2] if quick else RANKS
    return {"rows": [row for n in ranks for row in call(n, measure_ranks, a)]}


def report(results: dict[str, Any]) -> str:
    """Milliseconds, and speed-up over the exact step on one rank."""
    rows = results["rows"]
    (alone,) = select(rows, method="exact", ranks=1)
    lines = []
    for ranks in distinct(rows, "ranks"):
        cells = [str(ranks)]
        for row in select(rows, ranks=ranks):
            speedup = alone["milliseconds"] / row["milliseconds"]
            cells += [f"{row['milliseconds']:.0f}", f"{speedup:.2f}"]
            cells += (
                [f"{row['gradient_error']:.0e}"] if row["method"] != "exact" else []
            )
        lines.append(cells)
    head = ["ranks", "exact, ms", "speed-up"]
    for k in METHODS[1:]:
        head += [f"k = {k}, ms", "speed-up", "gradient error"]
    return table(head, lines)


def main() -> None:
    """Answer."""
    run("image_scaling", __doc__, measure, report)
