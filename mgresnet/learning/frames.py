"""Features of frames by a network that is not trained with what reads them.

They are computed once, for all frames of all sequences, and on no coarse level.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from mgresnet.arrays.checks import floats
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain
from mgresnet.data import Problem, Split
from mgresnet.data.scaling import Scale, Scales
from mgresnet.layers import Conv2d, Convolve, Pool
from mgresnet.learning.evaluation import predict
from mgresnet.network import Network

AT_ONCE = 2**25  # bytes of frames that are propagated together
CHANNELS = 8


def frame_features(net: Network | Chain, params: Any, frames: Array) -> Array:
    """Outputs of a network for every frame of sequences.

    Parameters
    ----------
    net : Network or Chain
        Such as `resnet`, drawn or trained.
    params : Params, or a tuple of them
    frames : ndarray, shape (n, steps, pixels)
        Of n sequences; each of them is flat, whatever its shape as an image is.

    Returns
    -------
    ndarray, shape (n, steps, n_outputs)
    """
    given = floats("frames", frames, ("n", "steps", "pixels"))
    rows = given.reshape(-1, given.shape[2])
    out = np.empty((len(rows), net.n_outputs), given.dtype)
    few = max(AT_ONCE // rows[:1].nbytes, 1)
    for i in range(0, len(rows), few):
        out[i : i + few] = predict(net, params, rows[i : i + few])
    return out.reshape(*given.shape[:2], -1)


def frame_network(shape: tuple[int, int, int]) -> Network:
    """Two convolutional layers, and means of the quarters of every channel.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of a frame; these two are equal, and even.
    """
    opening = Convolve(shape, CHANNELS, activation="relu")
    layer = Conv2d(opening.out_shape, kind="single")
    return Network(layer, 2, opening=opening, head=Pool(layer.shape, shape[1] // 2))


def with_frame_features(problem: Problem, seed: int) -> Problem:
    """Problem whose frames are what a `frame_network` that is drawn makes of them.

    Features are scaled by what those of the training part have.
    """
    assert problem.image_shape is not None
    net = frame_network(problem.image_shape)
    params = net.init(seed, dtype=problem.train.inputs.dtype)
    train, validation = (
        frame_features(net, params, split.inputs)
        for split in (problem.train, problem.validation)
    )
    scale = Scale.of(train.reshape(-1, train.shape[2]))
    dtype = train.dtype

    def scaled(features: Array, split: Split) -> Split:
        return Split(scale.apply(features).astype(dtype), split.targets)

    return replace(
        problem,
        train=scaled(train, problem.train),
        validation=scaled(validation, problem.validation),
        image_shape=None,
        scales=Scales(scale),
    )
