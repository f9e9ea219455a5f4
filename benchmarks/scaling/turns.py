"""Time the steps of several training runs that take turns.

All ranks begin a step together and the slowest counts, on the clock of the wall or on
the virtual clocks of another machine.
"""

import time
from collections import defaultdict
from typing import Any, NamedTuple, Protocol

import numpy as np

import mgresnet as mg
from harness.table import rounded
from mgresnet.parallel.clock import Stretches
from scaling.methods import Training

WARM_UP = 3  # steps before the first turn; one before every other
PHASES = ("relax", "coarse", "gradient", "estimate", "update")


class Clock(Protocol):
    """What tells how long a step takes on this rank."""

    columns: tuple[str, ...]  # what `stop` tells, the seconds in all first

    def start(self, run: Training) -> None:
        """Wait for all ranks, then begin a step of a run."""

    def stop(self, record: mg.Record) -> list[float]:
        """End with what the step has recorded itself."""


def _timed(verb: str) -> Any:
    def call(self: "TimedComm", *arguments: Any) -> Any:
        started = time.perf_counter()
        found = getattr(self.comm, verb)(*arguments)
        self.spent.append(time.perf_counter() - started)
        return found

    return call


class TimedComm:
    """A communicator that notes the seconds spent in every verb."""

    def __init__(self, comm: mg.TimeComm, spent: list[float]) -> None:
        self.comm, self.spent = comm, spent
        self.rank, self.size = comm.rank, comm.size

    def reversed(self) -> "TimedComm":
        """The same ranks with time running backwards."""
        return TimedComm(self.comm.reversed(), self.spent)

    shift, recv_left, send_right = map(_timed, ("shift", "recv_left", "send_right"))
    gather, sum = map(_timed, ("gather", "sum"))
    to_shares, from_shares = map(_timed, ("to_shares", "from_shares"))


class WallClock:
    """Seconds of the wall clock, by phase, and those within verbs in any of them."""

    columns = ("seconds", *PHASES, "communicating")

    def __init__(self, plain: mg.TimeComm, comm: TimedComm) -> None:
        self._plain, self._comm = plain, comm
        self._started = 0.0

    def start(self, run: Training) -> None:
        """Wait for all ranks, then begin."""
        barrier(self._plain)
        self._comm.spent.clear()
        self._started = time.perf_counter()

    def stop(self, record: mg.Record) -> list[float]:
        """End with the phases of a record."""
        seconds = time.perf_counter() - self._started
        phases = (record.seconds.get(phase, 0.0) for phase in PHASES)
        return [seconds, *phases, sum(self._comm.spent)]


class VirtualClock:
    """Virtual seconds: those of computing, and of waiting for messages to arrive.

    A stretch between messages takes what it usually took in the steps of its run.
    """

    columns = ("seconds", "computing", "waiting", "sent", "bytes")

    def __init__(self, plain: mg.TimeComm, comm: mg.VirtualTimeComm) -> None:
        self._plain, self._comm = plain, comm
        self._stretches: defaultdict[Training, Stretches] = defaultdict(Stretches)

    def start(self, run: Training) -> None:
        """Wait for all ranks, then set the clock to zero."""
        barrier(self._plain)
        self._comm.reset(self._stretches[run])

    def stop(self, record: mg.Record) -> list[float]:
        """End with the books of this rank."""
        return [float(entry) for entry in self._comm.account]


class Timed(NamedTuple):
    """What all ranks measured in the steps of one training run."""

    table: Any  # (n_ranks, n_steps, n_columns)
    iterations: list[list[int]]  # forward and adjoint, of every step
    cycle: int  # steps of a sample
    gradient_error: float


def barrier(comm: mg.TimeComm) -> None:
    """Wait for all ranks: nobody has the sum before everybody has given a part."""
    comm.sum(np.zeros(1))


def take_turns(
    runs: list[Training], clock: Clock, plain: mg.TimeComm, rounds: int, steps: int
) -> list[Timed]:
    """Let every run take so many steps, then the next, for so many rounds.

    A run that repeats itself after some steps takes whole repetitions, at least one.
    """
    for run in runs:
        for _ in range(WARM_UP - 1):
            run.step()
    rows: list[list[Any]] = [[] for _ in runs]
    counts: list[list[Any]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, mine, iterations in zip(runs, rows, counts, strict=True):
            run.step()
            for _ in range(-(-steps // run.cycle) * run.cycle):
                clock.start(run)
                record = run.step()
                mine.append(clock.stop(record))
                iterations.append(
                    [record.forward_iterations, record.adjoint_iterations]
                )
    return [
        Timed(
            plain.gather(np.array([mine])), iterations, run.cycle, run.gradient_error()
        )
        for run, mine, iterations in zip(runs, rows, counts, strict=True)
    ]


def summary(timed: Timed, columns: tuple[str, ...]) -> dict[str, Any]:
    """Samples of the slowest rank, median phases of it, means over ranks of counts.

    A sample is a step, or the mean over steps that repeat themselves.
    """
    table = timed.table
    slowest = table[:, :, 0].argmax(axis=0)
    worst = table[slowest, np.arange(table.shape[1])]
    worst = worst.reshape(-1, timed.cycle, len(columns)).mean(axis=1)
    medians = dict(zip(columns, np.median(worst, axis=0).tolist(), strict=True))
    means = dict(zip(columns, table.mean(axis=(0, 1)).tolist(), strict=True))
    others = ("sent", "bytes", "communicating")  # not parts of the seconds
    counts = {name: means[name] for name in others if name in means}
    phases = {name: medians[name] for name in columns[1:] if name not in counts}
    return {
        "samples": rounded(worst[:, 0], 4),
        "phases": {name: rounded(value, 4) for name, value in phases.items()},
        **{name: rounded(value, 4) for name, value in counts.items()},
        "iterations": timed.iterations,
        "gradient_error": rounded(timed.gradient_error, 4),
    }
