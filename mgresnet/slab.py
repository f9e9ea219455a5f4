"""What a rank owns of a network: its layers, their parameters, steps through them."""

from functools import lru_cache
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array, check_finite, check_states
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.timeline.coarse import COARSE_OPERATORS, CoarseOperator
from mgresnet.timeline.grid import TimeGrid
from mgresnet.timeline.propagators import Forward


def cut(net: Network, options: MGRITOptions, comm: TimeComm) -> tuple[TimeGrid, range]:
    """Levels of a network, and the layers that this rank owns."""
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
    return Params(
        params.opening if comm.rank == 0 else None,
        net.own_body(params.body, slab),
        params.head if comm.rank == comm.size - 1 else None,
    )


def columns(params: Any) -> tuple[str, tuple[int, ...]]:
    """Dtype and length of rows of parameters, which all ranks have in common."""
    body = np.asarray(getattr(params, "body", params))
    return str(body.dtype), body.shape[1:]


def checked_inputs(net: Network, params: Params, inputs: Array) -> Array:
    """A batch of finite inputs that fit the network and the dtype of its parameters."""
    shape = (net.opening.n_inputs,) if net.opening else net.layer.feature_shape
    inputs = check_states(inputs, "inputs", shape, np.asarray(params.body).dtype)
    check_finite(inputs, "inputs")
    return inputs


def forward_propagator(
    net: Network, params: Params, slab: range, options: MGRITOptions
) -> Forward:
    """Propagator over the layers of a slab, coarsened as the options say."""
    coefficients = net.layer.prepare(net.layer_params(params.body, slab))
    return Forward(net.layer, coefficients, net.step, coarse_operator(options))


def coarse_operator(options: MGRITOptions) -> CoarseOperator:
    """What coarse steps keep of the parameters, and how they step."""
    return COARSE_OPERATORS[options.coarse_operator]


def spacing_of(grid: TimeGrid, options: MGRITOptions) -> int:
    """Number of layers from a point that is kept to the next."""
    return 1 if options.store == "all" else grid.spacing
