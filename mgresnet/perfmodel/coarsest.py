"""The coarsest level on P clocks, function by function as `mgrit.coarsest` has it."""

from typing import NamedTuple

import numpy as np

from mgresnet.mgrit.coarsest import FEW
from mgresnet.parallel.shares import pieces, share_length, turns
from mgresnet.perfmodel.clocks import Ints, Ranks
from mgresnet.perfmodel.cost import Costs


class Solve(NamedTuple):
    """Where a solve happens, what its parts cost, and what changes hands."""

    ranks: Ranks
    costs: Costs
    sample: int  # bytes of the state of a sample between two layers
    batch: int  # samples
    coefficients: tuple[int, ...]  # bytes of those of a coarse step
    linearised: bool  # whether coarse steps need to know the states: backwards
    gathered: bool = False  # whether all ranks have the coarse coefficients already

    @property
    def state(self) -> int:
        """Bytes of the states of the batch between two layers."""
        return self.sample * self.batch


class Coarsest(NamedTuple):
    """The coarsest level on all ranks in order of propagation."""

    steps: Ints  # (size,)
    work: dict[str, Ints]  # steps by kind, (size,)


def gather_coefficients(run: Solve, steps: Ints) -> None:
    """Let every rank have the coarse steps of all, unless it has them."""
    known = run.gathered or run.ranks.size <= FEW
    for n_bytes in () if known else run.coefficients:
        run.ranks.gather(n_bytes * steps)


def march_together(run: Solve, steps: Ints, forced: bool = True) -> None:
    """March through the coarsest level."""
    if run.ranks.size <= FEW:
        _hand_on(run, steps, forced)
    else:
        _share(run, steps, forced)


def _hand_on(run: Solve, steps: Ints, forced: bool) -> None:
    """One rank after the other, some samples after the others."""
    some = list(turns(run.batch, run.sample))
    for samples in some:
        n = samples.stop - samples.start
        seconds = [run.costs.march.at(own, n) for own in steps]
        run.ranks.chain(np.array(seconds), run.sample * n)
        copied = (1 + forced + run.linearised) * steps * (len(some) > 1)
        copy(run, copied, n)


def _share(run: Solve, steps: Ints, forced: bool) -> None:
    """Every rank for its share of the samples."""
    n, size = int(steps.sum()), run.ranks.size
    first = np.arange(size) == 0
    rows = [first, *[steps] * forced, *[steps] * run.linearised]
    for some in pieces(run.batch, size, (n + 1) * run.sample):
        samples = some.stop - some.start
        share = share_length(samples, size)
        for own in rows:
            copy(run, own, samples)
            run.ranks.to_shares(run.sample * share * own)
        run.ranks.compute(run.costs.march.at(n, share))
        run.ranks.from_shares(run.sample * share * (steps + 1))
        copy(run, steps + 1, samples)


def copy(run: Solve, states: Ints, samples: int) -> None:
    """Copy states to messages, or from there; one rank has none."""
    if run.ranks.size > 1:
        run.ranks.compute(run.costs.copy.at(states * (samples / run.batch)))


def solve(coarsest: Coarsest, run: Solve, forced: bool = True) -> None:
    """Solve the coarsest level, with a forcing or without."""
    if "solve" not in coarsest.work:
        gather_coefficients(run, coarsest.steps)
    march_together(run, coarsest.steps, forced)
    tally(coarsest.work, "solve", coarsest.steps)
    run.ranks.charge("coarse solve")


def tally(work: dict[str, Ints], kind: str, steps: Ints) -> None:
    """Count steps of a level."""
    work[kind] = work.get(kind, 0) + steps
