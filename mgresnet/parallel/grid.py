"""Ranks in a rectangle: layers divided one way, samples the other.

Rank w of the P Q ranks of a job holds the layers of place ``w % P`` and the samples of
place ``w // P``: the P ranks that share their samples are neighbours, since they talk
most.
"""

from dataclasses import dataclass
from typing import Any, Self

from mgresnet.parallel.choose import as_time_comm
from mgresnet.parallel.comm import Array, SerialComm, TimeComm, split
from mgresnet.parallel.roll import leave, roll_call, row_of_group


@dataclass(frozen=True)
class ProcessGrid:
    """Two communicators of one rank, which number all ranks as the module says.

    Parameters
    ----------
    layer : TimeComm
        Ranks that share this rank's samples, in layer order.
    data : TimeComm
        Ranks that share this rank's layers, in the order of the samples.
    """

    layer: TimeComm
    data: TimeComm

    @classmethod
    def split(cls, comm: Any, *, layer: int, data: int) -> Self:
        """Arrange the ranks of a communicator; all of them call this together.

        Parameters
        ----------
        comm : mpi4py communicator or TimeComm, optional
            Has layer x data ranks; None is one rank.
        layer, data : int
            Number of ranks over layers and over samples.

        Raises
        ------
        ValueError
            If the numbers do not fit.
        TypeError
            If a TimeComm cannot be divided.
        """
        comm = as_time_comm(comm)
        if min(layer, data) < 1 or layer * data != comm.size:
            raise ValueError(
                f"layer={layer} x data={data} for {comm.size} rank(s); needed two "
                f"numbers >= 1 whose product is {comm.size}, or start "
                f"{max(layer, 1) * max(data, 1)} rank(s)"
            )
        place, portion = comm.rank % layer, comm.rank // layer
        return cls(layer=split(comm, portion), data=split(comm, place))

    @property
    def rank(self) -> int:
        """Number w of this rank among all."""
        return self.data.rank * self.layer.size + self.layer.rank

    @property
    def size(self) -> int:
        """Number of all ranks."""
        return self.data.size * self.layer.size

    def gather(self, values: Array) -> Array:
        """Concatenate along axis 0 in the order of the ranks; all get the whole."""
        return self.data.gather(self.layer.gather(values))

    def roll_call(self, row: Array) -> Array:
        """Rows of all ranks; those with other samples answer as one."""
        rows = roll_call(self.layer, row)
        if self.data.size == 1:
            return rows
        whole = roll_call(self.data, row_of_group(rows)).repeat(len(rows), axis=0)
        whole[self.data.rank * len(rows) :][: len(rows)] = rows
        return whole

    def leave(self, row: Array) -> None:
        """Answer the next roll call, and do not wait for it."""
        for comm in (self.layer, self.data):
            leave(comm, int(row[0]))


def as_process_grid(comm: Any) -> ProcessGrid:
    """A grid as it is; all ranks of anything else over layers."""
    if isinstance(comm, ProcessGrid):
        return comm
    return ProcessGrid(layer=as_time_comm(comm), data=SerialComm())


def layer_ranks(size: int, data: int) -> int:
    """Ranks over layers when `data` of `size` ranks are over samples.

    Raises
    ------
    ValueError
        If the ranks form no rectangle.
    """
    if data < 1 or size % data:
        raise ValueError(
            f"{size} rank(s) cannot be arranged in {data} equal groups over samples; "
            f"needed a divisor of {size}, such as 1, or another number of ranks"
        )
    return size // data
