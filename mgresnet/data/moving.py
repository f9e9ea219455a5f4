r"""Images that move: the motion is the class, and no single frame tells it.

Frame t of a sample is its image on a torus, shifted by s and turned by a about the
middle,

.. math:: x_t(p) = I\big(R(a_t)(p - c) + c - s_t\big) + \text{noise}, \qquad
          (s_t, a_t) = (\varphi + \omega t / n)\,(d, 2 \pi r),

by linear interpolation, with a start :math:`\varphi` and 1 to 3 rounds :math:`\omega`
in all n frames.  The six motions are shifts d to the four sides and turns r both ways.
Everything follows from the seed and the number of the sample.

They stand for clips of film with labels of what people do in them, as HMDB51 [1]_,
which may not be handed on.

References
----------
.. [1] H. Kuehne, H. Jhuang, E. Garrote, T. Poggio, T. Serre, "HMDB: a large video
   database for human motion recognition", ICCV (2011).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.images import PIXELS, load_fashion_mnist
from mgresnet.data.records import Floats, Problem, Request, Split

FRAMES, SIDE = 128, 14
NOISE = 0.05
MOTIONS = {  # rows down, columns across, turns
    "right": (0, 1, 0),
    "left": (0, -1, 0),
    "down": (1, 0, 0),
    "up": (-1, 0, 0),
    "clockwise": (0, 0, 1),
    "anticlockwise": (0, 0, -1),
}


def load_moving_images(request: Request) -> Problem:
    """Move images of Fashion-MNIST, or of data_dir with files like MNIST's."""
    single = np.dtype(np.float32)
    every = request._replace(n_train=None, n_validation=None, dtype=single)
    still = load_fashion_mnist(every)
    n = request.n_train or 1000, request.n_validation or 400
    train, validation = (
        _draw(split.inputs, count, part, request)
        for part, (split, count) in enumerate(
            zip((still.train, still.validation), n, strict=True), 1
        )
    )
    return replace(
        still,
        name="moving-images",
        train=train,
        validation=validation,
        n_outputs=len(MOTIONS),
        source=f"moved images of {still.source}",
        class_names=tuple(MOTIONS),
        image_shape=(1, SIDE, SIDE),
    )


def _draw(images: Floats, n: int, part: int, request: Request) -> Split:
    """Samples 0 .. n-1 of a part, with the motions in turn."""
    labels = np.arange(n, dtype=np.int64) % len(MOTIONS)
    inputs = np.empty((n, FRAMES, SIDE * SIDE), request.dtype)
    motions = [*MOTIONS.values()]
    for i, label in enumerate(labels.tolist()):
        rng = np.random.default_rng((request.seed, 0, part, i))
        image = images[rng.integers(len(images))].reshape(PIXELS)
        start, rounds = rng.uniform(0.0, 1.0), rng.uniform(1.0, 3.0)
        turns = start + rounds * np.arange(FRAMES) / FRAMES
        frames = moved(halved(image), turns, motions[label])
        frames += NOISE * rng.standard_normal(frames.shape)
        inputs[i] = frames.reshape(FRAMES, -1)
    return Split(inputs, labels)


def halved(image: Floats) -> NDArray[np.float64]:
    """Means of squares of two by two points."""
    height, width = (side // 2 for side in image.shape)
    squares = image.astype(np.float64).reshape(height, 2, width, 2)
    means: NDArray[np.float64] = squares.mean(axis=(1, 3))
    return means


def moved(
    image: NDArray[np.float64],
    turns: NDArray[np.float64],
    motion: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Frames (len(turns), *image.shape) of an image on a torus.

    Parameters
    ----------
    image : ndarray, shape (height, width)
    turns : ndarray, shape (n_frames,)
        Rounds done by every frame: once around the torus, or once about the middle.
    motion : tuple of float
        Rounds down, across and clockwise that one turn is.
    """
    height, width = image.shape
    rounds = turns[:, None, None]
    angle = 2.0 * np.pi * motion[2] * rounds
    y = np.arange(height)[:, None] - 0.5 * (height - 1)
    x = np.arange(width) - 0.5 * (width - 1)
    down = np.cos(angle) * y - np.sin(angle) * x
    across = np.sin(angle) * y + np.cos(angle) * x
    down = down + 0.5 * (height - 1) - motion[0] * height * rounds
    across = across + 0.5 * (width - 1) - motion[1] * width * rounds
    i, j = np.floor(down).astype(int), np.floor(across).astype(int)
    p, q = down - i, across - j
    corners = [
        [image[(i + a) % height, (j + b) % width] for b in (0, 1)] for a in (0, 1)
    ]
    upper, lower = ((1.0 - q) * left + q * right for left, right in corners)
    frames: NDArray[np.float64] = (1.0 - p) * upper + p * lower
    return frames
