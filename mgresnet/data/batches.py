"""Deterministic batches: epoch e visits the samples in the order pi_e(0 .. n-1).

The permutation pi_e follows from (seed, e) alone, so it is the same on all ranks,
and epoch e can be repeated without running the epochs before it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import integer
from mgresnet.data.records import Floats, Split, Targets


class Batch(NamedTuple):
    """Some samples of a split, for one step of training.

    Parameters
    ----------
    inputs : array (batch, n_features)
        Features.
    targets : array (batch,) of int64, or (batch, n_outputs) of floats
        Class numbers or values.
    epoch : int
        Number of the pass over the samples, from 0.
    rows : array (batch,) of int64, optional
        Numbers of the samples in their split.
    """

    inputs: Floats
    targets: Targets
    epoch: int = 0
    rows: NDArray[np.int64] | None = None


def batches(
    split: Split,
    size: int | None = None,
    epochs: int = 1,
    seed: int = 7,
    *,
    drop_last: bool = False,
    start: int = 0,
) -> Iterator[Batch]:
    """Cut a split into batches, epoch after epoch, in a seeded order.

    Parameters
    ----------
    split : Split
        Samples: inputs (n, ...), targets (n, ...).
    size : int, optional
        Samples per batch. None: all at once, in their own order; the arrays of the
        split are then handed on without a copy.
    epochs : int
        How often to visit every sample.
    seed : int
        With the epoch number, decides the order; not negative.
    drop_last : bool
        Whether to leave out the last batch of an epoch if it is smaller than
        `size`. Otherwise every sample is visited once in each epoch.
    start : int
        Number of batches to leave out at first, to go on where a run has stopped.

    Returns
    -------
    iterator of Batch
        Arguments are checked now, not when the first batch is asked for.

    Raises
    ------
    ValueError
        If an argument is out of range, the lengths differ, or inputs or targets
        are not finite.
    TypeError
        If size, epochs, seed or start is no integer.
    """
    split = _as_arrays(*split)
    n = _check_split(split)
    epochs = integer("epochs", epochs, 1)
    seed = integer("seed", seed, 0)
    start = integer("start", start, 0)
    if size is None:
        rows = np.arange(n)
        return (Batch(*split, epoch, rows) for epoch in range(start, epochs))
    size = integer("size", size, 1)
    if size > n:
        raise ValueError(
            f"size={size}, but the split holds {n} samples; expected 1 to {n}, or "
            "None for the full batch"
        )
    stop = n - n % size if drop_last else n
    places = range(0, stop, size)
    steps = range(start, epochs * len(places))
    return _walk(split, places, size, steps, seed)


def _as_arrays(inputs: Any, targets: Any) -> Split:
    """Split of arrays or lists."""
    for field, values in (("inputs", inputs), ("targets", targets)):
        if np.ma.is_masked(values):
            raise TypeError(
                f"{field} have masked values; expected an array without a mask, drop "
                "or fill these samples"
            )
    return Split(np.asarray(inputs), np.asarray(targets))


def _walk(
    split: Split, places: range, size: int, steps: range, seed: int
) -> Iterator[Batch]:
    """Yield the batches of some steps, which begin at `places` of an epoch's order."""
    inputs, targets = split
    known, order = -1, np.arange(0)
    for step in steps:
        epoch, i = divmod(step, len(places))
        if epoch != known:
            known = epoch
            order = np.random.default_rng((seed, epoch)).permutation(len(inputs))
        rows = order[places[i] : places[i] + size]
        yield Batch(inputs[rows], targets[rows], epoch, rows)


def _check_split(split: Split) -> int:
    """Check that a split can be learned from; return its number of samples."""
    inputs, targets = split
    if len(inputs) != len(targets):
        raise ValueError(
            f"{len(inputs)} inputs but {len(targets)} targets; expected one target "
            "per input, check how the split was cut"
        )
    if len(inputs) == 0:
        raise ValueError("the split holds 0 samples; expected at least 1, load some")
    for field, values in (("inputs", inputs), ("targets", targets)):
        if values.dtype.kind not in "biuf":
            raise TypeError(
                f"{field} have dtype {values.dtype}; expected real numbers, number "
                "the classes from 0"
            )
        rows = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not rows.all():
            raise ValueError(
                f"{field} of sample {np.argmin(rows)} are not finite ("
                f"{np.count_nonzero(~rows)} such samples); expected finite numbers, "
                "drop or repair these samples"
            )
    return len(inputs)
