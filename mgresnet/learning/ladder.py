r"""Plans for a solve, what they cost, and how wrong they may be.

A plan is a coarsening, a coarse operator, and a number of iterations; exact propagation
is one, too.  Cost is counted in steps through one layer for the whole batch.  With N
layers, P ranks, intervals of m layers and s stages, k iterations cost

.. math:: (k + 1) \left( N / P + \gamma N s / m \right) + k N s / (m P),

for sweeps, coarse solves and restrictions, and what it takes to start these marches;
:math:`\gamma` is what a share of the batch takes of the whole.  Exact propagation is a
pipeline of samples.  No clock is read: the numbers are the same on all ranks, and on
any number of them.

A coarse step of order p misses an amount that grows as :math:`m^{p}`, and iterating
raises it to a power.  So one number, the roughness x of a solve, foretells all plans
from one that was tried:

.. math:: e = (x m)^{p (k + 1)} .
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from mgresnet.accuracy.theory import ORDERS
from mgresnet.arrays.checks import integer
from mgresnet.chain import networks_of
from mgresnet.control import Free
from mgresnet.mgrit.coarsest import FEW
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.parallel.shares import START, STEP, pipeline_cost, share_length
from mgresnet.timeline.grid import TimeGrid

SERIAL = -1  # in place of a number of iterations
LONGEST = 128  # layers of an interval
SHORTEST = 4
UNEVEN = 1.05  # the most layers of a rank, over the mean
ITERATED = 0.6  # of exact propagation; iterations take up to 1.7 times what is counted
MOST = 3  # iterations of a plan that nobody has asked for
SMOOTH = ("third_order", "fourth_order", "two_stage", "e2", "mean")
ROUGH = ("e2", "matched", "mean")


class Plan(NamedTuple):
    """How a solve is done; SERIAL iterations are exact propagation."""

    coarsening: tuple[int, ...]
    operator: str
    iterations: int

    @property
    def interval(self) -> int:
        """Layers in a step of the coarsest level."""
        return math.prod(self.coarsening)

    @property
    def power(self) -> int:
        """Exponent of the error in what one coarse step misses per layer."""
        return ORDERS.get(self.operator, 1) * (self.iterations + 1)

    def error(self, roughness: float) -> float:
        """Foretold error."""
        if self.iterations == SERIAL:
            return 0.0
        return float(min(roughness * self.interval, 1.0) ** self.power)

    def roughness(self, error: float) -> float:
        """What has made an error that this plan has had."""
        return float(min(error, 1.0) ** (1.0 / self.power) / self.interval)

    def __str__(self) -> str:
        if self.iterations == SERIAL or not self.coarsening:
            return "exact"
        m = "x".join(map(str, self.coarsening))
        return f"{self.operator} m={m} k={self.iterations}"


@dataclass(frozen=True)
class Ladder:
    """Plans of one solve for a network on so many ranks.

    Parameters
    ----------
    options : MGRITOptions
        With `slabs`, intervals are any that divide these; else they are as given.
    depth : int
    step : float
        Largest step of a layer.
    stages : tuple of (str, int)
        Coarse operators that may be used, with their number of stages.
    n_bytes : int
        Of a sample of a state.
    block : int
        Samples that stay together.
    ranks : int
    """

    options: MGRITOptions
    depth: int
    step: float
    stages: tuple[tuple[str, int], ...]
    n_bytes: int
    block: int
    ranks: int

    @property
    def exact(self) -> Plan:
        """Exact propagation; where intervals are free, of about sqrt(depth) layers.

        As many states are kept then as have to be computed again in an interval.
        """
        options, root = self.options, math.sqrt(self.depth)
        coarsening = options.coarsening
        if self._factors:
            coarsening = (min(self._factors, key=lambda m: max(m / root, root / m)),)
        return Plan(coarsening, options.coarse_operator, SERIAL)

    @property
    def _factors(self) -> tuple[int, ...]:
        """Intervals that one may choose; none if they are as given."""
        slabs = self.options.slabs
        return tuple(m for m in _halves(slabs) if slabs % m == 0)

    @property
    def given(self) -> Plan:
        """What the options say."""
        options = self.options
        how = options.coarsening, options.coarse_operator
        return Plan(*how, options.max_iterations)

    def cost(self, plan: Plan, batch: int) -> float:
        """Steps through a layer, for the whole batch, in whose time a solve is done."""
        own = -(-self.depth // self.ranks)
        if plan.iterations == SERIAL:
            return pipeline_cost(batch, self.n_bytes, self.block, own, self.ranks)
        n_coarse, k = self.depth // plan.interval, plan.iterations
        evaluations = n_coarse * dict(self.stages).get(plan.operator, 1)
        if self.ranks <= FEW or not self.block:
            ranks = max(min(self.ranks, n_coarse), 1)
            given = batch, self.n_bytes, self.block, -(-n_coarse // ranks), ranks
            solve = pipeline_cost(*given) * evaluations / max(n_coarse, 1)
        else:
            share = share_length(batch, self.ranks, self.block)
            solve = evaluations * (share + STEP) / (batch + STEP)
            solve += 2 * self._start(batch)
        sweep = self.depth / self.ranks + self._start(batch)
        restrict = evaluations / self.ranks + self._start(batch)
        return (k + 1) * (sweep + solve) + k * restrict

    def _start(self, batch: int) -> float:
        """Steps for the whole batch in the time that starts a march."""
        return START / (self.n_bytes * (batch + STEP))

    def plans(self, batch: int) -> tuple[Plan, ...]:
        """Those that are worth it beside exact propagation, the cheapest first."""
        return _plans(self, batch)

    def _all(self) -> list[Plan]:
        """All plans but the exact one."""
        options = self.options
        if not options.slabs:
            counts = range(options.max_iterations + 1)
            return [self.given._replace(iterations=k) for k in counts]
        most = min(options.max_iterations, MOST)
        return [
            Plan((m,), name, k)
            for m in self._factors
            for name, _ in self.stages
            for k in range(most + 1)
        ]


@lru_cache(maxsize=64)
def _plans(ladder: Ladder, batch: int) -> tuple[Plan, ...]:
    exact = ladder.cost(ladder.exact, batch)
    if ladder.ranks == 1:
        return ()
    costs = {plan: ladder.cost(plan, batch) for plan in ladder._all()}
    iterated = ITERATED if ladder.options.slabs else 1.0
    worth = {True: exact, False: iterated * exact}
    cheaper = [p for p, cost in costs.items() if cost < worth[p.iterations == 0]]
    return tuple(sorted(cheaper, key=costs.__getitem__))


def ladder_of(net: Any, options: MGRITOptions, ranks: int) -> Ladder:
    """Plans for a network, or for all stages of a chain alike."""
    networks = networks_of(net)
    names = _operators(networks) if options.slabs else (options.coarse_operator,)
    layers = [one.layer for one in networks]
    stages = []
    for name in names:
        counts = [_n_stages(layer, name, options.slabs or 4) for layer in layers]
        stages.append((name, max(counts)))
    blocks = [layer.sample_block for layer in layers]
    size = max(math.prod(layer.state_shape) for layer in layers)
    return Ladder(
        options=options,
        depth=sum(one.depth for one in networks),
        step=max(one.step for one in networks),
        stages=tuple(stages),
        n_bytes=8 * size,
        block=0 if 0 in blocks else math.lcm(*blocks),
        ranks=ranks,
    )


def default_options(net: Any, ranks: int = 1) -> MGRITOptions:
    """Options of solves whose plans are left to a gradient tolerance.

    Parameters
    ----------
    net : Network or Chain
    ranks : int
        For so many of them layers are cut into slabs, and fewer may share these.

    Returns
    -------
    MGRITOptions
        Its `slabs` are as long as they can be, for the longest intervals, without
        leaving a rank with many more layers than others; without `slabs`, and serial,
        if layers are too few or have no coarse operator of a known name.

    Examples
    --------
    >>> from mgresnet import BSpline, Dense, Network
    >>> default_options(Network(Dense(8), 1024, control=BSpline(12)), ranks=2).slabs
    128
    """
    integer("ranks", ranks, 1)
    networks = networks_of(net)
    names = _operators(networks)
    runs = [run for run in _halves(LONGEST) if _fits(networks, run, ranks)]
    if not names or not runs:
        return MGRITOptions.serial()
    even = [run for run in runs if _is_even(networks, run, ranks)]
    run = (even or runs[-1:])[0]
    return MGRITOptions((run,), coarse_operator=names[0], slabs=run)


def check_ranks(net: Any, options: MGRITOptions, ranks: int, size: int) -> None:
    """Refuse more ranks than `default_options` were made for, if slabs are too few.

    Raises
    ------
    ValueError
        If a rank would have no slab.
    """
    slabs = min(one.depth // max(options.slabs, 1) for one in networks_of(net))
    if slabs < size > ranks:
        raise ValueError(
            f"ranks={ranks} cuts the layers into {slabs} slab(s), and there are {size} "
            f"layer ranks; give ranks={size} or more, the same for all runs whose bits "
            "are to agree"
        )


def _fits(networks: Any, run: int, ranks: int) -> bool:
    """Whether every rank has a run of so many layers."""
    return all(one.depth // run >= ranks for one in networks)


def _is_even(networks: Any, run: int, ranks: int) -> bool:
    """Whether ranks with whole runs of layers have about equally many."""
    grids = [TimeGrid(one.depth, one.final_time, (run,)) for one in networks]
    most = [len(grid.slab(ranks - 1, ranks)) / grid.depth for grid in grids]
    return max(most) * ranks <= UNEVEN


def _halves(m: int) -> list[int]:
    """Intervals from m layers on, each half as long as the one before."""
    found = []
    while m >= SHORTEST:
        found.append(m)
        m //= 2
    return found


def _operators(networks: Any) -> tuple[str, ...]:
    """Names of coarse operators that all layers have, of which one may try."""
    rough = any(isinstance(one.control, Free) for one in networks)
    names = ROUGH if rough else SMOOTH
    layers = [one.layer for one in networks]
    known = [name for name in names if all(_has(layer, name) for layer in layers)]
    return tuple(name for name in known if name != "mean") or tuple(known)


def _has(layer: Any, name: str) -> bool:
    try:
        layer.coarse(name)
    except ValueError:
        return False
    return True


def _n_stages(layer: Any, name: str, m: int) -> int:
    """Evaluations of a coarse step; one if it is a cell's."""
    if not _has(layer, name):
        return 1
    return int(getattr(layer.coarse(name).scheme(m), "n_stages", 1))
