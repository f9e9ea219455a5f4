"""How long a task takes on P ranks: what each does, replayed on P clocks."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from mgresnet.parallel.machine import Machine
from mgresnet.perfmodel.clocks import Floats, Ranks
from mgresnet.perfmodel.comm import Verb
from mgresnet.perfmodel.configuration import Configuration, Ints
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.layer import March
from mgresnet.perfmodel.tasks import key_of
from mgresnet.perfmodel.trace import Events, trace

KEEPS = ("all", "c-points")
LEVELS = ("fine", "coarse")
PARTS = ("fine steps", "coarse steps", "other")
OTHER = 2  # of these parts
NO_NETWORK = Machine("none", 0.0, float("inf"), "one rank needs none")


class Prediction(NamedTuple):
    """Outcome of `predict`."""

    seconds: float  # until the last rank is done
    phases: dict[str, float]  # seconds of its clock
    messages: Ints  # sent by every rank
    bytes: Ints


def predict(
    task: str, config: Configuration, rates: Rates, machine: Machine, size: int
) -> Prediction:
    """Let P clocks go through a task.

    Parameters
    ----------
    task : {"forward", "adjoint", "gradient", "step"}
        A solve (backwards with the gradient for the layers), `value_and_gradient`, or a
        step of `train`.
    config : Configuration
    rates : Rates
    machine : Machine
    size : int
        Number of ranks.

    Raises
    ------
    ValueError
        If the network has too few intervals for the ranks, or the task is unknown.
    """
    found, key = trace(task, config, size), key_of(task, config)
    courses = [
        Course.of(events, rates, rates.around(key, layers, len(events)), size)
        for events, layers in zip(found.events, found.layers.tolist(), strict=True)
    ]
    ranks = Ranks.start(size, machine)
    replay(courses, found.roles, ranks)
    phases = {name: float(t) for name, t in ranks.spent.items() if t}
    return Prediction(ranks.elapsed, phases, ranks.messages, ranks.bytes)


class Course(NamedTuple):
    """Verbs of a rank, and what it computes before each and behind the last."""

    verbs: tuple[Verb, ...]
    seconds: Floats  # (n_verbs + 1, len(PARTS))

    @classmethod
    def of(cls, events: Events, rates: Rates, around: float, size: int) -> Self:
        """Price what one of so many ranks does.

        Each event has its part of `around`; of those between `recv_left` and
        `send_right` it is done before the rank waits, as all that can be is.
        """
        verbs = tuple(event for event in events if isinstance(event, Verb))
        seconds, place = np.zeros((len(verbs) + 1, len(PARTS))), 0
        for event in events:
            waited = place > 0 and verbs[place - 1].name == "recv_left"
            seconds[place - waited, OTHER] += around / len(events)
            if isinstance(event, March):
                seconds[place, LEVELS.index(event.level)] += rates.march(*event)
            else:
                copied = rates.copy * size * event.bytes
                seconds[place, OTHER] += copied * (event.name == "to_shares")
                place += 1
                seconds[place, OTHER] += copied * (event.name == "from_shares")
        return cls(verbs, seconds)


def replay(courses: Sequence[Course], roles: Ints, ranks: Ranks) -> None:
    """Let every rank go the course of its role.

    Raises
    ------
    ValueError
        If ranks do not make the same calls, or one waits for its left neighbour and
        does not send to the right next: the clocks have no rule for that.
    """
    calls = [[verb[:2] for verb in course.verbs] for course in courses]
    if calls.count(calls[0]) < len(calls):
        raise ValueError("ranks do not call the same verbs; needed the same on all")
    n_bytes = np.array([[v.bytes for v in c.verbs] for c in courses], np.int64)[roles]
    seconds = np.array([course.seconds for course in courses])[roles]
    steps = iter(enumerate(calls[0]))
    for i, (name, backwards) in steps:
        _compute(ranks, seconds[:, i])
        order = slice(None, None, -1 if backwards else 1)
        some = ranks.reversed() if backwards else ranks
        if name == "recv_left":
            after, (other, _) = next(steps, (i, ("nothing", backwards)))
            if other != "send_right":
                raise ValueError(f"recv_left is followed by {other}, needed send_right")
            some.chain(seconds[order, after].sum(axis=1), int(n_bytes[0, i]))
            ranks.charge("chain")
        else:
            getattr(some, name)(n_bytes[order, i])
            ranks.charge("messages")
    _compute(ranks, seconds[:, -1])


def _compute(ranks: Ranks, seconds: Floats) -> None:
    """Compute, part by part; seconds are (size, len(PARTS))."""
    for part, own in zip(PARTS, seconds.T, strict=True):
        ranks.compute(own)
        ranks.charge(part)


def serial_seconds(task: str, config: Configuration, rates: Rates) -> float:
    """Seconds of the same task on one rank, layer after layer, in the better way."""
    ways = (config.serially(keep) for keep in KEEPS)
    return min(predict(task, way, rates, NO_NETWORK, 1).seconds for way in ways)


def serial_parts(
    config: Configuration, rates: Rates, depth: float, batch: float
) -> tuple[float, float]:
    """Seconds of a rank with some layers in a serial step: around marches, and in them.

    Parameters
    ----------
    config : Configuration
    rates : Rates
    depth, batch : float
        Layers and samples, perhaps in fractions, that are marched through.
    """
    ways = []
    for keep in KEEPS:
        way = config.serially(keep)
        (events,), layers = trace("step", way, 1).events, config.net.depth
        around = rates.around(key_of("step", way), math.ceil(depth), len(events))
        some = [e for e in events if isinstance(e, March)]
        part = depth / layers
        ways.append(
            (around, sum(rates.march(e.kind, e.steps * part, batch) for e in some))
        )
    return min(ways, key=sum)
