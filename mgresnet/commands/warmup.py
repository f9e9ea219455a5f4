"""Compile the kernels now, so that no later run has to."""

import argparse
import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mgresnet.arrays.trees import tree_map
from mgresnet.commands.streams import say
from mgresnet.control import BSpline
from mgresnet.kernels import moments
from mgresnet.kernels.compiled import Use, cache_folder, cache_use
from mgresnet.layers import Dense, Linear
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm
from mgresnet.solve.gradient import value_and_gradient
from mgresnet.solve.propagation import solve_forward
from mgresnet.solve.regression import LeastSquares

DTYPES = ("float64", "float32")
INPUTS = np.ones((3, 2))

WAYS = (MGRITOptions.serial(), MGRITOptions((3,), max_iterations=1))
KEEPS = ("all", "c-points")


class Setup(NamedTuple):
    """Types of numbers to compile for."""

    dtypes: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--dtype", help=f"{' or '.join(DTYPES)}; both by default")


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> Setup:
    """Check everything, so that bad input shows before any work is done."""
    wanted = arguments.dtype
    if wanted is None:
        return Setup(DTYPES)
    if wanted not in DTYPES:
        raise ValueError(f"--dtype is {wanted!r}; choose from {', '.join(DTYPES)}")
    return Setup((wanted,))


def run(setup: Setup, comm: TimeComm) -> int:
    """Compile on rank 0, load on the others; return the exit code."""
    started = time.perf_counter()
    compile_first(setup.dtypes, comm, print)
    counts = comm.gather(np.array([cache_use()]))
    total = time.perf_counter() - started
    here, ranks = Use(*counts[0]), f" on {comm.size} ranks" if comm.size > 1 else ""
    first = f"compiled {here.compiled} kernels, found {here.found}"
    done = first if here.compiled else f"already compiled: {here.found} kernels"
    say(comm, f"{done}, {total:.1f} s{ranks}; cache: {cache_folder()}")
    if counts[1:, 1].any():
        say(comm, "other ranks compiled again: they do not see this cache")
    return 0


def compile_first(
    dtypes: tuple[str, ...], comm: TimeComm, show: Callable[[str], object]
) -> None:
    """Compile on rank 0, and load on the others what it has written to disk."""
    if comm.rank == 0:
        compile_all(dtypes, show)
    comm.gather(np.zeros(1))
    if comm.rank > 0:
        compile_all(dtypes, lambda line: None)


def compile_all(dtypes: tuple[str, ...], show: Callable[[str], object]) -> None:
    """Use every kernel once, and say what that took."""
    for dtype in dtypes:
        for name, task in TASKS.items():
            before, started = cache_use(), time.perf_counter()
            task(dtype)
            compiled = cache_use().compiled - before.compiled
            seconds = time.perf_counter() - started
            how = f"compiled {compiled}" if compiled else "nothing to compile"
            show(f"{dtype}  {name:12} {seconds:5.1f} s  {how}")


def _draw(net: Network, dtype: str) -> Params:
    drawn: Params = tree_map(lambda part: part.astype(dtype), net.init())
    return drawn


def _ends(dtype: str) -> None:
    """First and last map of a network."""
    end, x = Linear(2, 2, "tanh"), INPUTS.astype(dtype)
    theta = end.init(np.random.default_rng(7), 1)[0].astype(dtype)
    end.pull_back(theta, x, end.apply(theta, x))


def _forward(dtype: str) -> None:
    """Sweeps forward on both levels, with slopes and without."""
    net = Network(Dense(2), 7)
    for options, keep in itertools.product(WAYS, KEEPS):
        inputs = INPUTS.astype(dtype)
        solve_forward(net, _draw(net, dtype), inputs, options=options, keep=keep)


def _gradients(dtype: str) -> None:
    """Sweeps back, with gradients and without."""
    net, inputs = Network(Dense(2), 7), INPUTS.astype(dtype)
    for options, keep in itertools.product(WAYS, KEEPS):
        value_and_gradient(
            net,
            _draw(net, dtype),
            inputs,
            inputs,
            objective=LeastSquares(),
            forward=options,
            adjoint=options,
            keep=keep,
        )


def _control(dtype: str) -> None:
    """Weights from a B-spline, and their gradient."""
    net, inputs = Network(Dense(2), 7, control=BSpline(4)), INPUTS.astype(dtype)
    value_and_gradient(net, _draw(net, dtype), inputs, inputs, objective=LeastSquares())


def _updates(dtype: str) -> None:
    """A step of Adam."""
    zeros = np.zeros(1, dtype)
    moments.adam(zeros, zeros, zeros, (0.9, 0.999), 1e-8, 1)


TASKS = {
    "ends": _ends,
    "forward": _forward,
    "gradients": _gradients,
    "control": _control,
    "updates": _updates,
}
