"""What a rank owns of a network: its layers, their parameters, steps through them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from mgresnet.arrays.checks import provides
from mgresnet.arrays.layout import Array, absent
from mgresnet.control import Shared
from mgresnet.layers.coarse import COARSE_OPERATORS, CoarseOperator
from mgresnet.layers.steps import Steps
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.timeline.grid import TimeGrid
from mgresnet.timeline.propagators import Forward

SERIAL = MGRITOptions.serial()
OPTIONS = (("coarsening", "coarse_operator", "max_iterations"), "MGRITOptions((4,))")


@dataclass(frozen=True)
class Slab:
    """Consecutive layers of a network on one of the ranks that share them.

    Parameters
    ----------
    net : Network
    options : MGRITOptions
        How it is propagated.
    grid : TimeGrid
        Levels of the whole network.
    layers : range
        Those of this rank.
    comm : TimeComm
    operator : CoarseOperator, or None
        Of the layer; None if it has none of this name, but none is needed.
    """

    net: Network
    options: MGRITOptions
    grid: TimeGrid
    layers: range
    comm: TimeComm
    operator: CoarseOperator | None

    @classmethod
    def of(
        cls,
        net: Network,
        options: MGRITOptions | None,
        comm: Any,
        name: str = "options",
    ) -> Self:
        """Slab of this rank; without options layers are propagated one by one.

        Raises
        ------
        ValueError
            If there are too many ranks.
        """
        comm = as_time_comm(comm)
        options = SERIAL if options is None else options
        provides(name, options, *OPTIONS)
        grid = _grid(net.depth, net.final_time, options.coarsening, options.slabs)
        layers = grid.slab(comm.rank, comm.size)
        return cls(net, options, grid, layers, comm, _operator(net, options, grid))

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
            The message names the part that is wrong.
        """
        own = self.net.own(params, self.layers)
        return Params(
            own.opening if self.is_first else None,
            own.body,
            own.head if self.is_last else None,
        )

    def whole(self, own: Params) -> Params:
        """Undo `own`: parameters of the whole network, on every rank."""
        body, none = own.body, own.body[:0, :0].ravel()
        opening, head = (
            None if part is None else self.comm.gather(none if held is None else held)
            for part, held in (
                (self.net.opening, own.opening),
                (self.net.head, own.head),
            )
        )
        if not self.net.control.shared:
            body = self.comm.gather(body)
        return Params(opening, body, head)

    def theta(self, own: Params) -> Array:
        """Parameters of this rank's layers, one row each, or the row they share."""
        return self.net.control.values(own.body, self.net.depth, self.layers)

    def pull_back(self, d_theta: Array) -> Array:
        """Gradient for the rows of the body that this rank holds, from its layers'."""
        control, block = self.net.control, self.grid.interval
        depth = self.net.depth
        return control.pull_back(d_theta, depth, self.layers, block, self.comm)

    def propagator(self, theta: Array, inputs: Array | None = None) -> Forward:
        """Forward propagator through the layers, coarsened as the options say.

        Parameters
        ----------
        theta : ndarray, shape (n_local, n_params) or (1, n_params)
        inputs : ndarray, shape (n_local, 1, *input_shape, batch), optional
        """
        layer, n = self.net.layer, len(self.layers)
        given = absent(theta.dtype) if inputs is None else inputs
        kept = theta[:, None], given, self.net.step, 1, layer.scheme
        steps = Steps(n, *kept, shared=isinstance(self.net.control, Shared))
        return Forward(layer, steps, self.operator, absent(theta.dtype), {})


_grid = lru_cache(TimeGrid)


def span(slab: range) -> str:
    """Layers of a slab, for messages."""
    return f"{slab.start}..{slab.stop - 1}"


def _operator(
    net: Network, options: MGRITOptions, grid: TimeGrid
) -> CoarseOperator | None:
    """Coarse operator of a layer, if it has one or needs one."""
    name = options.coarse_operator
    try:
        return net.layer.coarse(name)
    except ValueError:
        if options.iterates(grid.factors) or name not in COARSE_OPERATORS:
            raise
        return None
