"""What one job measures: all ranks take the steps, the first writes one record."""

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import mgresnet as mg
from harness.machine import stamp
from harness.results import RESULTS, load, save
from scaling.machines import machine
from scaling.methods import PYTORCH, is_known, train
from scaling.task import Task
from scaling.turns import TimedComm, VirtualClock, WallClock, summary, take_turns


def parser(description: str) -> argparse.ArgumentParser:
    """Options of strong and weak scaling."""
    found = argparse.ArgumentParser(
        description=description.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = found.add_argument
    add("--width", type=int, default=8)
    add("--batch-size", type=int, default=256)
    add("--coarsening", type=factors, nargs="+", default=[(16,)], metavar="M,M")
    add("--methods", type=method, nargs="+", default=["0"], help="0 1 adaptive ...")
    add("--rounds", type=int, default=2)
    add("--steps", type=int, default=5, help="of every round")
    add("--virtual", type=machine, metavar="PROFILE", help="name, or calibrated JSON")
    add("--output", type=Path, default=RESULTS / "scaling.json", help="appended to")
    return found


def factors(text: str) -> tuple[int, ...]:
    """Coarsening factors such as 16,8."""
    return tuple(int(part) for part in text.split(","))


def method(text: str) -> str:
    """A method that `train` knows."""
    if not is_known(text):
        raise argparse.ArgumentTypeError(f"unknown method {text!r}")
    return text


def measure(kind: str, depth: int, a: argparse.Namespace, plain: mg.TimeComm) -> None:
    """Time all methods with all coarsenings, and append a record to the results."""
    task = Task(depth, a.width, a.batch_size)
    if a.virtual:
        comm = mg.VirtualTimeComm(plain, a.virtual)
        clock = VirtualClock(plain, comm)
    else:
        comm = TimedComm(plain, [])
        clock = WallClock(plain, comm)
    trials = [(name, m) for name in a.methods for m in meant_for(name, a.coarsening)]
    runs = [train(name, task, m, comm) for name, m in trials]
    timed = take_turns(runs, clock, plain, a.rounds, a.steps)
    rows = [
        {"method": name, "coarsening": list(m), **summary(found, clock.columns)}
        for (name, m), found in zip(trials, timed, strict=True)
    ]
    head = {"kind": kind, **task._asdict(), "ranks": plain.size, "mpi": mpi(plain)}
    if plain.rank == 0:
        head |= {"virtual": a.virtual and vars(a.virtual), "machine": stamp()}
        records = load(a.output) if a.output.exists() else []
        save(a.output, [*records, {**head, "rows": rows}])
        for row in rows:
            milliseconds = 1e3 * statistics.median(row["samples"])
            label = f"{row['method']} {row['coarsening']}"
            print(f"P={plain.size} N={depth} {label}: {milliseconds:.2f} ms")


def meant_for(name: str, coarsenings: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Coarsenings that make a difference to a method."""
    return [()] if name in (PYTORCH, "serial-all") else coarsenings


def mpi(plain: mg.TimeComm) -> dict[str, Any]:
    """The library, and the cores that the ranks may run on."""
    if "mpi4py.MPI" not in sys.modules:
        return {}
    import mpi4py
    import numpy as np
    from mpi4py import MPI

    cores = plain.gather(np.array([len(os.sched_getaffinity(0))]))
    return {
        "library": MPI.Get_library_version().split(",")[0].strip(),
        "mpi4py": mpi4py.__version__,
        "cores_of_a_rank": sorted(set(cores.tolist())),
    }
