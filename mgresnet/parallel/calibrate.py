"""Latency and bandwidth of the machine at hand, by ping-pong between two ranks."""

import time
from collections.abc import Sequence

import numpy as np

from mgresnet.parallel.comm import Array, TimeComm
from mgresnet.parallel.machine import Machine

SIZES = tuple(2**k for k in range(3, 23))  # bytes, 8 B to 4 MiB
REPEATS = 30


def ping_pong(
    comm: TimeComm, sizes: Sequence[int] = SIZES, repeats: int = REPEATS
) -> list[float]:
    """Seconds that a message takes one way: half the fastest round trip.

    The messages are arrays that travel by the verbs of `comm`, whose copies therefore
    count.

    Parameters
    ----------
    comm : TimeComm
        Of two ranks.
    sizes : sequence of int
        Bytes, multiples of 8.
    repeats : int

    Returns
    -------
    list of float
        One for each size, the same on both ranks.

    Raises
    ------
    ValueError
        If there are not two ranks.
    """
    if comm.size != 2:
        raise ValueError(
            f"{comm.size} rank(s), needed two that send messages to each other; start "
            "the program with mpiexec -n 2"
        )
    seconds = [_one_way(comm, np.zeros(size // 8), repeats) for size in sizes]
    mine = np.array(seconds if comm.rank == 0 else [])
    found: list[float] = comm.gather(mine).tolist()
    return found


def _one_way(comm: TimeComm, message: Array, repeats: int) -> float:
    back = comm.reversed()
    times = []
    for _ in range(repeats + 2):  # the first two warm up
        started = time.perf_counter()
        if comm.rank == 0:
            comm.send_right(message)
            back.recv_left(message)
        else:
            comm.recv_left(message)
            back.send_right(message)
        times.append(time.perf_counter() - started)
    return 0.5 * min(times[2:])


def fit_machine(
    name: str, source: str, sizes: Sequence[int], seconds: Sequence[float]
) -> Machine:
    """Latency and bandwidth with the least sum of squared relative errors.

    Parameters
    ----------
    name, source : str
    sizes : sequence of int
        Bytes.
    seconds : sequence of float
        That a message of each size takes.

    Raises
    ------
    ValueError
        If longer messages did not take longer, or the shortest took no time.
    """
    t = np.asarray(seconds)
    terms = np.stack([np.ones(len(t)), np.asarray(sizes)], axis=1) / t[:, None]
    scale = np.linalg.norm(terms, axis=0)
    fitted = np.linalg.lstsq(terms / scale, np.ones(len(t)), rcond=None)[0] / scale
    latency, per_byte = fitted.tolist()
    if not (latency > 0.0 and per_byte > 0.0):
        raise ValueError(
            f"messages of {sizes[0]} to {sizes[-1]} bytes took {t[0]:.1e} to "
            f"{t[-1]:.1e} s, which no latency and bandwidth > 0 explain; repeat on a "
            "machine that is less busy"
        )
    return Machine(name, latency, 1.0 / per_byte, source)
