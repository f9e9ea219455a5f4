"""What was done on a level, and how long it took."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self


class Work(NamedTuple):
    """Books of a rank on one level, by kind: "relax", "restrict" or "solve"."""

    steps: defaultdict[str, int]
    seconds: defaultdict[str, float]  # by the clock on the wall

    @classmethod
    def none(cls) -> Self:
        """Nothing was done."""
        return cls(defaultdict(int), defaultdict(float))

    @contextmanager
    def book(self, kind: str, n_steps: int) -> Iterator[None]:
        """Add what is done within, so many steps."""
        started = time.perf_counter()
        yield
        self.seconds[kind] += time.perf_counter() - started
        self.steps[kind] += n_steps
