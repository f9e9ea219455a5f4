"""Problems computed from a formula: x_i drawn uniformly from a box, y_i = f(x_i).

Points are drawn afresh, not taken from a grid, and no point occurs twice, neither
in one split nor in both: the files shipped with older codes repeat points and share
72 of 200 validation points with the training set.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from mgresnet.data.peaks import (
    HALF_WIDTH,
    N_CLASSES,
    PEAKS_EDGES,
    peaks_class,
    peaks_function,
)
from mgresnet.data.records import Floats, Problem, Request, Split

N_TRAIN = 1000
N_VALIDATION = 400

Draw = Callable[[np.random.Generator, int, Floats], Split]


def load_peaks(request: Request) -> Problem:
    """Classify points of the plane by the level set of Peaks they lie in."""
    train, validation = _two_splits(request, 2, _draw_peaks_classes)
    edges = [f"{edge:.2f}" for edge in PEAKS_EDGES[1:-1]]
    between = [f"{low} <= f < {high}" for low, high in pairwise(edges)]
    return Problem(
        name="peaks",
        kind="classification",
        train=train,
        validation=validation,
        n_outputs=N_CLASSES,
        source="drawn from the Peaks function on [-3, 3]^2, five balanced level sets",
        class_names=(f"f < {edges[0]}", *between, f"f >= {edges[-1]}"),
    )


def load_peaks_regression(request: Request) -> Problem:
    """Learn the Peaks function itself from uniform points of [-3, 3]^2."""
    train, validation = _two_splits(request, 2, _draw_peaks_values)
    return Problem(
        name="peaks-regression",
        kind="regression",
        train=train,
        validation=validation,
        n_outputs=1,
        source="drawn uniformly on [-3, 3]^2, target the Peaks function",
    )


def load_sine(request: Request) -> Problem:
    """Learn sin x from uniform points of [-pi, pi]."""
    train, validation = _two_splits(request, 1, _draw_sine)
    return Problem(
        name="sine",
        kind="regression",
        train=train,
        validation=validation,
        n_outputs=1,
        source="drawn uniformly on [-pi, pi], target sin x",
    )


def _two_splits(request: Request, n_features: int, draw: Draw) -> tuple[Split, Split]:
    """Draw both splits from streams of their own, the second avoiding the first.

    `draw(rng, n, taken)` returns n samples whose dtype is that of `taken` and whose
    inputs are distinct from each other and from the rows of `taken`.
    """
    if request.data_dir is not None:
        raise ValueError(
            f"got data_dir={str(request.data_dir)!r} for a problem that is computed, "
            "not read; leave data_dir out"
        )
    n_train = N_TRAIN if request.n_train is None else request.n_train
    n_validation = (
        N_VALIDATION if request.n_validation is None else request.n_validation
    )
    nothing = np.empty((0, n_features), request.dtype)
    train = draw(request.generator(1), n_train, nothing)
    validation = draw(request.generator(2), n_validation, train.inputs)
    return train, validation


def _draw_peaks_classes(rng: np.random.Generator, n: int, taken: Floats) -> Split:
    """Draw n points of balanced classes by rejection from the uniform law."""
    quotas = n // N_CLASSES + (np.arange(N_CLASSES) < n % N_CLASSES)
    points = taken[:0]
    labels = np.empty(0, np.int64)
    # The rarest class covers 2.7 % of the square, so about 7.3 n points are needed.
    while (np.bincount(labels, minlength=N_CLASSES) < quotas).any():
        points = _add_distinct(points, taken, rng, 8 * n + 64, HALF_WIDTH)
        labels = peaks_class(points[:, 0], points[:, 1])
    chosen = np.concatenate(
        [np.flatnonzero(labels == k)[: quotas[k]] for k in range(N_CLASSES)]
    )
    chosen = rng.permutation(chosen)
    return Split(points[chosen], labels[chosen])


def _draw_peaks_values(rng: np.random.Generator, n: int, taken: Floats) -> Split:
    """Draw n points of the square and the Peaks values there."""
    points = _draw_distinct(rng, n, taken, HALF_WIDTH)
    exact = points.astype(np.float64)
    values = peaks_function(exact[:, :1], exact[:, 1:])
    return Split(points, values.astype(points.dtype))


def _draw_sine(rng: np.random.Generator, n: int, taken: Floats) -> Split:
    """Draw n points of [-pi, pi] and their sines."""
    points = _draw_distinct(rng, n, taken, np.pi)
    return Split(points, np.sin(points))


def _draw_distinct(
    rng: np.random.Generator, n: int, taken: Floats, half_width: float
) -> Floats:
    """Draw n distinct points, none of them in `taken`, from a centred box."""
    points = taken[:0]
    while len(points) < n:
        points = _add_distinct(points, taken, rng, n - len(points), half_width)
    return points


def _add_distinct(
    points: Floats,
    taken: Floats,
    rng: np.random.Generator,
    n_candidates: int,
    half_width: float,
) -> Floats:
    """Append uniform candidates to `points`, dropping those that are already there.

    Rows keep the order in which they were drawn. In single precision repeated draws
    do happen (a thousand points of a line: with a chance of a few per cent).
    """
    shape = (n_candidates, points.shape[1])
    candidates = rng.uniform(-half_width, half_width, shape).astype(points.dtype)
    known = np.concatenate([taken, points, candidates])
    first = np.unique(known, axis=0, return_index=True)[1]
    fresh = np.sort(first[first >= len(taken)])
    return np.asarray(known[fresh])
