"""What a rank owns of a network: its layers, their parameters, steps through them."""

from functools import lru_cache
from typing import Any

from mgresnet.arrays.checks import provides
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params, check_network
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.timeline.coarse import COARSE_OPERATORS, CoarseOperator
from mgresnet.timeline.grid import TimeGrid
from mgresnet.timeline.propagators import Forward

OPTIONS = (("coarsening", "coarse_operator", "max_iterations"), "MGRITOptions((4,))")


def both(
    forward: MGRITOptions | None, adjoint: MGRITOptions | None
) -> tuple[MGRITOptions, MGRITOptions]:
    """Options of two solves; serial propagation where there are none."""
    forward = MGRITOptions.serial() if forward is None else forward
    provides("forward", forward, *OPTIONS)
    if adjoint is None:
        adjoint = MGRITOptions.serial(forward.coarsening, forward.store)
    return forward, adjoint


def cut(net: Network, options: MGRITOptions, comm: TimeComm) -> tuple[TimeGrid, range]:
    """Levels of a network, and the layers that this rank owns."""
    check_network(net)
    provides("options", options, *OPTIONS)
    if options.coarse_operator not in COARSE_OPERATORS:
        raise ValueError(
            f"unknown coarse_operator {options.coarse_operator!r}; choose from "
            f"{', '.join(COARSE_OPERATORS)}"
        )
    grid = time_grid(net, options)
    return grid, grid.slab(comm.rank, comm.size)


def time_grid(net: Network, options: MGRITOptions) -> TimeGrid:
    """Levels of a network."""
    return _grid(net.depth, net.final_time, options.coarsening)


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
    comm = as_time_comm(comm)
    _, slab = cut(net, options, comm)
    own = net.own(params, slab)
    return Params(
        own.opening if comm.rank == 0 else None,
        own.body,
        own.head if comm.rank == comm.size - 1 else None,
    )


def forward_propagator(
    net: Network, params: Params, slab: range, options: MGRITOptions
) -> Forward:
    """Propagator over the layers of a slab, coarsened as the options say."""
    body = net.own(params, slab).body
    coefficients = net.layer.prepare(net.layer_params(body, slab))
    return Forward(net.layer, coefficients, net.step, coarse_operator(options))


def coarse_operator(options: MGRITOptions) -> CoarseOperator:
    """What coarse steps keep of the parameters, and how they step."""
    return COARSE_OPERATORS[options.coarse_operator]


def spacing_of(grid: TimeGrid, options: MGRITOptions) -> int:
    """Number of layers from a point that is kept to the next."""
    return 1 if options.store == "all" else grid.spacing
