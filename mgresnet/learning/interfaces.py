"""Memory of auxiliary variables by sample, in arrays that a state of training holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array
from mgresnet.learning.modules import Stretch
from mgresnet.learning.points import Points

Rows = NDArray[np.int64]


class Store(Protocol):
    """Where variables are kept from batch to batch, and what a state remembers of it.

    Variables of some samples are arrays (n_points, batch, n_kinds, size), one for every
    stage, of the points of this rank.
    """

    @property
    def copies(self) -> int:
        """How often there is room for the variables of a sample."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what is remembered."""

    def init(
        self, stretches: Sequence[Stretch], samples: int, n_kinds: int, about: str
    ) -> Any:
        """What is remembered before the first batch."""

    def known(self, memory: Any, rows: Rows) -> NDArray[np.bool_]:
        """Which of some samples have variables; the same on all ranks."""

    def read(
        self, memory: Any, stretches: Sequence[Stretch], rows: Rows
    ) -> list[Array]:
        """Variables of some samples that are known."""

    def write(
        self,
        memory: Any,
        stretches: Sequence[Stretch],
        rows: Rows,
        values: Sequence[Array],
    ) -> Any:
        """What is remembered with others; what was remembered stays as it is."""


class Interfaces(NamedTuple):
    """What is remembered of every sample; nothing in it is ever modified.

    Parameters
    ----------
    step : int
        Evaluations so far.
    about : str
        What variables these are: of which modules, and how they are kept.
    inputs : ndarray of int, shape (samples,)
        Checksums of the inputs that variables belong to.
    met : ndarray of bool, shape (samples,)
        Which samples have variables.
    variables : tuple of Points
        Of every stage, at the points of this rank: (n_points, samples, n_kinds, size).
    """

    step: int
    about: str
    inputs: Rows
    met: NDArray[np.bool_]
    variables: tuple[Points, ...]


@dataclass(frozen=True)
class InMemory:
    """All variables lie in the memory; they are copied whenever some of them change."""

    copies = 1
    fields = Interfaces._fields

    def init(
        self, stretches: Sequence[Stretch], samples: int, n_kinds: int, about: str
    ) -> Interfaces:
        """No sample has variables."""
        variables = []
        for i, stretch in enumerate(stretches):
            kept = stretch.filter
            shape = len(stretch.points), samples, n_kinds, kept.size
            variables.append(at_points(stretch, i, np.zeros(shape, kept.dtype)))
        inputs, met = np.zeros(samples, np.int64), np.zeros(samples, bool)
        return Interfaces(0, about, inputs, met, tuple(variables))

    def known(self, memory: Interfaces, rows: Rows) -> NDArray[np.bool_]:
        """Those that were written."""
        known: NDArray[np.bool_] = memory.met[rows]
        return known

    def read(
        self, memory: Interfaces, stretches: Sequence[Stretch], rows: Rows
    ) -> list[Array]:
        """Variables of some samples."""
        pairs = zip(memory.variables, stretches, strict=True)
        return [
            some.states[places_of(some, stretch)[:, None], rows]
            for some, stretch in pairs
        ]

    def write(
        self,
        memory: Interfaces,
        stretches: Sequence[Stretch],
        rows: Rows,
        values: Sequence[Array],
    ) -> Interfaces:
        """Memory with others."""
        met, found = memory.met.copy(), []
        met[rows] = True
        for i, stretch in enumerate(stretches):
            held = memory.variables[i]
            states = held.states[places_of(held, stretch)]  # a copy
            states[:, rows] = values[i]
            found.append(at_points(stretch, i, states))
        step, variables = memory.step + 1, tuple(found)
        return memory._replace(step=step, met=met, variables=variables)


def checksums(values: Array) -> Rows:
    """Of every row."""
    return np.array([crc32(row) for row in np.ascontiguousarray(values)], np.int64)


def at_points(stretch: Stretch, stage: int, states: Array) -> Points:
    """Something at every point of this rank."""
    return Points(states, np.array(stretch.points, np.intp), stage)


def places_of(points: Points, stretch: Stretch) -> NDArray[np.intp]:
    """Where the points of this rank are among those that it holds.

    Of a state that is for other ranks a rank has the point behind its last layer, too.
    """
    return np.searchsorted(points.kept, np.array(stretch.points, np.intp))
