r"""Features and values on a scale of their own, and back.

.. math:: x \leftarrow (x - \bar x) / s_x

with the mean and the standard deviation of what there is to learn from.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class Scale(NamedTuple):
    """Means and standard deviations of columns; a column that does not vary has 0."""

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Scale of the rows of an array.

        Raises
        ------
        ValueError
            If squares of a column overflow.
        """
        varies = np.ptp(values, axis=0) > 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            spread = np.where(varies, values.std(axis=0, dtype=np.float64), 0.0)
        if not np.isfinite(spread).all():
            column = int(np.isfinite(spread).argmin())
            raise ValueError(
                f"column {column} reaches {np.abs(values[:, column]).max():.0e}, whose "
                "square overflows; scale it"
            )
        mean = values.mean(axis=0, dtype=np.float64)
        return cls(np.where(varies, mean, values[0]), spread)

    @classmethod
    def read(cls, known: Mapping[str, list[float]]) -> Self:
        """Scale from what `as_lists` says."""
        return cls(*(np.array(known[name], np.float64) for name in cls._fields))

    def as_lists(self) -> dict[str, list[float]]:
        """What can be written as text."""
        return {name: part.tolist() for name, part in self._asdict().items()}

    def apply(self, values: Floats) -> Floats:
        """Columns less their mean over the deviation; 0 if they did not vary."""
        varies = self.spread > 0.0
        over = np.where(varies, self.spread, 1.0)
        scaled: Floats = np.where(varies, (values - self.mean) / over, 0.0)
        return scaled

    def undo(self, values: Floats) -> Floats:
        """Columns as they were."""
        whole: Floats = self.mean + self.spread * values
        return whole


class Scales(NamedTuple):
    """Scales of inputs and of targets; None where these are as they were given."""

    inputs: Scale
    targets: Scale | None = None
