"""Augmentation of images: the same on any number of ranks, and in any order.

What happens to a sample follows from the seed, the epoch and the sample's number alone.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from mgresnet.arrays.checks import image_shape, integer, provides
from mgresnet.data.batches import Batch


def augmented(
    batches: Iterable[Batch],
    shape: tuple[int, int, int],
    *,
    pad: int = 4,
    flip: bool = True,
    seed: int = 7,
) -> Iterator[Batch]:
    """Move images by up to `pad` points down and across, and mirror every other one.

    Parameters
    ----------
    batches : iterable of Batch
        As `mgresnet.batches` makes them: with the numbers of their samples.
    shape : tuple of int
        Channels, height and width of the inputs, flat or not.
    pad : int
        Points of zeros around an image, out of which a window of the size of the image
        is cut.
    flip : bool
        Whether images may be mirrored left to right; digits should not.
    seed : int

    Returns
    -------
    iterator of Batch
        Arguments are checked now.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of range, or a batch has inputs of
        another size or no numbers of its samples.
    """
    provides("batches", batches, ("__iter__",), "mg.batches(split, 64)")
    if isinstance(batches, tuple):
        raise TypeError(
            f"batches is one {type(batches).__name__}, needed several; try [batch], or "
            "mg.batches(split, 64)"
        )
    if not isinstance(flip, bool):
        raise TypeError(f"flip must be True or False, got {flip!r}")
    shape = image_shape("shape", shape)
    pad, seed = integer("pad", pad, 0), integer("seed", seed, 0)
    return (_augment(batch, shape, pad, flip, seed) for batch in batches)


def _augment(
    batch: Batch, shape: tuple[int, int, int], pad: int, flip: bool, seed: int
) -> Batch:
    """Batch with new inputs."""
    if getattr(batch, "rows", None) is None:
        raise ValueError(
            f"augmentation needs the numbers of a batch's samples, got a "
            f"{type(batch).__name__} without rows; try mg.batches, or "
            "mg.Batch(inputs, targets, epoch, rows)"
        )
    n, (channels, height, width) = len(batch.inputs), shape
    if batch.inputs[0].size != channels * height * width:
        raise ValueError(
            f"inputs have shape {batch.inputs.shape}, needed images of {shape}; give "
            "the shape of one image, such as problem.image_shape"
        )
    images = batch.inputs.reshape(n, *shape)
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.empty_like(images)
    for i, row in enumerate(batch.rows if batch.rows is not None else ()):
        rng = np.random.default_rng((seed, batch.epoch, int(row)))
        y, x = rng.integers(0, 2 * pad + 1, 2)
        window = padded[i, :, y : y + height, x : x + width]
        out[i] = window[:, :, ::-1] if flip and rng.integers(2) else window
    return batch._replace(inputs=out.reshape(batch.inputs.shape))
