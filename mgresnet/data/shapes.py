"""Images that are drawn: a figure of some colour at some place, in noise.

Label 0 is a disc, 1 a ring, 2 a square, 3 a cross; centre, size and both colours are
random, pixels have noise of a tenth.  Mean colours do not tell them apart.
"""

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.records import Problem, Request, Split

SHAPE = (3, 16, 16)
CLASSES = ("disc", "ring", "square", "cross")


def load_shapes(request: Request) -> Problem:
    """Draw the images of both splits."""
    if request.data_dir is not None:
        raise ValueError(
            f"shapes are drawn, but got data_dir={str(request.data_dir)!r}; leave "
            "data_dir out, or choose an image problem such as 'cifar-10'"
        )
    return Problem(
        name="shapes",
        kind="classification",
        train=_draw(1000 if request.n_train is None else request.n_train, 1, request),
        validation=_draw(
            400 if request.n_validation is None else request.n_validation, 2, request
        ),
        n_outputs=len(CLASSES),
        source="drawn: disc, ring, square or cross in noise",
        class_names=CLASSES,
        image_shape=SHAPE,
    )


def _draw(n: int, part: int, request: Request) -> Split:
    """Draw n samples of the labels 0, 1, 2, 3, 0, .."""
    rng, labels = request.generator(part), np.arange(n) % len(CLASSES)
    channels, height, width = SHAPE
    centre = rng.uniform(5.0, 11.0, (2, n, 1, 1))
    radius = rng.uniform(3.0, 5.0, (n, 1, 1))
    colours = rng.uniform(0.0, 1.0, (2, n, channels, 1, 1))
    y = np.arange(height)[:, None] - centre[0]
    x = np.arange(width) - centre[1]
    inside = _figures(y / radius, x / radius, labels)[:, None]
    images = np.where(inside, colours[0], colours[1])
    images += 0.1 * rng.standard_normal(images.shape)
    return Split(images.reshape(n, -1).astype(request.dtype), labels.astype(np.int64))


def _figures(
    y: NDArray[np.float64], x: NDArray[np.float64], labels: NDArray[np.int_]
) -> NDArray[np.bool_]:
    """Whether points, y down and x across, around the centre belong to the figures."""
    far, out = np.hypot(y, x), np.maximum(abs(y), abs(x))
    near = np.minimum(abs(y), abs(x))
    figures = far < 1.0, (far > 0.6) & (far < 1.0), out < 0.9, (out < 1) & (near < 0.3)
    return np.choose(labels[:, None, None], figures)
