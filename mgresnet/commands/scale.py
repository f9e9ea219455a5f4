"""Measure what parallel runs are made of: messages between ranks, layers on one."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mgresnet.parallel.calibrate as calibrate
from mgresnet.arrays.checks import integer
from mgresnet.arrays.files import write_json
from mgresnet.commands.streams import say
from mgresnet.layers import Dense
from mgresnet.network import Network
from mgresnet.parallel import Machine, TimeComm
from mgresnet.solve.propagation import solve_adjoint, solve_forward

DEPTH = 64  # layers that are timed at once
REPEATS = 30
NO_FIT = 1  # exit code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    add = parser.add_argument
    add("--calibrate", action="store_true", help="measure; needs mpiexec -n 2")
    add("--width", type=int, default=32, help="features of the layer that is timed")
    add("--batch-size", type=int, default=100, help="samples that it is timed with")
    add("--output", type=Path, metavar="FILE", help="write the figures as JSON")


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> argparse.Namespace:
    """Check everything, so that bad input shows before any work is done."""
    a = arguments
    if not a.calibrate:
        raise ValueError("nothing to do; add --calibrate (see mgresnet scale --help)")
    integer("--width", a.width, 1)
    integer("--batch-size", a.batch_size, 1)
    if a.output and not a.output.parent.is_dir():
        raise ValueError(f"--output {a.output}: there is no folder {a.output.parent}")
    if comm.size != 2:
        raise ValueError(
            f"--calibrate on {comm.size} rank(s), needed two that send messages to "
            "each other; start mpiexec -n 2 mgresnet scale --calibrate"
        )
    return a


def run(setup: argparse.Namespace, comm: TimeComm) -> int:
    """Measure, print, write; return the exit code."""
    sizes = calibrate.SIZES
    seconds = calibrate.ping_pong(comm)
    try:
        machine = calibrate.fit_machine(
            "calibrated", "ping-pong between two ranks", sizes, seconds
        )
    except ValueError as error:
        say(comm, str(error))
        return NO_FIT
    forward, adjoint = _layer_seconds(setup.width, setup.batch_size, comm)
    say(comm, _message_table(machine, sizes, seconds))
    say(
        comm,
        f"\nDense({setup.width}), {setup.batch_size} samples, CPU seconds a layer\n"
        f"forward   {forward:.2e}\n"
        f"adjoint   {adjoint:.2e}",
    )
    if setup.output and comm.rank == 0:
        content = {
            "name": machine.name,
            "latency": machine.latency,
            "bandwidth": machine.bandwidth,
            "source": machine.source,
            "messages": [list(pair) for pair in zip(sizes, seconds, strict=True)],
            "layer": {
                "width": setup.width,
                "batch_size": setup.batch_size,
                "forward": forward,
                "adjoint": adjoint,
            },
        }
        write_json(setup.output, content)
    return 0


def _message_table(
    machine: Machine, sizes: tuple[int, ...], seconds: list[float]
) -> str:
    lines = [f"{'bytes':>9}  {'seconds':>8}  {'fitted':>8}"]
    for size, measured in zip(sizes, seconds, strict=True):
        lines.append(f"{size:9}  {measured:8.1e}  {machine.message(size):8.1e}")
    lines.append(f"latency   {machine.latency:.2e} s")
    lines.append(f"bandwidth {machine.bandwidth:.2e} bytes/s")
    return "\n".join(lines)


def _layer_seconds(width: int, batch_size: int, comm: TimeComm) -> tuple[float, float]:
    """CPU seconds of one layer forward and of one back; medians over both ranks."""
    net = Network(Dense(width), DEPTH)
    params = net.init()
    inputs = np.random.default_rng(7).normal(size=(batch_size, width))
    forward = solve_forward(net, params, inputs)
    times = [
        _cpu_seconds(lambda: solve_forward(net, params, inputs)),
        _cpu_seconds(lambda: solve_adjoint(net, params, forward, forward.final)),
    ]
    medians = np.median(comm.gather(np.array([times])), axis=0) / DEPTH
    return float(medians[0]), float(medians[1])


def _cpu_seconds(function: Callable[[], Any]) -> float:
    """Median CPU seconds of a call, after one that may compile."""
    function()
    times = []
    for _ in range(REPEATS):
        started = time.thread_time()
        function()
        times.append(time.thread_time() - started)
    return float(np.median(times))
