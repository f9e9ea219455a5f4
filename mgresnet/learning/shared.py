"""Coefficients of a control: every rank holds them, all layers contribute to them."""

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.arrays.trees import Gather
from mgresnet.kernels.combine import combine_transposed
from mgresnet.network import Network
from mgresnet.parallel import TimeComm
from mgresnet.parallel.shares import to_shares


def pull_back_control(
    net: Network, d_theta: Array, slab: range, block: int, comm: TimeComm
) -> Array:
    """Gradient for what `params.body` holds, from that for the layers of a slab.

    Parameters
    ----------
    net : Network
    d_theta : ndarray, shape (len(slab), n_params)
    slab : range
    block : int
        Slabs consist of so many layers, or a multiple; the last one may have a rest.
    comm : TimeComm
    """
    if net.control is None:
        return d_theta
    rows, factors = net.control.condense(d_theta, net.depth, slab, block)
    return add_over_ranks(rows, factors, comm)


def add_over_ranks(rows: Array, factors: Array, comm: TimeComm) -> Array:
    """``factors.T @ rows`` for the rows of all ranks, the same on every rank.

    Every rank adds all rows, in their order, for its share of the columns; so the
    result does not depend on who has which rows.

    Parameters
    ----------
    rows : ndarray, shape (n_local, n)
    factors : ndarray, shape (n_total, K)
    comm : TimeComm
    """
    share = combine_transposed(factors, to_shares(rows, comm))
    whole = comm.gather(share.T)[: rows.shape[1]]
    return np.ascontiguousarray(whole.T)


def own_gather(net: Network, comm: TimeComm) -> Gather:
    """Gather for norms: coefficients of a control count once, not on every rank.

    If they are all there is, every rank has the whole and no message is needed.
    """
    if net.control is not None and net.opening is None and net.head is None:
        return lambda values: values
    if net.control is None or comm.rank == 0:
        return comm.gather
    n_shared = net.control.n_coefficients
    return lambda values: comm.gather(values[n_shared:])
