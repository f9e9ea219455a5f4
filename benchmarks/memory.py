"""Memory and time of a gradient, with all states stored and with C-points alone.

Each case runs in a fresh process, which loads the kernels on another small problem,
sets up the large one and then asks Linux for the highest resident memory during one
gradient, less that just before: what the call needed on top of parameters, batch and
libraries, be it arrays of NumPy or workspace of the kernels.  Pages that were
asked for but never touched do not count.  Parameters are added, and the sum is compared
with what C-point storage has to hold: C-points of both directions, the states of one
interval, parameters, and the gradient.

Times are of another process in which both ways take turns.

    python benchmarks/memory.py            about 3 minutes
    python benchmarks/memory.py --quick    half a minute
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from _goals import Goal, at_most, show_goals  # noqa: E402
from _machine import stamp  # noqa: E402
from _timing import take_turns  # noqa: E402

import mgresnet as mg  # noqa: E402

RESULTS = Path(__file__).parent / "results"
DEPTH, WIDTH, BATCH = 1024, 32, 1000
FACTORS = (16, 32)
CORRECTIONS = (None, 1)  # None is serial propagation
STORES = ("all", "c-points")
MEMORY, TIME = 1.1, 1.0  # goals: over the sum, over the time of storing all
MB = 1e6


def options(m: int, corrections: int | None) -> mg.MGRITOptions:
    """One case."""
    if corrections is None:
        return mg.MGRITOptions.serial((m,))
    return mg.MGRITOptions((m,), max_iterations=corrections, tolerance=0.0)


def gradient(
    depth: int, batch: int, given: mg.MGRITOptions, keep: str
) -> Callable[[], Any]:
    """Loss and gradient of a network of tanh layers."""
    net = mg.Network(mg.Dense(WIDTH), depth)
    params = net.init()
    inputs, targets = np.random.default_rng(7).normal(size=(2, batch, WIDTH))
    return lambda: mg.value_and_gradient(
        net,
        params,
        inputs,
        targets,
        objective=mg.LeastSquares(),
        forward=given,
        adjoint=given,
        keep=keep,
    )


def resident(which: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most since the reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return 1024 * int(line.split()[1])
    raise ValueError(f"no {which} in /proc/self/status; Linux is needed")


def needed(run: Callable[[], Any]) -> int:
    """Bytes that a call needs at most, in this process."""
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    run()
    return resident("VmHWM") - before


def peak(m: int, corrections: int | None, store: str) -> int:
    """Bytes that one gradient needs at most, in this process."""
    given = options(m, corrections)
    gradient(4 * m, 8, given, store)()
    return needed(gradient(DEPTH, BATCH, given, store))


def in_fresh_process(*case: Any) -> int:
    """The same in one of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--case", json.dumps(case)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def held(m: int, depth: int = DEPTH, ranks: int = 1) -> dict[str, float]:
    """Megabytes that C-point storage has to hold on a rank."""
    state = 8 * WIDTH * BATCH / MB
    params = 8 * depth * WIDTH * (WIDTH + 1) / MB / ranks
    return {
        "c-points": 2 * (depth // m // ranks + 1) * state,
        "interval": m * state,
        "parameters": params,
        "gradient": params,
    }


def measure(m: int, corrections: int | None, budget: float) -> list[dict[str, Any]]:
    """Both ways of one case."""
    given = options(m, corrections)
    runs = {s: gradient(DEPTH, BATCH, given, s) for s in STORES}
    times = take_turns(runs, budget)
    sums = held(m)
    return [
        {
            "m": m,
            "corrections": corrections,
            "store": store,
            "megabytes": in_fresh_process(m, corrections, store) / MB
            + sums["parameters"],
            "sums": sums,
            "seconds": times[store]._asdict(),
        }
        for store in STORES
    ]


def name_of(row: dict[str, Any]) -> str:
    """Case in words."""
    k = row["corrections"]
    return f"{'serial' if k is None else f'{k} correction'}, m = {row['m']}"


def show(row: dict[str, Any]) -> None:
    """Print a row."""
    sums = " + ".join(f"{x:.1f} {name}" for name, x in row["sums"].items())
    total = sum(row["sums"].values())
    print(
        f"{name_of(row):22} {row['store']:8} {row['megabytes']:6.1f} MB, "
        f"{row['megabytes'] / total:5.2f} of {total:.1f} ({sums}); "
        f"{1e3 * row['seconds']['median']:6.1f} ms",
        flush=True,
    )


def goals_of(rows: list[dict[str, Any]]) -> list[Goal]:
    """Memory over what has to be held, time over that of storing all."""
    goals = []
    for every, few in zip(rows[::2], rows[1::2], strict=True):
        memory = few["megabytes"] / sum(few["sums"].values())
        time = few["seconds"]["median"] / every["seconds"]["median"]
        name = name_of(few)
        goals.append(at_most(f"{name}: memory over the sum", MEMORY, memory))
        goals.append(at_most(f"{name}: time over storing all", TIME, time))
    return goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="m = 16 alone, less repetition"
    )
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(peak(*arguments.case))
        return
    rows = []
    for m in FACTORS[:1] if arguments.quick else FACTORS:
        for corrections in CORRECTIONS:
            rows += measure(m, corrections, 3.0 if arguments.quick else 30.0)
            show(rows[-2])
            show(rows[-1])
    goals = goals_of(rows)
    show_goals(goals)
    results = {
        "machine": stamp(),
        "depth": DEPTH,
        "width": WIDTH,
        "batch": BATCH,
        "cases": rows,
        "goals": [goal._asdict() for goal in goals],
    }
    name = "memory_quick.json" if arguments.quick else "memory.json"
    text = json.dumps(results, indent=1)
    (RESULTS / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
