"""Bytes and modelled seconds of a training run on as many ranks as it has modules.

They are those of the layers: openings, heads and updates are left out, for all ways.
Exact propagation is the faster one of a pipeline and a single rank that has all layers.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from mgresnet.learning.auxiliary import Auxiliary
from mgresnet.learning.controller import planned_options
from mgresnet.learning.hybrid import Hybrid
from mgresnet.learning.ladder import Plan
from mgresnet.learning.record import Record
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.parallel.machine import MACHINES
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.measure import measure_rates
from mgresnet.perfmodel.predict import predict, serial_seconds
from mgresnet.perfmodel.rivals import modules_apart, pipeline

MACHINE = MACHINES["infiniband"]
FORWARD = 1 / 3  # of a step: what exact starts of new samples take


class Cost(NamedTuple):
    """What some steps send, between all ranks, and how long they take."""

    bytes: float
    seconds: float

    def plus(self, other: "Cost") -> "Cost":
        """Of both."""
        return Cost(self.bytes + other.bytes, self.seconds + other.seconds)


class Ranks(NamedTuple):
    """A network on so many ranks, and how MGRIT would propagate it."""

    net: Network
    batch: int
    options: MGRITOptions
    size: int

    @property
    def config(self) -> Configuration:
        """What is predicted."""
        net = self.net
        body = Network(net.layer, net.depth, net.final_time, control=net.control)
        return Configuration(body, self.batch, 8, self.options, self.options)

    def exact(self) -> Cost:
        """A step of exact propagation."""
        return _exact(self)

    def mgrit(self, record: Record) -> Cost:
        """A step of MGRIT as its record says."""
        plans: Any = record.plans
        return _mgrit(self, plans.forward, plans.adjoint)

    def apart(self, oracle: Auxiliary, first: bool) -> Cost:
        """A step of auxiliary variables; the first of a sample starts exactly."""
        config, rates = self.config, _rates(self.config)
        n, sweeps = max(self.size - 1, 1), oracle.sweeps
        sent = float(oracle.bytes_sent * self.batch)
        one_way = sent / (2 * n)
        seconds = modules_apart(config, rates, MACHINE, self.size, one_way, sweeps)
        cost = Cost(sent * sweeps, seconds)
        if first:
            start = FORWARD * serial_seconds("step", config, rates)
            cost = cost.plus(Cost((self.size - 1) * config.state, start))
        return cost


def total(oracle: Any, records: Iterable[Record], ranks: Ranks) -> Cost:
    """All steps of a run.

    Parameters
    ----------
    oracle : Oracle
    records : iterable of Record
        With plans where a controller has chosen them.
    ranks : Ranks
    """
    cost = Cost(0.0, 0.0)
    variables = oracle.parallel if isinstance(oracle, Hybrid) else oracle
    for record in records:
        exact = not isinstance(variables, Auxiliary)
        if isinstance(oracle, Hybrid):
            exact = oracle.corrects(record)
        if record.plans is not None:
            cost = cost.plus(ranks.mgrit(record))
        elif exact:
            cost = cost.plus(ranks.exact())
        else:
            cost = cost.plus(ranks.apart(variables, record.epoch == 0))
    return cost


@lru_cache
def _rates(config: Configuration) -> Rates:
    return measure_rates("step", config)


@lru_cache
def _exact(ranks: Ranks) -> Cost:
    config, rates = ranks.config, _rates(ranks.config)
    alone = Cost(0.0, serial_seconds("step", config, rates))
    found = pipeline(config, rates, MACHINE, ranks.size)
    if found is None or ranks.size == 1 or found.seconds >= alone.seconds:
        return alone
    return Cost(2.0 * (ranks.size - 1) * config.state, found.seconds)


@lru_cache
def _mgrit(ranks: Ranks, forward: Plan, adjoint: Plan) -> Cost:
    config = ranks.config
    there, back = (planned_options(ranks.options, plan) for plan in (forward, adjoint))
    planned = replace(config, forward=there, adjoint=back)
    if planned.serial:
        return _exact(ranks)
    size = min(ranks.size, planned.grid.n_runs)
    found = predict("step", planned, _rates(config), MACHINE, size)
    return Cost(float(found.bytes.sum()), found.seconds)
