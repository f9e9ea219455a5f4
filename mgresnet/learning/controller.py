"""Which plan the next gradient gets, so that its error stays below a bound.

Forward and adjoint solves have plans of their own.  A solve takes the cheapest one
whose foretold error is small enough, and a more accurate one as soon as the estimated
error grows; where none is left, it is exact, and the others are tried again after a
while, twice as long after every try that was in vain.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from mgresnet.learning.ladder import SERIAL, Ladder, Plan
from mgresnet.mgrit.options import MGRITOptions

MARGIN = 0.15  # fraction of the tolerance that a cheaper plan may be foretold to have
AIM = 0.3  # the same of a plan that is to do better
HIGH = 0.5  # the same from which the next step is done better, with other intervals


class Course(NamedTuple):
    """Plan of a solve, and what is known for the next ones."""

    plan: Plan
    roughness: float = 0.0  # of the solve, as its errors tell
    wait: int = 0  # steps until something cheaper is tried
    in_vain: int = 0  # tries since a plan was good enough


@dataclass(frozen=True)
class Fixed:
    """What the options say, however wrong the gradient is."""

    ladder: Ladder

    tolerance = float("inf")

    def start(self) -> Course:
        """Course of the first step."""
        return Course(self.ladder.given)

    def choose(self, course: Course, batch: int) -> Course:
        """The same course."""
        return course

    def accepts(self, error: float) -> bool:
        """Yes, always."""
        return True

    def more(self, course: Course, error: float, batch: int) -> Course:
        """The same course."""
        return course

    def give_up(self, course: Course) -> Course:
        """The only course."""
        return course

    def next(self, course: Course, error: float, batch: int) -> Course:
        """The same course."""
        return course


@dataclass(frozen=True)
class Adaptive:
    """The cheapest plan that keeps the error of the gradient below a tolerance.

    Parameters
    ----------
    ladder : Ladder
    tolerance : float
        Largest relative error of the gradient.
    roughness : float
        Of a network about which nothing is known.
    patience : int
        Steps until cheaper plans are tried again, after one that was not good enough.
    most : int
        The most of such steps, after many tries in vain.
    """

    ladder: Ladder
    tolerance: float
    roughness: float
    patience: int = 50
    most: int = 400

    @classmethod
    def of(cls, ladder: Ladder, tolerance: float) -> Self:
        """Rule that begins as if intervals of any length, or one iteration, would do.

        How much a layer changes a state is a first guess of what a solve misses.
        """
        options = replace(ladder.options, tolerance=0.0)
        once = ladder.given._replace(iterations=min(1, options.max_iterations))
        rough = 0.99 * once.roughness(AIM * tolerance)
        rough = ladder.step if options.slabs else rough
        return cls(replace(ladder, options=options), tolerance, rough)

    def start(self) -> Course:
        """Course of the first step, whose plan is chosen when its batch is known."""
        return Course(self.ladder.exact, self.roughness)

    def choose(self, course: Course, batch: int) -> Course:
        """Course of a step, for which something cheaper than exact is tried again."""
        if course.plan.iterations != SERIAL or course.wait > 0:
            return course
        return course._replace(plan=self._first(course.roughness, batch))

    def accepts(self, error: float) -> bool:
        """Whether a gradient may have this relative error; NaN is none to accept."""
        return error <= self.tolerance

    def more(self, course: Course, error: float, batch: int) -> Course:
        """Course that repeats a step whose error was too large."""
        roughness = course.plan.roughness(error)
        better = self._better(course.plan, roughness, batch) or self.ladder.exact
        if better.iterations == SERIAL:
            return self.give_up(course._replace(roughness=roughness))
        wait = self._wait(course.plan, better)
        return Course(better, roughness, wait, course.in_vain)

    def give_up(self, course: Course) -> Course:
        """Course that repeats a step exactly."""
        if course.plan.iterations == SERIAL:
            return course._replace(plan=self.ladder.exact)
        wait = min(self.patience << min(course.in_vain, 9), self.most)
        return Course(self.ladder.exact, course.roughness, wait, course.in_vain + 1)

    def next(self, course: Course, error: float, batch: int) -> Course:
        """Course of the next step.

        Parameters
        ----------
        course : Course
            Of this step.
        error : float
            This solve's part of the relative error of the gradient.
        batch : int
            Samples of a rank.
        """
        plan, roughness, wait, _ = course
        if plan.iterations == SERIAL:
            return course._replace(wait=max(wait - 1, 0))
        roughness = plan.roughness(error)
        if error > HIGH * self.tolerance and self.ladder.options.slabs:
            better = self._better(plan, roughness, batch) or plan
            return Course(better, roughness, self._wait(plan, better))
        if wait > 0:
            return Course(plan, roughness, wait - 1)
        plans = self.ladder.plans(batch)
        cheaper = plans[: plans.index(plan)] if plan in plans else plans
        bound = MARGIN * self.tolerance
        small = [p for p in cheaper if p.error(roughness) <= bound]
        return Course(small[0] if small else plan, roughness)

    def _wait(self, plan: Plan, better: Plan) -> int:
        """Steps until something cheaper is tried, unless that would only iterate on."""
        goes_on = better[:2] == plan[:2] and better.iterations != SERIAL
        return 0 if goes_on else self.patience

    def _first(self, roughness: float, batch: int) -> Plan:
        """Cheapest plan that may do, or the most accurate one, or the exact one."""
        plans, bound = self.ladder.plans(batch), AIM * self.tolerance
        small = [plan for plan in plans if plan.error(roughness) <= bound]
        rough = min(roughness, 0.5 / max(self.ladder.options.slabs, 1))
        best = min(plans, key=lambda p: p.error(rough), default=self.ladder.exact)
        return small[0] if small else best

    def _better(self, plan: Plan, roughness: float, batch: int) -> Plan | None:
        """Cheapest plan that is foretold to do; of one interval, an iteration more."""
        bound, now = AIM * self.tolerance, plan.error(roughness)
        plans = self.ladder.plans(batch)
        if not self.ladder.options.slabs:
            once_more = plan._replace(iterations=plan.iterations + 1)
            return once_more if once_more in plans else None
        for other in plans:
            if other.error(roughness) <= min(bound, 0.999 * now):
                return other
        return None


def planned_options(options: MGRITOptions, plan: Plan, done: int = 0) -> MGRITOptions:
    """Options that carry out a plan of which some iterations are done already."""
    if plan.iterations == SERIAL:
        return MGRITOptions.serial(plan.coarsening, options.slabs)
    return replace(
        options,
        coarsening=plan.coarsening,
        coarse_operator=plan.operator,
        max_iterations=plan.iterations - done,
    )
