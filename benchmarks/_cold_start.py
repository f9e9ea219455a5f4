"""A job that compiles on all ranks at once, each in an order of its own.

`cold_starts.py` starts it under mpiexec with the number of the start.  Rank 0 prints a
digest of what all ranks computed together.
"""

import hashlib
import itertools
import sys

import numpy as np

import mgresnet as mg
from mgresnet.commands.warmup import DTYPES, TASKS
from mgresnet.parallel import launched_ranks

M = 4


def digest(comm: mg.TimeComm) -> str:
    """Loss, gradient and residuals in both types of numbers, bit by bit."""
    found = hashlib.sha256()
    options = mg.MGRITOptions((M,), max_iterations=2, tolerance=0.0)
    net = mg.Network(mg.Dense(5), 16 * M, 2.0, mg.Linear(2, 5, "tanh"))
    inputs, targets = np.ones((37, 2)), np.zeros((37, 5))
    inputs[:, 0] = np.linspace(-1.0, 1.0, 37)
    for dtype in DTYPES:
        params = net.init()
        value, gradient, info = mg.value_and_gradient(
            net,
            mg.Params(params.opening.astype(dtype), params.body.astype(dtype), None),
            inputs.astype(dtype),
            targets.astype(dtype),
            objective=mg.LeastSquares(),
            forward=options,
            adjoint=options,
            comm=comm,
        )
        own = gradient.opening if comm.rank == 0 else params.opening[:0].astype(dtype)
        found.update(np.float64(value).tobytes())
        for part in (own, gradient.body):
            found.update(comm.gather(part).tobytes())
        for solution in (info.forward, info.adjoint):
            found.update(solution.residuals.tobytes())
    return found.hexdigest()


def main() -> None:
    comm, start = launched_ranks(), int(sys.argv[1])
    tasks = list(itertools.product(DTYPES, TASKS.values()))
    first = (start + comm.rank * len(tasks) // comm.size) % len(tasks)
    for dtype, task in tasks[first:] + tasks[:first]:
        task(dtype)
    found = digest(comm)
    if comm.rank == 0:
        print(found)


if __name__ == "__main__":
    main()
