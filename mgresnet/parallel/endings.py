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


def end_job_on_exception(abort: Callable[[], object], rank: int) -> None:
    """Let exceptions that nobody catches, in any thread, be reported and end the job.

    Parameters
    ----------
    abort : callable
        Ends all ranks.
    rank : int
        Of this process, for the message.
    """
    modules: tuple[Any, ...] = sys, threading
    for module in modules:
        report = module.excepthook
        if not getattr(report, "ends_job", False):
            module.excepthook = _ending(report, abort, rank)


def _ending(
    report: Callable[..., object], abort: Callable[[], object], rank: int
) -> Any:
    """Hook that reports as before, whether or not that works, and ends the job."""

    def end_job(*given: Any) -> None:
        kind, value, *_ = given if len(given) == 3 else given[0]
        mishap = "".join(format_exception_only(kind, value)).rstrip()
        with suppress(BaseException):
            report(*given)
            sys.stderr.flush()
            mishap = "an exception"  # which everybody has read by now
        if issubclass(kind, SystemExit):  # ends a thread, and is no mishap
            return
        with suppress(OSError):
            os.write(STDERR, f"rank {rank} ends the job on all: {mishap}\n".encode())
        time.sleep(LAST_WORDS * (2.0 - 1.0 / (1 + rank)))  # one is enough
        abort()

    end_job.ends_job = True  # type: ignore[attr-defined]
    return end_job
