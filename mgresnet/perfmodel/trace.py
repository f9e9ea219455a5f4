"""What ranks do in a task: run the package, and march nothing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from threading import BrokenBarrierError
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.network import Params
from mgresnet.perfmodel.comm import Meeting, TraceComm, Verb
from mgresnet.perfmodel.configuration import Configuration, Ints, slabs
from mgresnet.perfmodel.layer import Act, March, Observed, pretend
from mgresnet.perfmodel.tasks import TASKS, Problem
from mgresnet.solve.slab import Slab

Events = tuple[March | Verb, ...]


class Trace(NamedTuple):
    """What every rank does, in order."""

    events: tuple[Events, ...]  # of ranks that differ
    layers: Ints  # that these have
    roles: Ints  # (size,): which of them every rank is like


@lru_cache(maxsize=1024)
def trace(task: str, config: Configuration, size: int) -> Trace:
    """Run a task on ranks that stand for all.

    Parameters
    ----------
    task : str
        Key of `TASKS`.
    config : Configuration
    size : int
        Number of ranks.

    Raises
    ------
    ValueError
        If the task is unknown, or the network has too few intervals for the ranks.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; choose from {', '.join(TASKS)}")
    layers = slabs(config.grid, size)
    ranks = np.arange(size)
    ends = (ranks == 0) + 2 * (ranks == size - 1)
    alike = np.stack([layers, ends], axis=1)
    _, firsts, roles = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    roles = roles.reshape(-1)
    meeting = Meeting(np.bincount(roles))
    follow = partial(_follow, task, config, size, meeting)
    with ThreadPoolExecutor(len(firsts)) as threads:
        done = [threads.submit(follow, *who) for who in enumerate(firsts.tolist())]
    if failed := [error for one in done if (error := one.exception())]:
        raise min(failed, key=lambda error: isinstance(error, BrokenBarrierError))
    return Trace(tuple(one.result() for one in done), layers[firsts], roles)


def _follow(
    task: str, config: Configuration, size: int, meeting: Meeting, place: int, rank: int
) -> Events:
    """Events of one rank."""
    events: list[Any] = []

    def act(march: March, _: Any, outputs: list[Array]) -> None:
        events.append(march)
        pretend(march, float(len(events)), outputs)

    try:
        comm = TraceComm(rank, size, meeting, place, events)
        call = TASKS[task](toy(config, act, comm))
        events.clear()
        call()
    except BaseException:
        meeting.leave()
        raise
    return tuple(events)


def toy(config: Configuration, act: Act, comm: TraceComm) -> Problem:
    """A problem with a observed layer, and numbers of which none counts."""
    net, dtype = config.net, config.dtype
    opening, head = (
        None if part is None else np.zeros(part.n_params, dtype)
        for part in (net.opening, net.head)
    )
    body = np.zeros((net.control.n_rows(net.depth), net.layer.n_params), dtype)
    own = Slab.of(net, config.forward, comm).own(Params(opening, body, head))
    layer: Any = Observed(net.layer, act)
    return Problem(config, replace(net, layer=layer), own, comm)
