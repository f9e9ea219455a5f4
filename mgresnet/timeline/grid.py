"""How depth is cut: levels, intervals, remainders, and who owns which layers."""

import math
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class TimeGrid:
    """Layers on [0, final_time], coarsened level by level.

    Parameters
    ----------
    depth : int
        Number of layers, the steps of the finest level.
    final_time : float
        End of the time interval; the step is ``final_time / depth``.
    coarsening : tuple of int
        Coarsening factor of every level but the coarsest.
    slabs : int
        Layers of which a rank owns whole runs, a multiple of the interval; 0 is that.

    Notes
    -----
    A level of n steps coarsened by m has C-points 0, m, 2m, ... and a next level of
    ``n // m`` steps; the ``n % m`` steps behind its last C-point are a remainder that
    only this level marches over.  Any depth is allowed.  Factors that a level is too
    short for (``n < m``) are left out: `factors` holds those in use.
    """

    depth: int
    final_time: float
    coarsening: tuple[int, ...] = ()
    slabs: int = 0

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """Coarsening factors in use, one per level but the coarsest."""
        factors: list[int] = []
        n = self.depth
        for m in self.coarsening:
            if n < m:
                break
            factors.append(m)
            n //= m
        return tuple(factors)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Number of steps on every level, finest first."""
        steps = [self.depth]
        for m in self.factors:
            steps.append(steps[-1] // m)
        return tuple(steps)

    @cached_property
    def interval(self) -> int:
        """Number of layers in one step of the coarsest level."""
        return math.prod(self.factors)

    @property
    def spacing(self) -> int:
        """Number of layers from a C-point to the next.

        Without coarsening it is that between states which are kept in place of all: as
        many as there are states, so that an interval takes no more memory than they do.
        """
        return self.factors[0] if self.factors else 1 + math.isqrt(self.depth - 1)

    @property
    def run(self) -> int:
        """Layers that are never divided between ranks."""
        return self.slabs or self.interval

    @property
    def n_runs(self) -> int:
        """Number of them, without a remainder."""
        return max(self.depth // self.run, 1)

    def slab(self, rank: int, size: int) -> range:
        """Layers owned by a rank: whole runs, shares equal to within one of them.

        These are coarsest intervals, or several if `slabs` says so.  The last rank also
        owns the remainder.  Without coarsening an interval is one layer.

        Raises
        ------
        ValueError
            If there are more ranks than intervals.
        """
        run, n_runs = self.run, self.n_runs
        if size > n_runs:
            of = f" and slabs of {self.slabs} layers" if self.slabs else ""
            raise ValueError(
                f"too many ranks: {size} ranks, but depth {self.depth} with coarsening "
                f"{self.coarsening}{of} has {n_runs} coarsest interval(s) and every "
                f"rank needs one; use at most {n_runs} rank(s), a deeper network "
                "or smaller coarsening factors"
            )
        start = rank * n_runs // size * run
        stop = (rank + 1) * n_runs // size * run
        return range(start, self.depth if rank == size - 1 else stop)
