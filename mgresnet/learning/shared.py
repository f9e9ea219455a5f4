"""Coefficients of a control: every rank holds them, all layers contribute to them."""

from typing import Any

import numpy as np

from mgresnet.layers.layout import Array
from mgresnet.learning.optimisers import Gather
from mgresnet.network import Network
from mgresnet.parallel import TimeComm


def pull_back_control(
    net: Network, d_theta: Array, layers: Any, comm: TimeComm
) -> Array:
    """Gradient for what `params.body` holds, from that for layers of all ranks.

    Coefficients of a control are sums over layers.  Every rank takes these, in depth
    order, for its share of the parameters, so that the result does not depend on who
    owns what.

    Parameters
    ----------
    net : Network
    d_theta : ndarray, shape (n_local, n_params)
        For this rank's layers.
    layers : ndarray of int, or slice
        Those of all ranks.
    comm : TimeComm
    """
    if net.control is None:
        return d_theta
    share = net.control.pull_back(comm.to_shares(d_theta), net.depth, layers)
    whole = comm.gather(share.T)[: d_theta.shape[1]]
    return np.ascontiguousarray(whole.T)


def own_gather(net: Network, comm: TimeComm) -> Gather:
    """Gather for norms: coefficients of a control count once, not on every rank."""
    if net.control is None or comm.rank == 0:
        return comm.gather
    n_shared = net.control.n_coefficients
    return lambda values: comm.gather(values[n_shared:])
