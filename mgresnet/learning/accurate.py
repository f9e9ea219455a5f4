"""An oracle whose gradients have an estimated error that is small enough."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.arrays.checks import integer, real
from mgresnet.arrays.space import Space
from mgresnet.learning.controller import Adaptive, Course, Fixed, planned_options
from mgresnet.learning.courses import goes_on, more_for, side_by_side
from mgresnet.learning.ladder import SERIAL, ladder_of
from mgresnet.learning.oracle import (
    Adjustable,
    Both,
    FirstOrder,
    Oracle,
    Solved,
    check_oracle,
)
from mgresnet.learning.watch import Estimates, Watch
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.parallel import TimeComm
from mgresnet.solve.reading import refuse_every
from mgresnet.solve.stages import space

SURE = 1.5  # times larger that an error may be than foretold, or than some samples say
FAR = 3.0  # times smaller that it may be than some samples say
SOME = slice(None, None, 4)  # these are looked at first,
ENOUGH = 200  # if a data rank has as many in all


class Memory(NamedTuple):
    """What the next gradient is to get, and how wrong the last one was."""

    plans: Both  # Course of each solve
    watch: Watch | None  # on the error of this rank's portion; None: estimate anew
    every: int = 1  # steps from an estimate to the next


@dataclass(frozen=True)
class Accurate:
    """Oracle of `accurate`, with a rule for each solve.

    Parameters
    ----------
    inner : Adjustable
    rules : Both
        `Fixed` or `Adaptive`.
    check_every : int, or None
        None follows how well errors are foretold.
    space : Space
        Of the gradients.
    """

    inner: Adjustable
    rules: Both
    check_every: int | None
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
        rules, batch_size = self.rules.forward, self._samples(batch)
        course = rules.choose(memory.plans.forward, batch_size)
        options = planned_options(rules.ladder.options, course.plan)
        return self.inner.value_by(options, params, batch)

    def evaluate(self, params: Any, batch: Any, memory: Memory) -> FirstOrder:
        """Carry out the plans, and better ones while the rules find the error large."""
        rules, n = self.rules, self._samples(batch)
        courses = Both(
            rules.forward.choose(memory.plans.forward, n),
            rules.adjoint.choose(memory.plans.adjoint, n),
        )
        courses = side_by_side(rules, memory.plans, courses)
        watch = memory.watch if courses == memory.plans else None
        estimates = Estimates(watch, self.check_every or memory.every)
        seconds: Counter[str] = Counter()
        start: Solved | None = None
        done, tried = Both(0, 0), set[Both]()
        while True:
            ways = Both(*map(_options, rules, courses, done))
            found, start = self.inner.solve(params, batch, ways, start)
            seconds.update(found.seconds)
            norm, error, estimates = self._error(found, start, estimates, seconds, n)
            plans = Both(*(course.plan for course in courses))
            exact = all(plan.iterations == SERIAL for plan in plans)
            if rules.forward.accepts(error.total) or exact:
                return found._replace(
                    norm=norm,
                    error=error,
                    iterations=_counts(courses, done, found.iterations),
                    plans=plans if math.isfinite(rules.forward.tolerance) else None,
                    seconds=seconds,
                    memory=self._next(courses, error, estimates, n),
                )
            tried.add(plans)
            estimates, before = estimates._replace(watch=None), courses
            courses = more_for(rules, before, error, n, tried)
            done = Both(*map(_done, before))
            del found  # the next one may have its memory
            if not goes_on(before, courses):
                start, done = None, Both(0, 0)

    def _samples(self, batch: Any) -> int:
        """Samples that every portion has; the same on all ranks."""
        return int(max(len(batch[0]) // self.inner.portions, 1))

    def _error(
        self,
        found: FirstOrder,
        solved: Solved,
        estimates: Estimates,
        seconds: Counter[str],
        n: int,
    ) -> tuple[float, GradientError, Estimates]:
        """Norm and error of a gradient: extrapolated if that is well, or estimated."""
        norm, foretold = self.space.norm(found.gradient), None
        if estimates.watch is not None:
            watch = estimates.watch.extrapolate(solved.info)
            foretold = self._relative(watch, solved, norm)
            accepted = self.rules.forward.accepts(SURE * foretold.total)
            if accepted and math.isfinite(foretold.total) and not estimates.due():
                return norm, foretold, estimates._replace(watch=watch)
        started = time.perf_counter()
        watch, error = self._estimated(solved, norm, n)
        seconds.update({"estimate": time.perf_counter() - started})
        if foretold is not None and self.check_every is None:
            bound = self.rules.forward.tolerance
            estimates = estimates.judged(foretold.total, error.total, bound)
        return norm, error, estimates._replace(watch=watch)

    def _estimated(
        self, solved: Solved, norm: float, n: int
    ) -> tuple[Watch, GradientError]:
        """Error by some samples, or by all where these leave a doubt."""
        if math.isfinite(self.rules.forward.tolerance) and n >= ENOUGH:
            watch = Watch.at(solved.estimate(SOME), solved.info)
            error = self._relative(watch, solved, norm)
            accepts = self.rules.forward.accepts
            if accepts(SURE * error.total) or not accepts(error.total / FAR):
                return watch, error
        watch = Watch.at(solved.estimate(), solved.info)
        return watch, self._relative(watch, solved, norm)

    def _relative(self, watch: Watch, solved: Solved, norm: float) -> GradientError:
        whole = self.inner.mean(watch.error, solved)
        return GradientError(*(part / max(norm, 1e-300) for part in whole))

    def _next(
        self, courses: Both, error: GradientError, estimates: Estimates, n: int
    ) -> Memory:
        """Memory for the batch after this one; another plan is estimated anew."""
        after = Both(
            self.rules.forward.next(courses.forward, error.forward, n),
            self.rules.adjoint.next(courses.adjoint, error.adjoint, n),
        )
        after = side_by_side(self.rules, courses, after)
        same = all(a.plan == b.plan for a, b in zip(courses, after, strict=True))
        return Memory(after, estimates.watch if same else None, estimates.every)


def accurate(
    oracle: Adjustable,
    tolerance: float,
    *,
    ranks: int | None = None,
    check_every: int | None = None,
) -> Accurate:
    """Choose plans so that the estimated error of every gradient is small.

    Parameters
    ----------
    oracle : Oracle
        Of `layer_parallel`, or of `over_data`.  ``max_iterations`` of its options are
        the most that are done; with their `slabs`, intervals and coarse operator are
        chosen, too.
    tolerance : float
        Largest relative error.  If infinite, errors are only estimated, and the solves
        follow their options.
    ranks : int, optional
        Number of ranks for which serial propagation is compared with iterating, if not
        that of the layers; to study on few ranks what many would do.
    check_every : int, optional
        Steps from one estimate of the gradient's error to the next.  In between it is
        predicted from the residuals, and estimated at once should that be too large.
        By default as many as predictions are right for.

    Returns
    -------
    Oracle
        Its memory are the plans for the next batch.

    Notes
    -----
    Where every data rank has 200 samples or more, every fourth one is looked at first,
    and all only if these leave a doubt: they are to stand for the batch, so shuffle it.
    """
    check_oracle(oracle, Oracle, Adjustable)
    if check_every is not None:
        check_every = integer("check_every", check_every, 1)
    ranks = oracle.comm.size if ranks is None else integer("ranks", ranks, 1)
    ways = Both(oracle.options, oracle.adjoint)
    if not real("gradient_tolerance", tolerance) > 0.0:
        raise ValueError(
            f"gradient_tolerance is {tolerance}, needed a number > 0 such as 0.01, or "
            "infinity to follow the options"
        )
    refuse_every(
        oracle.net,
        "errors of gradients are estimated",
        "leave gradient_tolerance and check_every out",
    )
    over = space(oracle.net, oracle.options, oracle.comm)
    ladders = [ladder_of(oracle.net, options, ranks) for options in ways]
    if math.isinf(tolerance):
        return Accurate(oracle, Both(*map(Fixed, ladders)), check_every, over)
    rules = [Adaptive.of(ladder, tolerance) for ladder in ladders]
    return Accurate(oracle, Both(*rules), check_every, over)


def _options(rule: Fixed | Adaptive, course: Course, done: int) -> MGRITOptions:
    return planned_options(rule.ladder.options, course.plan, done)


def _done(course: Course) -> int:
    """Iterations behind a solve."""
    return max(course.plan.iterations, 0)


def _counts(courses: Both, done: Both, more: Both) -> Both:
    """Iterations in all, or SERIAL."""
    both = zip(courses, done, more, strict=True)
    return Both(
        *(SERIAL if c.plan.iterations == SERIAL else int(a + b) for c, a, b in both)
    )
