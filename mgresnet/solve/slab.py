"""What a rank owns of a network: its layers, their parameters, steps through them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np

from mgresnet.arrays.layout import Array, absent
from mgresnet.arrays.trees import Gather
from mgresnet.control import Shared
from mgresnet.layers.coarse import CoarseOperator
from mgresnet.layers.steps import Steps
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.timeline.grid import TimeGrid
from mgresnet.timeline.propagators import Forward


@dataclass(frozen=True)
class Slab:
    """Consecutive layers of a network on one of the ranks that share them.

    Parameters
    ----------
    net : Network
    grid : TimeGrid
        Levels of the whole network.
    layers : range
        Those of this rank.
    comm : TimeComm
    """

    net: Network
    grid: TimeGrid
    layers: range
    comm: TimeComm

    @classmethod
    def of(cls, net: Network, options: MGRITOptions | None, comm: Any) -> Self:
        """Slab of this rank; without options layers are propagated one by one.

        Raises
        ------
        ValueError
            If there are too many ranks.
        """
        comm, options = as_time_comm(comm), options or MGRITOptions.serial()
        grid = _grid(net.depth, net.final_time, options.coarsening)
        return cls(net, grid, grid.slab(comm.rank, comm.size), comm)

    @property
    def is_first(self) -> bool:
        """Whether the first layer is here, and the opening."""
        return self.comm.rank == 0

    @property
    def is_last(self) -> bool:
        """Whether the last layer is here, and the head."""
        return self.comm.rank == self.comm.size - 1

    @property
    def most_layers(self) -> int:
        """Number of layers on the last rank, which no other has more of."""
        return len(self.grid.slab(self.comm.size - 1, self.comm.size))

    def own(self, params: Params) -> Params:
        """What this rank holds of parameters, gradients and the like.

        Parameters
        ----------
        params : Params
            Of the whole network, or already this rank's.

        Raises
        ------
        ValueError, TypeError
            If `body` has the rows of neither.
        """
        return Params(
            params.opening if self.is_first else None,
            self._own_rows(np.asarray(params.body)),
            params.head if self.is_last else None,
        )

    def theta(self, params: Params) -> Array:
        """Parameters of this rank's layers, one row each, or the row they share."""
        rows = self._own_rows(np.asarray(params.body))
        return self.net.control.values(rows, self.net.depth, self.layers)

    def pull_back(self, d_theta: Array) -> Array:
        """Gradient for the rows of the body that this rank holds, from its layers'."""
        control, block = self.net.control, self.grid.interval
        depth = self.net.depth
        return control.pull_back(d_theta, depth, self.layers, block, self.comm)

    def propagator(
        self, theta: Array, inputs: Array | None, options: MGRITOptions
    ) -> Forward:
        """Forward propagator through the layers, coarsened as the options say.

        Parameters
        ----------
        theta : ndarray, shape (n_local, n_params) or (1, n_params)
        inputs : ndarray, shape (n_local, 1, *input_shape, batch), optional
        options : MGRITOptions
        """
        layer, n = self.net.layer, len(self.layers)
        given = absent(theta.dtype) if inputs is None else inputs
        kept = theta[:, None], given, self.net.step, 1, layer.scheme
        steps = Steps(n, *kept, shared=isinstance(self.net.control, Shared))
        return Forward(layer, steps, self.operator(options), absent(theta.dtype))

    def operator(self, options: MGRITOptions) -> CoarseOperator | None:
        """Coarse operator of the layer; None if it has none, but none is needed."""
        try:
            return self.net.layer.coarse(options.coarse_operator)
        except ValueError:
            if options.iterates(self.grid.factors):
                raise
            return None

    def _own_rows(self, body: Array) -> Array:
        net, control = self.net, self.net.control
        if body.dtype not in (np.float64, np.float32):
            raise TypeError(f"body has dtype {body.dtype}; needed float64 or float32")
        n_params, slab = net.layer.n_params, self.layers
        whole = (control.n_rows(net.depth), n_params)
        if body.shape == whole:
            return body[control.owned(slab)]
        if control.shared:
            raise ValueError(
                f"body has shape {body.shape}, needed {whole}: the rows of the "
                f"{type(control).__name__} control; make it with net.init"
            )
        if body.shape == (len(slab), n_params):
            return body
        raise ValueError(
            f"body has shape {body.shape}, needed {whole} for the whole network or "
            f"({len(slab)}, {n_params}) for layers {span(slab)} of this rank; make it "
            "with net.init or layer.pack"
        )


_grid = lru_cache(TimeGrid)


def local_slab(
    net: Network, params: Params, *, options: MGRITOptions, comm: Any = None
) -> Params:
    """Parameters that this rank owns: its rows, the opening on the first, head on last.

    Parameters
    ----------
    net : Network
    params : Params
        Whole network, or already local.
    options : MGRITOptions
        Its coarsening decides where slabs may end.
    comm : mpi4py communicator or TimeComm, optional
    """
    return Slab.of(net, options, comm).own(params)


def own_gather(net: Network, comm: TimeComm) -> Gather:
    """Gather for norms: rows that all ranks hold count once, not on every rank.

    If they are all there is, every rank has the whole and no message is needed.
    """
    if not net.control.shared:
        return comm.gather
    if net.opening is None and net.head is None:
        return lambda values: values
    if comm.rank == 0:
        return comm.gather
    n_shared = net.control.n_rows(net.depth)
    return lambda values: comm.gather(values[n_shared:])


def span(slab: range) -> str:
    """Layers of a slab, for messages."""
    return f"{slab.start}..{slab.stop - 1}"
