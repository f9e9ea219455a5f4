"""An exception that nobody catches on one rank ends the job on all of them.

The others would wait forever for messages of the rank that died.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from traceback import format_exception_only
from typing import Any

LAST_WORDS = 0.5  # seconds: when a job aborts, MPICH drops output it has yet to read
STDERR = 2  # file descriptor: there is one even if sys.stderr is None or closed


def end_job_on_exception() -> None:
    """Let exceptions that nobody catches, in any thread, end the job on all ranks."""
    modules: tuple[Any, ...] = sys, threading
    for module in modules:
        report = module.excepthook
        if not getattr(report, "ends_job", False):
            module.excepthook = _ending(report)


def _ending(report: Callable[..., object]) -> Any:
    """Hook that reports as before, whether or not that works, and ends the job."""

    def end_job(*given: Any) -> None:
        kind, value, *_ = given if len(given) == 3 else given[0]
        mishap = "".join(format_exception_only(kind, value)).rstrip()
        with suppress(BaseException):
            report(*given)
            sys.stderr.flush()
            mishap = "an exception"  # which everybody has read by now
        world = _world()
        if world is None or issubclass(kind, SystemExit):  # which ends a thread
            return
        with suppress(OSError):
            line = f"rank {world.rank} ends the job on all: {mishap}\n"
            os.write(STDERR, line.encode())
        time.sleep(LAST_WORDS * (2.0 - 1.0 / (1 + world.rank)))  # one is enough
        world.Abort(1)

    end_job.ends_job = True  # type: ignore[attr-defined]
    return end_job


def _world() -> Any:
    """All ranks, if there are several and MPI is at work in this process."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or not mpi.Is_initialized() or mpi.Is_finalized():
        return None
    return mpi.COMM_WORLD if mpi.COMM_WORLD.size > 1 else None
