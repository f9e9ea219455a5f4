"""Estimates of the gradient's error that last for some steps of training.

An estimate costs several coarse solves.  Between two of them the error is predicted:
each part is taken to grow and shrink with the residual of the solve that it is from.
"""

from typing import NamedTuple, Self

from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.solve.gradient import Info

LONGEST = 64  # steps that an estimate lasts


class Watch(NamedTuple):
    """An error of a gradient, and the residuals of its two solves."""

    error: GradientError  # absolute
    forward_residual: float
    adjoint_residual: float
    age: int  # steps since the error was estimated

    @classmethod
    def at(cls, error: GradientError, info: Info) -> Self:
        """An estimate for the solves in `info`."""
        residuals = (info.forward.final_residual, info.adjoint.final_residual)
        return cls(error, *residuals, age=0)

    def extrapolate(self, info: Info) -> Self:
        """What the error has become, to judge by the residuals."""
        now = self.at(self.error, info)
        forward = self.error.forward * _growth(
            self.forward_residual, now.forward_residual
        )
        adjoint = self.error.adjoint * _growth(
            self.adjoint_residual, now.adjoint_residual
        )
        parts = self.error.forward + self.error.adjoint
        total = self.error.total * (forward + adjoint) / max(parts, 1e-300)
        error = GradientError(total, forward, adjoint)
        return now._replace(error=error, age=self.age + 1)


class Estimates(NamedTuple):
    """The last estimate, and how many steps it lasts.

    That many become twice as many if the next one is near enough to what was foretold,
    and half as many if not: it may be off twice as far without passing the bound.
    """

    watch: Watch | None  # None: estimate anew
    every: int

    def due(self) -> bool:
        """Whether the next error is to be estimated."""
        return self.watch is None or self.watch.age + 1 >= self.every

    def judged(self, foretold: float, found: float, bound: float) -> Self:
        """After an estimate of what was foretold."""
        off = max(found, 1e-300) / max(foretold, 1e-300)
        off = max(off, 1.0 / off)
        close = off * off * found <= bound  # ** would raise where this is infinite
        every = min(2 * self.every, LONGEST) if close else max(self.every // 2, 1)
        return self._replace(every=every)


def _growth(before: float, now: float) -> float:
    """Ratio of two residuals; a solve that was exact and no longer is has grown."""
    if now == 0.0:
        return 0.0
    return now / before if before > 0.0 else float("inf")
