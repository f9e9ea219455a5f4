"""Where layer-parallel propagation begins to pay, and with which coarsening."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from mgresnet.parallel.machine import Machine
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.steps import Configuration, predict, serial_seconds

DENSE = 64  # numbers of ranks up to here are all tried, then every tenth more


class Best(NamedTuple):
    """The coarsening for which a task is done first."""

    seconds: float
    coarsening: tuple[int, ...]


def break_even(
    task: str, config: Configuration, rates: Rates, machine: Machine
) -> int | None:
    """Smallest number of ranks on which a task is faster than serially on one.

    None if it is on no number of ranks that the network has intervals for.
    """
    serial = serial_seconds(task, config, rates)
    for size in _sizes(config.grid.steps[-1]):
        if predict(task, config, rates, machine, size).seconds < serial:
            return size
    return None


def best_coarsening(
    task: str, config: Configuration, rates: Rates, machine: Machine, size: int
) -> Best | None:
    """Fastest of one and two levels of coarsening by powers of two, for so many ranks.

    None if the ranks cannot all have an interval.  The number of iterations stays,
    though the error they leave depends on the coarsening, and rates are those of the
    first factor they were measured for.
    """
    found = []
    for factors in _choices(config.net.depth // size):
        forward, adjoint = (
            replace(o, coarsening=factors, relaxations=_first(o.relaxations))
            for o in (config.forward, config.adjoint)
        )
        other = replace(config, forward=forward, adjoint=adjoint)
        seconds = predict(task, other, rates, machine, size).seconds
        found.append(Best(seconds, factors))
    return min(found) if found else None


def _first(relaxations: int | tuple[int, ...]) -> int:
    return relaxations[0] if isinstance(relaxations, tuple) else relaxations


def _sizes(most: int) -> Iterator[int]:
    size = 1
    while size <= most:
        yield size
        size += 1 if size < DENSE else size // 10


def _choices(longest: int) -> Iterator[tuple[int, ...]]:
    """Factors whose product is at most the layers that a rank has."""
    powers = [2**k for k in range(1, longest.bit_length())]
    for m in powers:
        yield (m,)
        yield from ((m, n) for n in powers if m * n <= longest)
