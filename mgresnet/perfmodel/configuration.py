"""What is to be predicted: a network, a batch, and how they are propagated."""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.timeline.grid import TimeGrid

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Configuration:
    """What is to be predicted.

    Parameters
    ----------
    net : Network
    batch : int
        Samples.
    itemsize : int
        Bytes of a number: 8 or 4.
    forward, adjoint : MGRITOptions
        With the same coarsening; all ``max_iterations`` are done.
    keep : {"all", "c-points"}
        Which states are kept.
    """

    net: Network
    batch: int
    itemsize: int
    forward: MGRITOptions
    adjoint: MGRITOptions
    keep: str = "all"

    @property
    def grid(self) -> TimeGrid:
        """Levels."""
        how = self.forward.coarsening, self.forward.slabs
        return TimeGrid(self.net.depth, self.net.final_time, *how)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of all numbers."""
        return np.dtype(f"f{self.itemsize}")

    @property
    def sample(self) -> int:
        """Bytes of the state of a sample between two layers."""
        return math.prod(self.net.layer.state_shape) * self.itemsize

    @property
    def state(self) -> int:
        """Bytes of the states of a batch between two layers."""
        return self.sample * self.batch

    @property
    def serial(self) -> bool:
        """Whether both solves march through all layers."""
        both = (self.forward, self.adjoint)
        return not any(options.iterates(self.grid.factors) for options in both)

    def serially(self, keep: str) -> Self:
        """The same marched through all layers, with so many states kept."""
        serial = MGRITOptions.serial(self.forward.coarsening, self.forward.slabs)
        return replace(self, forward=serial, adjoint=serial, keep=keep)


def slabs(grid: TimeGrid, size: int) -> Ints:
    """Number of layers of every rank: `TimeGrid.slab` for all ranks at once."""
    grid.slab(0, size)  # refuses too many ranks
    ends = np.arange(1, size + 1) * grid.n_runs // size * grid.run
    ends[-1] = grid.depth
    layers: Ints = np.diff(ends, prepend=0)
    return layers
