"""Which parameters are weights and which are biases: masks for decay."""

from typing import Any

import numpy as np

from mgresnet.arrays.checks import provides
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain, networks_of
from mgresnet.network import Network, Params


def weights_only(net: Network | Chain) -> Any:
    """Mask that is 1 for weights and 0 for biases.

    Parameters
    ----------
    net : Network or Chain
        Of layers and maps that have ``unpack``, as `Dense` and `Linear` do.

    Returns
    -------
    Params, or a tuple of them
        For ``mask`` of `adamw` and `add_decayed_weights`; the body is one row, for all
        layers.

    Raises
    ------
    TypeError
        If a layer or map cannot say which is which; make the mask by hand then.

    Examples
    --------
    >>> from mgresnet.layers import Dense
    >>> weights_only(Network(Dense(2), 3)).body.tolist()
    [[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]]
    """
    masks = tuple(
        Params(
            None if one.opening is None else _weights(one.opening)[0],
            _weights(one.layer),
            None if one.head is None else _weights(one.head)[0],
        )
        for one in networks_of(net)
    )
    return masks if isinstance(net, Chain) else masks[0]


def _weights(part: Any) -> Array:
    """Mask of a layer or map, (1, n_params)."""
    mask: Array = np.ones((1, part.n_params))
    if part.n_params:
        example = "a mask by hand: Params of ones and zeros"
        provides(type(part).__name__, part, ("unpack",), example)
        weight, *others = part.unpack(mask)
        for other in others:
            if other is not None and other.ndim < weight.ndim:
                other[...] = 0.0
    return mask
