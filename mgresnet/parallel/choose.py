"""From what the caller has to the six verbs."""

import os
from typing import Any

from mgresnet.parallel.comm import SerialComm, TimeComm

# Set by the launchers of Open MPI, MPICH and its kin, Slurm for every rank they start.
LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")


def as_time_comm(comm: Any) -> TimeComm:
    """The verbs of None (serial), an mpi4py communicator, or a TimeComm.

    mpi4py is imported here and only when a communicator of its own comes in.
    """
    if comm is None:
        return SerialComm()
    if hasattr(comm, "recv_left"):  # quicker than to look for all verbs
        verbs: TimeComm = comm
        return verbs
    if not hasattr(comm, "Sendrecv"):
        raise TypeError(
            f"comm is {comm!r}; needed None, an mpi4py communicator or a TimeComm, as "
            "the layer of a ProcessGrid is"
        )
    from mgresnet.parallel.mpi import time_comm

    return time_comm(comm)


def launched() -> bool:
    """Whether a launcher has started this process, perhaps as one of several ranks."""
    return any(name in os.environ for name in LAUNCHED)


def launched_ranks() -> TimeComm:
    """All ranks that mpiexec started, or a serial communicator without mpiexec."""
    if not launched():
        return SerialComm()
    from mgresnet.parallel.mpi import world

    return world()
