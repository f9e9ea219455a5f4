"""Ranks that share a node, and its cores if there are more ranks than cores.

A rank that waits for a message asks for it again and again.  Where ranks share cores,
that takes the core from a rank that computes, and fills its caches with something else.
"""

import functools
import os
import time
from typing import Any

# Set by the launchers of Open MPI and of MPICH and its kin: ranks on this node.
NEIGHBOURS = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
FIRST_NAP, LAST_NAP = 2e-6, 5e-4  # seconds


def ranks_here(otherwise: int) -> int:
    """Number of ranks on this node; `otherwise` without word from the launcher."""
    known = (os.environ[name] for name in NEIGHBOURS if name in os.environ)
    return int(next(known, otherwise))


@functools.cache
def oversubscribed() -> bool:
    """Whether this node is known to have more ranks than cores."""
    return ranks_here(0) > (os.cpu_count() or 1)


def await_asleep(request: Any) -> None:
    """Wait for an MPI request and leave the core to others meanwhile."""
    nap = FIRST_NAP
    while not request.Test():
        time.sleep(nap)
        nap = min(2.0 * nap, LAST_NAP)
