"""Ranks that share a node, and its cores if there are more ranks than cores.

A rank that waits for a message asks for it again and again.  Where ranks share cores,
that takes the core from a rank that computes, and fills its caches with something else.
"""

import functools
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# Set by the launchers of Open MPI and of MPICH and its kin: ranks on this node.
NEIGHBOURS = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of a container, and in which
FIRST_NAP, LAST_NAP = 2e-6, 5e-4  # seconds


def ranks_here(otherwise: int) -> int:
    """Number of ranks on this node; `otherwise` without word from the launcher."""
    known = (os.environ[name] for name in NEIGHBOURS if name in os.environ)
    return int(next(known, otherwise))


def cores() -> int:
    """Cores that the ranks on this node have together.

    A rank may be bound to one of them, but the launcher, whose child it is, has all
    that the job may use; and a container may have fewer than there are.
    """
    found = [os.cpu_count() or 1]
    with suppress(AttributeError, OSError):  # of other systems
        found.append(len(os.sched_getaffinity(os.getppid())))
    with suppress(OSError, ValueError):  # "max" is no number
        microseconds, period = map(int, QUOTA.read_text(encoding="utf-8").split())
        found.append(max(microseconds // period, 1))
    return min(found)


@functools.cache
def oversubscribed() -> bool:
    """Whether this node is known to have more ranks than cores."""
    return ranks_here(0) > cores()


def await_asleep(request: Any) -> None:
    """Wait for an MPI request and leave the core to others meanwhile."""
    nap = FIRST_NAP
    while not request.Test():
        time.sleep(nap)
        nap = min(2.0 * nap, LAST_NAP)
