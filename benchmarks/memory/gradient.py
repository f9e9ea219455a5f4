"""What one gradient needs in a process of its own, on one rank or several.

Every rank loads the kernels on another small problem, sets up the large one, and then
asks Linux for the highest resident memory during one gradient, less that just before:
what the call needed on top of parameters, batch and libraries, be it arrays of NumPy,
workspace of the kernels or buffers of MPI.  Pages that were asked for but never touched
do not count.  Parameters are added; the largest sum of a rank counts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mgresnet as mg
from harness.problem import Problem, corrections, gradient, samples

WIDTH, BATCH = 32, 1000
MB = 1e6


def held(m: int, depth: int, ranks: int = 1) -> dict[str, float]:
    """Megabytes that C-point storage has to hold on a rank."""
    state = 8 * WIDTH * BATCH / MB
    params = 8 * depth * WIDTH * (WIDTH + 1) / MB / ranks
    return {
        "c-points": 2 * (depth // m // ranks + 1) * state,
        "interval": m * state,
        "parameters": params,
        "gradient": params,
    }


def peak(comm: mg.TimeComm, m: int, k: int | None, keep: str, depth: int) -> float:
    """Megabytes of the rank that needs most."""
    options = corrections((m,), k)
    for layers, batch in ((4 * m * comm.size, 8), (depth, BATCH)):
        net = mg.Network(mg.Dense(WIDTH), layers)
        params = mg.local_slab(net, net.init(), options=options, comm=comm)
        problem = Problem(net, params, *samples(WIDTH, batch))
        grown = growth(gradient(problem, options, comm, keep))
    total = np.array([grown + params.body.nbytes])
    return float(comm.gather(total).max()) / MB


def growth(run: Callable[[], Any]) -> int:
    """Bytes that a call needs at most, in this process."""
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    run()
    return resident("VmHWM") - before


def resident(which: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most since the reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return 1024 * int(line.split()[1])
    raise ValueError(f"no {which} in /proc/self/status; Linux is needed")
