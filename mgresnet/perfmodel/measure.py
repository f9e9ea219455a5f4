"""Time on the spot what the model's costs are: the engine's own functions, one rank.

Nothing here runs on several ranks, and nothing is fitted to runs that do.  Functions
are timed in turns, at a few numbers of intervals, in CPU seconds; medians count.  What
a solve or a step does beyond the functions timed one by one is the difference from a
whole one.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mgresnet.perfmodel.cost import FREE, BatchCost, Cost, Costs, Rates
from mgresnet.perfmodel.steps import Configuration
from mgresnet.perfmodel.trial import Runs, Trial

LARGEST = 2**22  # numbers in the states of a network that is timed in full
FEWEST, MOST = 5, 21  # rounds
BUDGET = 0.04  # seconds after which no further round starts
SHARES = 4  # batches that are timed beside the whole, each half of the last
PER_LAYER = ("serial", "rest", "sweep", "last")
WAYS = ("forward", "adjoint")
Times = dict[str, float]


def measure_rates(config: Configuration) -> Rates:
    """Time what a training step of a configuration consists of.

    Parameters
    ----------
    config : Configuration
        At least its first coarsening factor must be in use.  Coarser levels are taken
        to cost what the second does.

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
    m = config.grid.factors[0]
    batches = _batches(config.batch)
    shares = [_marches(config, batch) for batch in batches[:-1]]
    counts = list(_counts(config, config.batch))
    trials = [Trial.draw(config, m * n, config.batch) for n in counts]
    found = [_parts(_times(trial), trial.fused) for trial in trials]

    def cost(name: str, each: int) -> Cost:
        return _cost([n * each for n in counts], [t[name] for t in found])

    def costs(way: str) -> Costs:
        march = *(share[way] for share in shares), cost(f"{way} coarse", 1)
        fields = Costs._fields[1:]
        parts = [cost(f"{way} {f}", m if f in PER_LAYER else 1) for f in fields]
        return Costs(BatchCost(batches, march), *parts)

    return Rates(
        about=about(config),
        forward=costs("forward"),
        adjoint=costs("adjoint"),
        ends=cost("ends", m),
        collect=cost("collect", m) if config.net.control.shared else FREE,
        estimate=cost("estimate", 1),
        update=cost("update", m),
        serial=_serial_steps(config, batches, (m * counts[0], m * counts[-1])),
    )


def about(config: Configuration) -> dict[str, Any]:
    """What rates depend on."""
    control = config.net.control
    return {
        "width": config.net.layer.state_shape[0],
        "batch_size": config.batch,
        "itemsize": config.itemsize,
        "coarsening": config.grid.factors[0],
        "coarse_operator": config.forward.coarse_operator,
        "keep": config.keep,
        "control": control.n_rows(config.net.depth) if control.shared else 0,
    }


def take_turns(runs: Runs) -> Times:
    """Median CPU seconds of every run, in turns, after one that may compile."""
    for run in runs.values():
        run()
    started, rounds = time.thread_time(), 0
    times: dict[str, list[float]] = {name: [] for name in runs}
    while rounds < FEWEST or (rounds < MOST and time.thread_time() - started < BUDGET):
        for name, run in runs.items():
            before = time.thread_time()
            run()
            times[name].append(time.thread_time() - before)
        rounds += 1
    return {name: float(np.median(found)) for name, found in times.items()}


def _batches(batch: int) -> tuple[int, ...]:
    """Numbers of samples to time, from one to all."""
    shares = (max(batch // 2**k, 1) for k in range(SHARES + 1))
    return tuple(sorted({1, *shares}))


def _counts(config: Configuration, batch: int) -> Iterator[int]:
    """Numbers of intervals to time: powers of four, up to all or as memory allows."""
    numbers = config.grid.factors[0] * batch * config.sample // config.itemsize
    most = max(min(config.grid.steps[1], LARGEST // numbers), 2)
    n = 1
    while 2 * n < most:
        yield n
        n *= 4
    yield most


def _cost(sizes: Sequence[int], seconds: Sequence[float]) -> Cost:
    """Cost that never falls."""
    rising = np.maximum.accumulate([max(t, 0.0) for t in seconds])
    return Cost(tuple(sizes), tuple(rising.tolist()))


def _marches(config: Configuration, batch: int) -> dict[str, Cost]:
    """Marches through a coarsest level for so many samples, by way."""
    m, counts = config.grid.factors[0], list(_counts(config, batch))
    trials = [Trial.draw(config, m * n, batch) for n in counts]
    found = [take_turns(trial.marches()) for trial in trials]
    return {way: _cost(counts, [t[way] for t in found]) for way in WAYS}


def _times(trial: Trial) -> Times:
    times: Times = {}
    for group in trial.runs():
        times.update(take_turns(group))
    return times


def _parts(times: Times, fused: bool) -> Times:
    """Costs from times: whole runs without what is known of them."""
    parts = dict(times)
    gradient = times["gradient"] - times["collect"] + fused * times["forward last"]
    for way in WAYS:
        sweep, last, restrict, coarse = (
            times[f"{way} {part}"] for part in ("sweep", "last", "restrict", "coarse")
        )
        iteration = 0.5 * (times[f"{way} 2"] - times[f"{way} 0"])
        parts[f"{way} relax"] = times[f"{way} relax"] - sweep
        parts[f"{way} measure"] = iteration - sweep - restrict - coarse
        parts[f"{way} rest"] = times[f"{way} 0"] - coarse - last
        gradient -= times[f"{way} 0"]
    marches = times["forward coarse"] + 2 * times["adjoint coarse"]
    parts["ends"] = gradient
    parts["estimate"] = times["estimate"] - marches
    parts["update"] = times["step"] - times["gradient"] - times["estimate"]
    return parts


def _serial_steps(
    config: Configuration, batches: tuple[int, ...], depths: tuple[int, int]
) -> BatchCost:
    """Best serial steps for the batch and shares of it."""
    costs, keeps = [], ("all", "c-points")
    for batch in batches:
        trials = [Trial.draw(config, depth, batch) for depth in depths]
        best = [
            min(take_turns({k: t.step(t.serial, k) for k in keeps}).values())
            for t in trials
        ]
        costs.append(Cost(depths, tuple(best)))
    return BatchCost(batches, tuple(costs))
