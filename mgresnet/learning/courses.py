"""Courses of both solves: one length of intervals, and more for one that needs it."""

import math

from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.learning.controller import Course
from mgresnet.learning.ladder import SERIAL
from mgresnet.learning.oracle import Both

TRIES = 3  # kinds of plans in a step


def side_by_side(rules: Both, before: Both, after: Both) -> Both:
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


def goes_on(before: Both, after: Both) -> bool:
    """Whether solutions by some plans are a start for others."""
    pairs = [(a.plan[:2], b.plan[:2]) for a, b in zip(before, after, strict=True)]
    return all(a == b for a, b in pairs)


def more_for(
    rules: Both, courses: Both, error: GradientError, n: int, tried: set[Both]
) -> Both:
    """Do more for the solve that adds the larger part of the error, if it can.

    Solves that ran off to infinity are no start for further iterations.  Plans that
    were tried in this step are not tried again, nor are others after `TRIES` kinds, or
    after one where the last tries were in vain: both solves are exact then.
    """
    there, back = courses
    if not math.isfinite(error.total):
        return _exact(rules, courses)
    forward_first = error.forward >= error.adjoint
    if back.plan.iterations == SERIAL or (
        forward_first and there.plan.iterations != SERIAL
    ):
        more = courses._replace(forward=rules.forward.more(there, error.forward, n))
    else:
        more = courses._replace(adjoint=rules.adjoint.more(back, error.adjoint, n))
    more = side_by_side(rules, more, more)
    if goes_on(courses, more) and _plans(more) not in tried:
        return more
    kinds = {tuple(plan[:2] for plan in both) for both in tried}
    trying = (course for course in courses if course.plan.iterations != SERIAL)
    most = 1 if any(course.in_vain for course in trying) else TRIES
    if len(kinds) < most and _plans(more) not in tried:
        return more
    known = (
        a._replace(roughness=b.roughness) for a, b in zip(courses, more, strict=True)
    )
    return _exact(rules, Both(*known))


def _plans(courses: Both) -> Both:
    return Both(*(course.plan for course in courses))


def _exact(rules: Both, courses: Both) -> Both:
    """Both solves exact."""
    pairs = zip(rules, courses, strict=True)
    return Both(*(rule.give_up(course) for rule, course in pairs))
