"""Training on one batch, again and again, whose gradients can be checked."""

import itertools
import statistics
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

import mgresnet as mg
from harness.table import Rows, select, table
from mgresnet.arrays.trees import tree_map
from mgresnet.parallel.machine import MACHINES
from scaling.turns import TimedComm, VirtualClock, WallClock, summary, take_turns


class Task(NamedTuple):
    """What is trained: a network or a chain, on inputs and targets."""

    net: Any
    batch: Any
    objective: Any


class OneBatch:
    """A `scaling.methods.Training`: steps of Adam, with given options both ways."""

    cycle = 1

    def __init__(self, task: Task, options: mg.MGRITOptions, comm: mg.TimeComm) -> None:
        self._task, self._comm = task, comm
        self._exact = mg.MGRITOptions.serial(options.coarsening)
        self._noted: list[Any] = []
        note = mg.Transform(lambda params: (), self._note)
        self._steps: Iterator[mg.Record] = mg.train(
            task.net,
            task.net.init(6721),
            itertools.repeat(mg.Batch(*task.batch, 0)),
            optimiser=mg.chain(note, mg.adam(1e-3)),
            objective=task.objective,
            forward=options,
            adjoint=options,
            comm=comm,
        )

    def _note(self, gradient: Any, state: Any, params: Any, **given: Any) -> Any:
        self._noted[:] = gradient, params
        return gradient, state

    def step(self) -> mg.Record:
        """Take one step."""
        return next(self._steps)

    def gradient_error(self) -> float:
        """Compare with the exact gradient for the same weights and batch."""
        (net, batch, objective), (found, params) = self._task, self._noted
        way = {"forward": self._exact, "adjoint": self._exact, "comm": self._comm}
        _, exact, _ = mg.value_and_gradient(
            net, params, *batch, objective=objective, **way
        )
        norm = mg.space(net, self._exact, self._comm).norm
        return norm(tree_map(np.subtract, found, exact)) / norm(exact)


def timed(
    task: Task,
    ways: Mapping[str, mg.MGRITOptions],
    plain: mg.TimeComm,
    virtual: str | None,
    steps: int,
    head: dict[str, Any],
) -> Rows:
    """Milliseconds of a step of every way on these ranks, which take turns.

    Parameters
    ----------
    task, ways
    plain : TimeComm
    virtual : str, or None
        A machine whose virtual clocks count; else the clock of the wall.
    steps : int
    head : dict
        Of every row.
    """
    comm: Any = TimedComm(plain, [])
    clock: Any = WallClock(plain, comm)
    if virtual:
        comm = mg.VirtualTimeComm(plain, MACHINES[virtual])
        clock = VirtualClock(plain, comm)
    runs = [OneBatch(task, options, comm) for options in ways.values()]
    rows = []
    for name, found in zip(ways, take_turns(runs, clock, plain, 2, steps), strict=True):
        told = summary(found, clock.columns)
        middle = 1e3 * statistics.median(told["samples"])
        rows.append({"method": name, **head, "milliseconds": middle, **told})
    return rows


def speed_ups(rows: Rows, *keys: str) -> str:
    """Milliseconds, speed-up over the exact step on one rank, and errors."""
    names = [*dict.fromkeys(row["method"] for row in rows)]
    heads = [[f"{name}, ms", "speed-up", "gradient error"] for name in names]
    lines: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        case = {key: row[key] for key in keys}
        (alone,) = select(rows, method="exact", ranks=1, **case)
        faster = alone["milliseconds"] / row["milliseconds"]
        values = (*case.values(), row["ranks"])
        lines.setdefault(values, [*map(str, values)]).extend(
            [f"{row['milliseconds']:.1f}", f"{faster:.2f}"]
        )
        lines[values].append(f"{row['gradient_error']:.0e}")
    return table([*keys, "ranks", *itertools.chain(*heads)], [*lines.values()])
