"""Coefficients of a control: every rank holds them, all layers contribute to them."""

import numpy as np

from mgresnet.layers.layout import Array
from mgresnet.learning.optimisers import Gather
from mgresnet.network import Network
from mgresnet.parallel import TimeComm


def pull_back_control(
    net: Network, d_theta: Array, slab: range, comm: TimeComm
) -> Array:
    """Gradient for what `params.body` holds, from that for the layers of a slab.

    Coefficients of a control collect their sums layer by layer through the ranks, so
    that the result does not depend on who owns what.
    """
    if net.control is None:
        return d_theta
    zeros = np.zeros((net.control.n_coefficients, d_theta.shape[1]), d_theta.dtype)
    before = comm.recv_left(zeros)
    total = net.control.add_pull_back(before, d_theta, net.depth, slab)
    comm.send_right(total)
    return comm.gather(total if comm.rank == comm.size - 1 else total[:0])


def own_gather(net: Network, comm: TimeComm) -> Gather:
    """Gather for norms: coefficients of a control count once, not on every rank."""
    if net.control is None or comm.rank == 0:
        return comm.gather
    n_shared = net.control.n_coefficients
    return lambda values: comm.gather(values[n_shared:])
