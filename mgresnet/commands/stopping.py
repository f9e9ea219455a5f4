"""Ctrl-C and SIGTERM that let the step in progress end, on all ranks alike."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import numpy as np

from mgresnet.parallel import TimeComm
from mgresnet.parallel.endings import STDERR

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ASIDE = 128  # exit code of what a signal has ended: this and the signal's number


class Stop:
    """What this rank was told; `agreed` is what any rank was told."""

    def __init__(self) -> None:
        self.signal = 0

    def agreed(self, comm: TimeComm) -> int:
        """Exit code with which all ranks are to stop, or 0; all call this together."""
        told = int(comm.gather(np.array([self.signal])).max())
        return ASIDE + told if told else 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; the next one of the kind ends the program as ever."""
        self.signal = number
        signal.signal(number, signal.SIG_DFL)
        with suppress(OSError):  # of a closed stderr
            os.write(STDERR, b"stopping after this step; once more stops at once\n")


@contextmanager
def interrupting() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, while the body runs; it tells its number."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


@contextmanager
def stopping() -> Iterator[Stop]:
    """Note signals while the body runs, instead of ending at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread hears of signals
        return
    before = {number: signal.signal(number, stop.note) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
