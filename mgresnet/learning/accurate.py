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

SURE = 1.25  # how much larger than foretold an error may be


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
        courses = _side_by_side(rules, memory.plans, courses)
        watch = memory.watch if courses == memory.plans else None
        estimates = Estimates(watch, self.check_every or memory.every)
        seconds: Counter[str] = Counter()
        start: Solved | None = None
        done, tried = Both(0, 0), set[Both]()
        while True:
            ways = Both(*map(_options, rules, courses, done))
            found, start = self.inner.solve(params, batch, ways, start)
            seconds.update(found.seconds)
            norm, error, estimates = self._error(found, start, estimates, seconds)
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
            courses = _more(rules, before, error, n, tried)
            done = Both(*map(_done, before))
            if not _goes_on(before, courses):
                start, done = None, Both(0, 0)

    def _samples(self, batch: Any) -> int:
        """Samples of a portion."""
        return int(max(len(batch[0]) // self.inner.portions, 1))

    def _error(
        self,
        found: FirstOrder,
        solved: Solved,
        estimates: Estimates,
        seconds: Counter[str],
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
        watch = Watch.at(solved.estimate(), solved.info)
        seconds.update({"estimate": time.perf_counter() - started})
        error = self._relative(watch, solved, norm)
        if foretold is not None and self.check_every is None:
            bound = self.rules.forward.tolerance
            estimates = estimates.judged(foretold.total, error.total, bound)
        return norm, error, estimates._replace(watch=watch)

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
        after = _side_by_side(self.rules, courses, after)
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


def _side_by_side(rules: Both, before: Both, after: Both) -> Both:
    """One length of intervals for both solves, where they may choose: the shorter one.

    A way back needs the states that a way there has kept.  A solve that would have had
    longer ones does what it did before, if that was of this length.
    """
    if not all(rule.ladder.options.slabs for rule in rules):
        return after
    plans = [c.plan for c in after if c.plan.iterations != SERIAL]
    if not plans:
        both = zip(after, rules, strict=True)
        return Both(*(c._replace(plan=rule.ladder.exact) for c, rule in both))
    coarsening = min((plan.coarsening for plan in plans), key=math.prod)
    return Both(
        *(_of_length(coarsening, *pair) for pair in zip(before, after, strict=True))
    )


def _of_length(coarsening: tuple[int, ...], before: Course, after: Course) -> Course:
    """Course with these intervals."""
    plan = after.plan
    if plan.coarsening != coarsening and before.plan.coarsening == coarsening:
        plan = before.plan if before.plan.iterations != SERIAL else plan
    return after._replace(plan=plan._replace(coarsening=coarsening))


def _goes_on(before: Both, after: Both) -> bool:
    """Whether solutions by some plans are a start for others."""
    pairs = [(a.plan[:2], b.plan[:2]) for a, b in zip(before, after, strict=True)]
    return all(a == b for a, b in pairs)


def _done(course: Course) -> int:
    """Iterations behind a solve."""
    return max(course.plan.iterations, 0)


def _counts(courses: Both, done: Both, more: Both) -> Both:
    """Iterations in all, or SERIAL."""
    both = zip(courses, done, more, strict=True)
    return Both(
        *(SERIAL if c.plan.iterations == SERIAL else int(a + b) for c, a, b in both)
    )


def _more(
    rules: Both, courses: Both, error: GradientError, n: int, tried: set[Both]
) -> Both:
    """Do more for the solve that adds the larger part of the error, if it can.

    Solves that ran off to infinity are no start for further iterations, and plans that
    were tried in this step are not tried again: both solves are exact then.
    """
    there, back = courses
    exact = Both(rules.forward.give_up(there), rules.adjoint.give_up(back))
    if not math.isfinite(error.total):
        return exact
    forward_first = error.forward >= error.adjoint
    if back.plan.iterations == SERIAL or (
        forward_first and there.plan.iterations != SERIAL
    ):
        more = courses._replace(forward=rules.forward.more(there, error.forward, n))
    else:
        more = courses._replace(adjoint=rules.adjoint.more(back, error.adjoint, n))
    more = _side_by_side(rules, more, more)
    return exact if Both(*(course.plan for course in more)) in tried else more
