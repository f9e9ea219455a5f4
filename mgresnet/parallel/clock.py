"""The virtual clock of a rank, and its books."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple


class Account(NamedTuple):
    """Books of one rank since the last reset."""

    seconds: float  # on the virtual clock
    computed: float  # part of them between verbs
    waited: float  # part of them within verbs
    messages: int  # sent, those of collectives included
    bytes: int  # in these messages


class VirtualClock:
    """Virtual time of one rank, shared by all its communicators.

    Parameters
    ----------
    cpu_clock : callable, optional
        Seconds of CPU time that the rank has used; by default those of this thread.
    """

    def __init__(self, cpu_clock: Callable[[], float] = time.thread_time) -> None:
        self._cpu_clock = cpu_clock
        self.reset()

    def reset(self, stretches: "Stretches | None" = None) -> None:
        """Start at zero; stretches tell how long one usually takes, and that counts."""
        self.waited = 0.0
        self.computed = 0.0
        self.messages = 0
        self.bytes = 0
        self._stretches = stretches
        if stretches is not None:
            stretches.rewind()
        self._started = self._cpu_clock()

    def enter(self, *verb: object) -> float:
        """Stop computing for a verb, and what tells it from others; return the time."""
        seconds = self._cpu_clock() - self._started
        if self._stretches is not None:
            seconds = self._stretches.usual(verb, seconds)
        self.computed += seconds
        return self.computed + self.waited

    def leave(self, at: float) -> None:
        """Compute from a later time on."""
        self.waited = max(self.waited, at - self.computed)
        self._started = self._cpu_clock()

    def count(self, messages: int, n_bytes: int) -> None:
        """Enter messages into the books."""
        self.messages += messages
        self.bytes += n_bytes

    def account(self) -> Account:
        """Books up to now."""
        seconds = self.enter("account")
        self._started = self._cpu_clock()
        return Account(seconds, self.computed, self.waited, self.messages, self.bytes)


class Stretches:
    """What stretches between verbs usually take, over repetitions of a run.

    A stretch is the same as one before if all verbs since `rewind` are.
    """

    def __init__(self) -> None:
        self._found: defaultdict[int, list[float]] = defaultdict(list)
        self.rewind()

    def rewind(self) -> None:
        """Begin a repetition."""
        self._verbs = 0  # hash of those since then

    def usual(self, verb: object, seconds: float) -> float:
        """Median of what the stretch before a verb has taken so far, and now."""
        self._verbs = hash((self._verbs, verb))
        found = self._found[self._verbs]
        found.append(seconds)
        return statistics.median(found)
