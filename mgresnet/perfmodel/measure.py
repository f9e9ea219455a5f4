"""Time on the spot what computing costs: the package's own tasks, on one rank.

A layer hands its marches on and holds a stopwatch; what else a task takes is the cost
of what is around them.  Nothing here runs on several ranks, and nothing is fitted to
runs that do.  Tasks are timed in turns, at a few numbers of intervals, in CPU seconds;
medians count.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.parallel import SerialComm
from mgresnet.parallel.shares import cut
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.perfmodel.cost import BatchCost, Cost, Rates
from mgresnet.perfmodel.layer import March, Observed
from mgresnet.perfmodel.predict import KEEPS
from mgresnet.perfmodel.tasks import TASKS, Call, Problem, apart, key_of
from mgresnet.perfmodel.trace import trace

LARGEST = 2**21  # numbers in the states of a network that is timed
FEWEST, MOST = 6, 21  # rounds
BUDGET = 0.03  # seconds of a task after which no further round starts
OBSERVED = 101  # marches of nothing, to time observing itself
FEW_AND_MORE = (0, 3)  # iterations, to time one by one
SHARES = 4  # batches that are timed beside the whole, each half of the last
COPIED = 2**18  # bytes of states that are cut into shares
Seconds = defaultdict[March, list[float]]


def measure_rates(task: str, config: Configuration) -> Rates:
    """Time what a task consists of.

    Parameters
    ----------
    task : str
        Key of `TASKS`.
    config : Configuration
        At least its first coarsening factor must be in use.

    Raises
    ------
    ValueError
        If the network is too short for its first coarsening factor.
    """
    if not config.grid.factors:
        raise ValueError(
            f"coarsening {config.forward.coarsening} leaves depth {config.net.depth} "
            "without a coarse level, needed a factor of at most the depth"
        )
    watch, event = Stopwatch(), _event(config)
    others: dict[str, dict[int, float]] = defaultdict(dict)
    for batch in _batches(config.batch):
        for depth in _depths(config, batch):
            runs = [*_runs(task, config, depth, batch, watch)]
            _take_turns(runs)
            for run in runs if batch == config.batch else ():
                others[run.key][depth] = run.seconds - event * run.events
    costs = {key: _cost(found) for key, found in others.items()}
    marches, copy = _by_kind(watch.marches), _copying(config)
    return Rates(about(task, config), marches, costs, event, copy)


def about(task: str, config: Configuration) -> dict[str, Any]:
    """What rates depend on."""
    control = config.net.control
    return {
        "task": task,
        "width": config.net.layer.state_shape[0],
        "batch_size": config.batch,
        "itemsize": config.itemsize,
        "coarsening": config.grid.factors[0],
        "coarse_operator": config.forward.coarse_operator,
        "keep": config.keep,
        "control": control.n_rows(config.net.depth) if control.shared else 0,
    }


class Stopwatch:
    """Has marches done, and times them and the gaps between them."""

    def __init__(self) -> None:
        self.marches: Seconds = defaultdict(list)
        self._gaps: list[float] = []
        self._since = 0.0

    def act(self, march: March, run: Call, _: Any) -> None:
        """Have a march done."""
        started = time.thread_time()
        self._gaps.append(started - self._since)
        run()
        self._since = time.thread_time()
        self.marches[march].append(self._since - started)

    def gaps(self, call: Call) -> list[float]:
        """Seconds before, between and behind the marches of a call."""
        self._gaps, self._since = [], time.thread_time()
        call()
        return [*self._gaps, time.thread_time() - self._since]


class Timed(NamedTuple):
    """A task on one rank whose marches are timed."""

    key: str
    call: Call
    events: int
    watch: Stopwatch
    rounds: list[list[float]]  # gaps of every call

    @classmethod
    def of(cls, task: str, config: Configuration, watch: Stopwatch) -> Self:
        """Random numbers for a configuration."""
        net, params = config.net, config.net.init(dtype=config.dtype)
        layer: Any = Observed(net.layer, watch.act)
        problem = Problem(config, replace(net, layer=layer), params, SerialComm())
        if task == "apart":
            return cls(f"apart {config.keep}", apart(problem), 0, watch, [])
        call, events = TASKS[task](problem), trace(task, config, 1).events[0]
        return cls(key_of(task, config), call, len(events), watch, [])

    def run(self) -> None:
        """Make the call."""
        self.rounds.append(self.watch.gaps(self.call))

    @property
    def seconds(self) -> float:
        """Usual seconds of all gaps, but for what it takes to observe marches.

        The first call may compile, and prepares what later ones find.
        """
        gaps = np.median(self.rounds[1:], axis=0)
        return float(gaps.sum()) - (len(gaps) - 1) * _observing()


@cache
def _observing() -> float:
    """Seconds that it takes to observe a march; they are not around it without."""
    watch, none = Stopwatch(), np.zeros((1, 1))
    nothing: Any = SimpleNamespace(march=lambda *_: None, span=2, n=1)
    march = partial(Observed(nothing, watch.act).march, nothing, *[none] * 4)
    return float(np.median([sum(watch.gaps(march)) for _ in range(OBSERVED)]))


def _runs(
    task: str, config: Configuration, depth: int, batch: int, watch: Stopwatch
) -> Iterator[Timed]:
    """A task at another depth and batch size, also layer after layer."""
    trial = replace(config, net=replace(config.net, depth=depth), batch=batch)
    for way in (trial, *map(trial.serially, KEEPS)):
        yield Timed.of(task, way, watch)
    for way in map(trial.serially, KEEPS if task != "forward" else ()):
        yield Timed.of("apart", way, watch)


def _event(config: Configuration) -> float:
    """Seconds for each event of a gradient that iterations bring, around marches."""
    m = config.grid.factors[0]
    config = replace(config, net=replace(config.net, depth=2 * m))
    found = []
    for k in FEW_AND_MORE:
        forward, adjoint = (
            replace(o, initial_guess="coarse", max_iterations=k)
            for o in (config.forward, config.adjoint)
        )
        way = replace(config, forward=forward, adjoint=adjoint)
        found.append(Timed.of("gradient", way, Stopwatch()))
    _take_turns(found)
    few, more = found
    return max(more.seconds - few.seconds, 0.0) / (more.events - few.events)


def _take_turns(runs: Sequence[Timed]) -> None:
    """Make every call in turns."""
    started, rounds = time.thread_time(), 0
    budget = BUDGET * len(runs)
    while rounds < FEWEST or (rounds < MOST and time.thread_time() - started < budget):
        for run in runs:
            run.run()
        rounds += 1


def _batches(batch: int) -> tuple[int, ...]:
    """Numbers of samples to time, from one to all."""
    shares = (max(batch // 2**k, 1) for k in range(SHARES + 1))
    return tuple(sorted({1, *shares}))


def _depths(config: Configuration, batch: int) -> Iterator[int]:
    """Depths to time: few intervals, more, and as many as there are or may be."""
    m = config.grid.factors[0]
    numbers = m * batch * config.sample // config.itemsize
    most = max(min(config.grid.steps[1], LARGEST // numbers), 2)
    yield from (m * n for n in sorted({1, max(most // 8, 1), most}))


def _cost(found: dict[int, float]) -> Cost:
    """Cost that never falls."""
    sizes = sorted(found)
    rising = [*itertools.accumulate((max(found[n], 0.0) for n in sizes), max)]
    return Cost(sizes, rising) if len(sizes) > 1 else Cost([0, *sizes], [0.0, *rising])


def _by_kind(marches: Seconds) -> dict[str, BatchCost]:
    """Costs of marches, by what they have done."""
    found: dict[str, dict[int, dict[int, float]]] = {}
    for (kind, steps, samples), seconds in marches.items():
        sizes = found.setdefault(kind, {}).setdefault(samples, {})
        sizes[steps] = float(np.median(seconds))
    return {
        kind: BatchCost(sorted(b), [_cost(b[n]) for n in sorted(b)])
        for kind, b in found.items()
    }


def _copying(config: Configuration) -> float:
    """Seconds for each byte of states that are cut into shares."""
    n = max(COPIED // config.state, 1)
    rows = np.zeros((n, *config.net.layer.state_shape, config.batch), config.dtype)
    cutting = [Stopwatch().gaps(partial(cut, rows, SHARES)) for _ in range(MOST)]
    return float(np.median(cutting)) / rows.nbytes
