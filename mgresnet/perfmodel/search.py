"""Where layer-parallel propagation begins to pay, and with which coarsening."""

import itertools
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from mgresnet.parallel.machine import Machine
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.predict import predict, serial_seconds


class Best(NamedTuple):
    """The coarsening for which a task is done first."""

    seconds: float
    coarsening: tuple[int, ...]


def break_even(
    task: str, config: Configuration, rates: Rates, machine: Machine
) -> int | None:
    """Smallest number of ranks on which a task is faster than serially on one.

    None if it is on no power of two, nor on as many ranks as the network has intervals
    for.  Up to the first of these on which it is faster, more ranks are taken to be
    faster than fewer.
    """
    serial, most = serial_seconds(task, config, rates), config.grid.steps[-1]

    def pays(size: int) -> bool:
        return bool(predict(task, config, rates, machine, size).seconds < serial)

    sizes = [0, *(1 << k for k in range(most.bit_length()) if 1 << k < most), most]
    for too_few, enough in itertools.pairwise(sizes):
        if pays(enough):
            between = range(too_few + 1, enough)
            return too_few + 1 + bisect_left(between, True, key=pays)
    return None


def best_coarsening(
    task: str, config: Configuration, rates: Rates, machine: Machine, size: int
) -> Best | None:
    """Fast coarsening by powers of two, one level or two, for so many ranks.

    None if the ranks cannot all have an interval.  From the longest interval the search
    goes on to whichever neighbour is faster, as long as one is.  The number of
    iterations stays, though the error they leave depends on the coarsening.
    """
    layers = config.net.depth // size
    if layers < 2:
        return None
    longest = 2 ** (layers.bit_length() - 1)

    def best(factors: tuple[int, ...]) -> Best:
        other = _coarsened(config, factors)
        return Best(predict(task, other, rates, machine, size).seconds, factors)

    now = best((longest,))
    while True:
        step = min(map(best, _neighbours(now.coarsening, longest)), default=now)
        if step.seconds >= now.seconds:
            return now
        now = step


def _coarsened(config: Configuration, factors: tuple[int, ...]) -> Configuration:
    """The same with other factors, and on all levels the relaxations of the first."""
    forward, adjoint = (
        replace(
            options,
            coarsening=factors,
            relaxations=options.sweeps(1)[0],
        )
        for options in (config.forward, config.adjoint)
    )
    return replace(config, forward=forward, adjoint=adjoint)


def _neighbours(factors: tuple[int, ...], longest: int) -> Iterator[tuple[int, ...]]:
    """Factors half or twice as large, whose product is at most that."""
    m, n = (*factors, 1)[:2]
    for one, two in ((m // 2, n), (m // 2, 2 * n), (m, 2 * n), (m, n // 2)):
        if one >= 2 and two >= 1 and one * two <= longest:
            yield (one, two) if two > 1 else (one,)
