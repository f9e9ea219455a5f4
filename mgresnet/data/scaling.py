r"""Columns as they were measured, as numbers of about one, and back.

.. math:: x \leftarrow (x - \bar x) / s_x

with mean and standard deviation of the samples that are learned from.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.arrays.layout import Array


class Scale(NamedTuple):
    """Means and standard deviations of columns."""

    mean: Array  # (n_columns,)
    spread: Array  # (n_columns,); 0: the column does not vary, and becomes zero
    names: tuple[str, ...] = ()  # none if the columns have none

    @classmethod
    def of(cls, values: Array, names: Sequence[str] = (), what: str = "column") -> Self:
        """Scale by which columns get mean 0 and standard deviation 1.

        For messages a column has a name.

        Raises
        ------
        ValueError
            If squares of a column overflow.
        """
        varies = np.ptp(values, axis=0) > 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            spread = np.where(varies, values.std(axis=0, dtype=np.float64), 0.0)
        if not np.isfinite(spread).all():
            raise ValueError(
                f"{what} {int(np.isfinite(spread).argmin())} reaches "
                f"{np.abs(values).max():.0e}, whose square overflows; scale it"
            )
        mean = np.where(varies, values.mean(axis=0, dtype=np.float64), values[0])
        return cls(mean, spread, tuple(names))

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """The scale that `fields` was made from."""
        mean, spread = np.array(fields["mean"]), np.array(fields["spread"])
        return cls(mean, spread, tuple(fields["names"]))

    def as_lists(self) -> dict[str, list[Any]]:
        """The same for a JSON file."""
        lists = self.mean.tolist(), self.spread.tolist()
        return {"names": [*self.names], "mean": lists[0], "spread": lists[1]}

    def apply(self, values: Array, names: Sequence[str] = ()) -> Array:
        """Scaled values.

        Parameters
        ----------
        values : ndarray, shape (.., n_columns)
            These columns in their order, or with names others among them.
        names : sequence of str
            Of the columns given; () if they have none.

        Returns
        -------
        ndarray, shape (.., n_columns)

        Raises
        ------
        ValueError
            If columns are missing, or without names there are others.
        """
        if self.names and names:
            values = values[..., self._places(names)]
        n = len(self.mean)
        if values.shape[-1:] != (n,):
            order = f", {', '.join(self.names)}, in this order" if self.names else ""
            hint = ", or give names on top of all columns" if self.names else ""
            raise ValueError(
                f"{values.shape[-1]} columns, needed {n} as in training{order}; leave "
                f"others out{hint}"
            )
        centred = values - self.mean
        still = np.zeros_like(centred)
        scaled: Array = np.divide(centred, self.spread, still, where=self.spread > 0.0)
        return scaled

    def _places(self, names: Sequence[str]) -> list[int]:
        """Where the columns are among others."""
        if missing := [name for name in self.names if name not in names]:
            raise ValueError(
                f"there is no column {missing[0]!r} among {', '.join(names)}; needed "
                f"{', '.join(self.names)}, as in training; rename columns, or leave "
                "all names out"
            )
        return [names.index(name) for name in self.names]

    def undo(self, values: Array) -> Array:
        """Values as they were measured, of the type of those given."""
        measured: Array = (values * self.spread + self.mean).astype(values.dtype)
        return measured


class Scales(NamedTuple):
    """Scales of inputs and of targets; None where these are as they were given."""

    inputs: Scale | None = None
    targets: Scale | None = None
