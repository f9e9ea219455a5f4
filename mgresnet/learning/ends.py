"""The far end of a network: its loss, and what the loss hands back."""

from typing import Any

import numpy as np

from mgresnet.arrays.checks import as_array
from mgresnet.arrays.layout import Array
from mgresnet.learning.objectives import Objective
from mgresnet.network import Network, Params, owned
from mgresnet.parallel import TimeComm


def close(
    net: Network,
    params: Params,
    last: Array,
    targets: Any,
    objective: Objective,
    comm: TimeComm,
) -> tuple[float, Array | None, Array | None]:
    """Loss on every rank; gradient of the head and adjoint seed on the last."""
    loss, d_head, seed = 0.0, None, None
    if comm.rank == comm.size - 1:
        outputs = net.close(params, last)
        loss, d_outputs = objective.value_and_seed(outputs, targets)
        d_outputs = _checked_seed(objective, d_outputs, outputs)
        if net.head is None:
            seed = d_outputs
        else:
            d_head, seed = net.head.pull_back(
                owned("head", params.head), last, d_outputs
            )
    return float(comm.sum(np.array([float(loss)]))[0]), d_head, seed


def _checked_seed(objective: Objective, seed: Any, outputs: Array) -> Array:
    """Seed of anybody's objective in the dtype of the outputs.

    It need not be finite: that shows in the status of the adjoint solve.
    """
    name = f"seed of {type(objective).__name__}.value_and_seed"
    seed = as_array(name, seed, f"an array of shape {outputs.shape}")
    if seed.dtype.kind != "f":
        raise TypeError(
            f"{name} has dtype {seed.dtype}, the outputs have {outputs.dtype}; return "
            "a real gradient"
        )
    if seed.shape != outputs.shape:
        raise ValueError(
            f"{name} has shape {seed.shape}, the outputs have {outputs.shape}; return "
            "the gradient with respect to every output"
        )
    checked: Array = seed.astype(outputs.dtype, copy=False)
    return checked
