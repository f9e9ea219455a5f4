r"""What else many ranks could do: micro-batches, portions of a batch, modules apart.

Pipeline parallelism: K stages hold the layers, M micro-batches follow one another
forwards and, after the last, backwards.  All stages are busy but for a fraction

.. math:: \frac{K - 1}{M + K - 1}

of the time, the bubble [1]_.  Data parallelism: every rank holds all layers and a share
of the batch; gradients are summed.  Both find the exact gradient.  Auxiliary variables:
every rank marches through a module of its own, from starts that are variables.

References
----------
.. [1] Y. Huang et al., "GPipe: Efficient Training of Giant Neural Networks using
   Pipeline Parallelism", NeurIPS 2019, arXiv:1811.06965.
"""

from typing import NamedTuple

from mgresnet.parallel.machine import Machine
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.predict import serial_parts


class Pipeline(NamedTuple):
    """The best number of micro-batches for so many stages."""

    seconds: float
    micro_batches: int
    bubble: float  # part of the time in which a stage is idle


def bubble(stages: int, micro_batches: int) -> float:
    """Fraction of the time in which a stage of a pipeline is idle."""
    return (stages - 1) / (micro_batches + stages - 1)


def pipeline(
    config: Configuration, rates: Rates, machine: Machine, stages: int
) -> Pipeline | None:
    """Fastest pipeline; None if there are more stages than layers.

    A micro-batch pays for its layers and for its messages; what is around the marches
    of a step is paid once, by every stage for its layers.
    """
    depth, batch = config.net.depth, config.batch
    if stages > depth:
        return None
    choices = []
    n = 1
    while n <= batch:
        around, marches = serial_parts(config, rates, depth / stages, batch / n)
        messages = 2 * machine.message(config.state / n) if stages > 1 else 0.0
        seconds = around + (n + stages - 1) * (marches + messages)
        choices.append(Pipeline(seconds, n, bubble(stages, n)))
        n *= 2
    return min(choices)


def modules_apart(
    config: Configuration,
    rates: Rates,
    machine: Machine,
    modules: int,
    sent: float,
    sweeps: int = 1,
) -> float:
    """Seconds of a step with auxiliary variables, a module on every rank.

    Parameters
    ----------
    config : Configuration
    rates : Rates
    machine : Machine
    modules : int
    sent : float
        Bytes that go through an interface in a sweep, one way.
    sweeps : int
    """
    depth = config.net.depth / modules
    around, marches = serial_parts(config, rates, depth, config.batch)
    messages = 2 * machine.message(sent) if modules > 1 else 0.0
    return around + sweeps * (marches + messages)


def data_parallel(
    config: Configuration, rates: Rates, machine: Machine, size: int
) -> float | None:
    """Seconds with the batch divided; None if there are more ranks than samples.

    The sum is a reduce-scatter and an allgather, both with the most that a rank has to
    receive: faster than that of `ProcessGrid`, which fixes the order of additions.
    """
    if size > config.batch:
        return None
    portion = -(-config.batch // size)
    rows = config.net.depth
    if config.net.control.shared:
        rows = config.net.control.n_rows(config.net.depth)
    moved = rows * config.net.layer.n_params * config.itemsize * (size - 1) / size
    seconds = sum(serial_parts(config, rates, config.net.depth, portion))
    return seconds + 2 * machine.allgather(size, moved)
