"""Residual networks of images in stages: each has fewer points and more channels.

With step h = T / N and weights that are smooth in depth, a stage is an ODE, and MGRIT
solves it in a few iterations.  With h = 1 and weights of its own for every layer, as
ResNets have, no coarse operator helps once the network is trained: docs/images.md has
the numbers.  Propagate such networks exactly, ``MGRITOptions.serial``.
"""

from collections.abc import Sequence
from typing import Any

from mgresnet.arrays.checks import choose, image_shape, integer
from mgresnet.chain import Chain
from mgresnet.control import BSpline, Control, Free
from mgresnet.layers import Conv2d, Convolve, Pool, PooledLinear
from mgresnet.network import Network

BRIDGES = ("convolution", "pool")


def resnet(
    shape: tuple[int, int, int],
    n_outputs: int,
    *,
    channels: Sequence[int] = (16, 32, 64),
    depth: int = 64,
    final_time: float | None = 1.0,
    spline: int | None = None,
    bridge: str = "convolution",
    stride: int = 1,
    **layer: Any,
) -> Chain:
    """Stages of convolutional layers, the images halved from each to the next.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of the inputs, which are flat, (batch, features).
    n_outputs : int
        Number of classes.
    channels : sequence of int
        Of the layers of every stage.
    depth : int
        Layers in every stage.
    final_time : float, optional
        T of every stage; the step is T / depth.  None: the step is 1, as in ResNets.
    spline : int, optional
        Weights are a spline over depth with so many coefficients in every stage; by
        default every layer has its own.
    bridge : {"convolution", "pool"}
        How images are halved: a convolution of stride 2, or averages of 2 x 2 points
        with channels of zeros behind.
    stride : int
        Of the convolution before the first stage.
    **layer
        Of `Conv2d`: kernel, activation, kind ("double" by default), norm.

    Returns
    -------
    Chain

    Examples
    --------
    >>> resnet((3, 32, 32), 10, depth=8, spline=5).n_outputs
    10
    """
    choose("bridge", bridge, BRIDGES)
    shape = image_shape("shape", shape)
    stages = _channels(channels)
    depth = integer("depth", depth, 1)
    control: Control = Free() if spline is None else BSpline(spline)
    time = float(depth) if final_time is None else final_time
    networks = []
    for i, width in enumerate(stages):
        if i and bridge == "pool":
            opening: Convolve | Pool = Pool(shape, 2, width)
        else:
            opening = Convolve(shape, width, stride=2 if i else stride)
        shape = opening.out_shape
        head = PooledLinear(shape, n_outputs) if i == len(stages) - 1 else None
        one = Conv2d(shape, **{"kind": "double", **layer})
        networks.append(Network(one, depth, time, opening, head, control))
    return Chain(tuple(networks))


def wide_resnet(
    depth: int,
    widen_factor: int,
    shape: tuple[int, int, int] = (3, 32, 32),
    n_outputs: int = 10,
    *,
    final_time: float | None = None,
    norm: str | None = "group",
    **rest: Any,
) -> Chain:
    """Wide residual network [1]_: three stages of 16, 32, 64 times so many channels.

    Parameters
    ----------
    depth : int
        Convolutions in all, 6 n + 4 as 16, 28 or 40: n layers of two in every stage.
    widen_factor : int
        Factor of the numbers of channels.
    shape, n_outputs, final_time
        As for `resnet`; the step is 1 by default.
    norm : {"group", "layer", None}
        In place of batch normalisation, which mixes samples.
    **rest
        bridge, spline, kind, activation or kernel of `resnet`.

    References
    ----------
    .. [1] S. Zagoruyko, N. Komodakis, "Wide Residual Networks", BMVC 2016.

    Examples
    --------
    >>> [net.layer.shape for net in wide_resnet(16, 2).networks]
    [(32, 32, 32), (64, 16, 16), (128, 8, 8)]
    """
    n, left = divmod(integer("depth", depth, 10) - 4, 6)
    if left:
        raise ValueError(
            f"depth of a wide residual network is 6 n + 4, got {depth}; nearest: "
            f"{6 * n + 4}, {6 * n + 10}"
        )
    k = integer("widen_factor", widen_factor, 1)
    how: dict[str, Any] = {"kind": "pre", "activation": "relu", "norm": norm, **rest}
    channels = 16 * k, 32 * k, 64 * k
    return resnet(
        shape, n_outputs, channels=channels, depth=n, final_time=final_time, **how
    )


def _channels(channels: Any) -> tuple[int, ...]:
    """Channels of every stage, or what is wrong with them."""
    if not isinstance(channels, tuple | list) or not channels:
        raise TypeError(
            f"channels is {channels!r}, needed one number for every stage; try "
            "channels=(16, 32, 64)"
        )
    return tuple(integer("channels", one, 1) for one in channels)
