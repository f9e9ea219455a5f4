"""Times of programs that take turns in one process.

Seconds are those of the processor unless said, which for one thread are those of the
clock, less what other processes took.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

Run = Callable[[], object]
Clock = Callable[[], float]


class Times(NamedTuple):
    """Seconds: median, quartiles and minimum of so many turns."""

    median: float
    lower: float
    upper: float
    best: float
    turns: int


def take_turns(
    runs: dict[str, Run],
    budget: float,
    turn: float = 0.03,
    clock: Clock = time.process_time,
) -> dict[str, Times]:
    """Let every program run for a turn, then the next, for `budget` seconds.

    There are at least five rounds, after a run of each that does not count.  A turn is
    long enough for the caches to be a program's own, as they are in training; it gives
    one number, the mean over its runs.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    end, rounds = time.perf_counter() + budget, 0
    while time.perf_counter() < end or rounds < 5:
        for name, run in runs.items():
            seconds[name].append(_turn(run, turn, clock))
        rounds += 1
    return {name: summary(found) for name, found in seconds.items()}


def _turn(run: Run, least: float, clock: Clock) -> float:
    """Mean time of the runs in a turn."""
    start, runs, passed = clock(), 0, 0.0
    while passed < least:
        run()
        runs, passed = runs + 1, clock() - start
    return passed / runs


def summary(seconds: list[float]) -> Times:
    """Median, quartiles and minimum."""
    lower, median, upper = statistics.quantiles(seconds, n=4)
    return Times(median, lower, upper, min(seconds), len(seconds))
