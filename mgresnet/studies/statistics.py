"""Means with confidence intervals, of samples and of paired differences."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit


class Estimate(NamedTuple):
    """Mean of a sample with what is needed to judge it."""

    mean: float
    deviation: float  # standard, of a single value
    low: float  # ends of the confidence interval of the mean
    high: float
    n: int

    def __str__(self) -> str:
        if self.n < 2:
            return f"{self.mean:.4g}"
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"

    @property
    def differs(self) -> bool:
        """Whether zero is outside of the interval."""
        return self.low > 0.0 or self.high < 0.0


def estimate(values: Iterable[float], confidence: float = 0.95) -> Estimate:
    """Mean, standard deviation and Student's interval; infinite for a single value."""
    sample = np.array([*values], np.float64)
    n, mean = len(sample), float(np.mean(sample))
    if n < 2:
        return Estimate(mean, math.nan, -math.inf, math.inf, n)
    deviation = float(np.std(sample, ddof=1))
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * deviation / math.sqrt(n)
    return Estimate(mean, deviation, mean - half, mean + half, n)


def paired(
    after: Iterable[float], before: Iterable[float], confidence: float = 0.95
) -> Estimate:
    """Mean difference of pairs, such as runs from the same start."""
    pairs = zip(after, before, strict=True)
    return estimate([a - b for a, b in pairs], confidence)
