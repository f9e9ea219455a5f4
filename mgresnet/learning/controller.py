"""How many iterations the next gradient gets, so that its error stays below a bound.

Forward and adjoint solves have iteration counts of their own.  A count rises when the
estimated error is too large and falls when the error would have stayed small with one
iteration less; a solve for which iterating costs more than marching through all layers
is done serially, and tried again after a while.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from mgresnet.mgrit.options import MGRITOptions
from mgresnet.solve.solution import Solution

SERIAL = -1  # in place of a number of iterations
MARGIN = 0.3  # fraction of the tolerance that the error may have after a count falls


class Plan(NamedTuple):
    """Iterations of one solve; SERIAL with the number of steps until the next try."""

    iterations: int
    wait: int = 0


@dataclass(frozen=True)
class Fixed:
    """The iterations that the options allow, however wrong the gradient is."""

    options: MGRITOptions

    def start(self) -> Plan:
        """Plan of the first step."""
        return Plan(self.options.max_iterations)

    def accepts(self, error: float) -> bool:
        """Yes, always."""
        return True

    def more(self, plan: Plan) -> Plan:
        """The same plan."""
        return plan

    def give_up(self) -> Plan:
        """The only plan."""
        return self.start()

    def next(self, plan: Plan, error: float, solution: Solution) -> Plan:
        """The same plan."""
        return plan


@dataclass(frozen=True)
class Adaptive:
    """As few iterations as keep the error of the gradient below a tolerance.

    Parameters
    ----------
    options : MGRITOptions
    tolerance : float
        Largest relative error of the gradient.
    largest : int
        Most iterations that are cheaper than serial propagation; SERIAL if none are.
    patience : int
        Steps of serial propagation before iterating is tried again.
    """

    options: MGRITOptions
    tolerance: float
    largest: int
    patience: int = 50

    def start(self) -> Plan:
        """Plan of the first step."""
        return Plan(min(1, self.largest))

    def accepts(self, error: float) -> bool:
        """Whether a gradient may have this relative error; NaN is none to accept."""
        return error <= self.tolerance

    def more(self, plan: Plan) -> Plan:
        """Plan that repeats a step whose error was too large."""
        if plan.iterations < self.largest:
            return Plan(plan.iterations + 1)
        return self.give_up()

    def give_up(self) -> Plan:
        """Plan that repeats a step without iterations."""
        return Plan(SERIAL, self.patience)

    def next(self, plan: Plan, error: float, solution: Solution) -> Plan:
        """Plan of the next step.

        Parameters
        ----------
        plan : Plan
            Of this step.
        error : float
            This solve's part of the relative error of the gradient.
        solution : Solution
        """
        if plan.iterations == SERIAL:
            if plan.wait > 1 or self.largest == SERIAL:
                return Plan(SERIAL, plan.wait - 1)
            return Plan(self.largest)
        with_one_less = error / max(reduction(solution), 1e-300)
        if plan.iterations > 0 and with_one_less < MARGIN * self.tolerance:
            return Plan(plan.iterations - 1)
        return plan


def planned_options(options: MGRITOptions, plan: Plan, done: int = 0) -> MGRITOptions:
    """Options that carry out a plan of which some iterations are done already."""
    if plan.iterations == SERIAL:
        return MGRITOptions.serial(options.coarsening)
    iterations = plan.iterations - done
    if iterations == options.max_iterations:
        return options
    return replace(options, max_iterations=iterations)


def reduction(solution: Solution) -> float:
    """Factor by which the last iteration reduced the residual; 0 if it left none."""
    if not len(solution.residuals) or solution.residuals[-1] == 0.0:
        return 0.0
    return float(solution.final_residual / solution.residuals[-1])


def largest_affordable(options: MGRITOptions, interval: int, ranks: int) -> int:
    """Most iterations that take less time than marching through all layers, or SERIAL.

    In units of one march, k iterations on P ranks with intervals of L layers take
    (k + 1) (1 + 2/L) / P: a sweep of a rank's slab, and a share in a coarse solve of
    two evaluations per interval.  A forward solve that leaves its last sweep to the
    adjoint one takes less, but an iteration more for that has not paid: small slabs
    have other costs.
    """
    affordable = -(-ranks * interval // (interval + 2)) - 2
    return max(SERIAL, min(options.max_iterations, affordable))
