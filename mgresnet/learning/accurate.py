"""An oracle whose gradients have an estimated error that is small enough."""

import math
import operator
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.arrays.checks import integer, real
from mgresnet.arrays.space import Space
from mgresnet.learning.controller import (
    SERIAL,
    Adaptive,
    Fixed,
    Plan,
    largest_affordable,
    planned_options,
)
from mgresnet.learning.oracle import (
    Adjustable,
    Both,
    FirstOrder,
    Oracle,
    Solved,
    check_oracle,
)
from mgresnet.learning.watch import Watch
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.parallel import TimeComm
from mgresnet.solve.stages import slabs_of, space


class Memory(NamedTuple):
    """What the next gradient is to get, and how wrong the last one was."""

    plans: Both  # Plan of each solve
    watch: Watch | None  # on the error of this rank's portion; None: estimate anew


@dataclass(frozen=True)
class Accurate:
    """Oracle of `accurate`, with a rule for each solve.

    Parameters
    ----------
    inner : Adjustable
    rules : Both
        `Fixed` or `Adaptive`.
    check_every : int
    space : Space
        Of the gradients.
    """

    inner: Adjustable
    rules: Both
    check_every: int
    space: Space = field(compare=False, repr=False)

    @property
    def net(self) -> Any:
        """Network, or Chain."""
        return self.inner.net

    @property
    def options(self) -> MGRITOptions | None:
        """Of the forward solve."""
        return self.inner.options

    @property
    def comm(self) -> TimeComm:
        """Ranks that share the layers."""
        return self.inner.comm

    def init(self, params: Any) -> Memory:
        """First plans."""
        return Memory(
            Both(self.rules.forward.start(), self.rules.adjoint.start()), None
        )

    def check(self, params: Any, batch: Any) -> Any:
        """The batch as arrays, or an error if it does not fit."""
        return self.inner.check(params, batch)

    def value(self, params: Any, batch: Any, memory: Memory) -> float:
        """Value by the plan for the forward solve."""
        options = planned_options(self.rules.forward.options, memory.plans.forward)
        return self.inner.value_by(options, params, batch)

    def evaluate(self, params: Any, batch: Any, memory: Memory) -> FirstOrder:
        """Carry out the plans, and iterate on while the rules find the error large."""
        rules, (plans, watch) = self.rules, memory
        taken, done = Both(0, 0), Both(0, 0)
        seconds: Counter[str] = Counter()
        start: Solved | None = None
        while True:
            ways = Both(*map(_options, rules, plans, done))
            found, start = self.inner.solve(params, batch, ways, start)
            seconds.update(found.seconds)
            norm, error, watch = self._error(found, start, watch, seconds)
            taken = Both(*map(operator.add, taken, found.iterations))
            serial = [plan.iterations == SERIAL for plan in plans]
            if rules.forward.accepts(error.total) or all(serial):
                counts = Both(*np.where(serial, SERIAL, taken).tolist())
                return found._replace(
                    norm=norm,
                    error=error,
                    iterations=counts,
                    seconds=seconds,
                    memory=self._next(plans, error, found, watch),
                )
            watch, done = None, Both(*(plan.iterations for plan in plans))
            plans = _more(rules, plans, error)

    def _error(
        self,
        found: FirstOrder,
        solved: Solved,
        watch: Watch | None,
        seconds: Counter[str],
    ) -> tuple[float, GradientError, Watch]:
        """Norm and error of a gradient: extrapolated if that is well, or estimated."""
        norm = self.space.norm(found.gradient)
        if watch is not None:
            watch = watch.extrapolate(solved.info)
            error = self._relative(watch, solved, norm)
            accepted = self.rules.forward.accepts(error.total)
            if accepted and math.isfinite(error.total):
                return norm, error, watch
        started = time.perf_counter()
        watch = Watch.at(solved.estimate(), solved.info)
        seconds.update({"estimate": time.perf_counter() - started})
        return norm, self._relative(watch, solved, norm), watch

    def _relative(self, watch: Watch, solved: Solved, norm: float) -> GradientError:
        whole = self.inner.mean(watch.error, solved)
        return GradientError(*(part / max(norm, 1e-300) for part in whole))

    def _next(
        self, plans: Both, error: GradientError, found: FirstOrder, watch: Watch
    ) -> Memory:
        """Memory for the batch after this one."""
        info: Any = found.info
        after = Both(
            self.rules.forward.next(plans.forward, error.forward, info.forward),
            self.rules.adjoint.next(plans.adjoint, error.adjoint, info.adjoint),
        )
        return Memory(after, watch if watch.age + 1 < self.check_every else None)


def accurate(
    oracle: Adjustable,
    tolerance: float,
    *,
    ranks: int | None = None,
    check_every: int = 1,
) -> Accurate:
    """Choose iterations so that the estimated error of every gradient is small.

    Parameters
    ----------
    oracle : Oracle
        Of `layer_parallel`, or of `over_data`.  ``max_iterations`` of its options are
        the most that are done.
    tolerance : float
        Largest relative error.  If infinite, errors are only estimated, and the solves
        follow their options.
    ranks : int, optional
        Number of ranks for which serial propagation is compared with iterating, if not
        that of the layers; to study on few ranks what many would do.
    check_every : int
        Steps from one estimate of the gradient's error to the next.  In between it is
        predicted from the residuals, and estimated at once should that be too large.

    Returns
    -------
    Oracle
        Its memory are the plans for the next batch.
    """
    check_oracle(oracle, Oracle, Adjustable)
    check_every = integer("check_every", check_every, 1)
    ranks = oracle.comm.size if ranks is None else integer("ranks", ranks, 1)
    ways = Both(oracle.options, oracle.adjoint)
    if not real("gradient_tolerance", tolerance) > 0.0:
        raise ValueError(
            f"gradient_tolerance is {tolerance}, needed a number > 0 such as 0.01, or "
            "infinity to follow the options"
        )
    over = space(oracle.net, oracle.options, oracle.comm)
    if math.isinf(tolerance):
        return Accurate(oracle, Both(*map(Fixed, ways)), check_every, over)
    slabs = slabs_of(oracle.net, oracle.options, oracle.comm)
    interval = max(slab.grid.interval for slab in slabs)
    rules = []
    for options in ways:
        largest = largest_affordable(options, interval, ranks)
        rules.append(Adaptive(replace(options, tolerance=0.0), tolerance, largest))
    return Accurate(oracle, Both(*rules), check_every, over)


def _options(rule: Fixed | Adaptive, plan: Plan, done: int) -> MGRITOptions:
    return planned_options(rule.options, plan, max(done, 0))


def _more(rules: Both, plans: Both, error: GradientError) -> Both:
    """Do more for the solve that adds the larger part of the error, if it can.

    Solves that ran off to infinity are no start for further iterations.
    """
    if not math.isfinite(error.total):
        return Both(rules.forward.give_up(), rules.adjoint.give_up())
    forward_first = error.forward >= error.adjoint
    if plans.adjoint.iterations == SERIAL or (
        forward_first and plans.forward.iterations != SERIAL
    ):
        return plans._replace(forward=rules.forward.more(plans.forward))
    return plans._replace(adjoint=rules.adjoint.more(plans.adjoint))
