r"""Sequences of different lengths in one array, with a feature that says which count.

.. math:: x_{i t} = (s_{i t}, 1) \quad (t < n_i), \qquad x_{i t} = 0 \quad
          (n_i \le t < n)

for a sequence s_i of n_i steps.  A layer that is told of the mask, as
``GRU(.., masked=True)``, keeps its state where the last feature is zero, so that the
last state is the one behind the last step of each sequence.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mgresnet.arrays.checks import as_array, integer, provides
from mgresnet.data.records import Floats


def padded(sequences: Sequence[Any], steps: int | None = None) -> Floats:
    """Put sequences of different lengths into one array, and say which steps count.

    Parameters
    ----------
    sequences : sequence of array_like, each of shape (n_i, n_features)
    steps : int, optional
        Steps of the result, such as a multiple of a coarsening factor; by default those
        of the longest sequence.

    Returns
    -------
    ndarray, shape (batch, steps, n_features + 1)
        The last feature is 1 where a step counts; zeros follow behind every sequence.
        float32 if all sequences are, else float64.

    Raises
    ------
    ValueError
        If there is none, or one has no steps, other features than the first, more steps
        than asked for, or a frame that is not finite.
    TypeError
        If they are none, or one is no array of real numbers.

    Examples
    --------
    >>> padded([[[1.0], [2.0]], [[3.0]]]).tolist()
    [[[1.0, 1.0], [2.0, 1.0]], [[3.0, 1.0], [0.0, 0.0]]]
    """
    example = "a list of arrays (steps, n_features)"
    provides("sequences", sequences, ("__iter__",), example)
    given = [_checked(i, sequence) for i, sequence in enumerate(sequences)]
    if not given:
        raise ValueError("sequences are empty; needed one sequence or more")
    longest, n_features = max(map(len, given)), given[0].shape[1]
    steps = longest if steps is None else integer("steps", steps, 1)
    if steps < longest:
        i = next(i for i, sequence in enumerate(given) if len(sequence) > steps)
        raise ValueError(
            f"sequence {i} has {len(given[i])} steps, needed at most steps={steps}; "
            f"cut it, or give steps={longest}"
        )
    out = np.zeros((len(given), steps, n_features + 1), np.result_type(*given))
    for i, sequence in enumerate(given):
        if sequence.shape[1] != n_features:
            raise ValueError(
                f"sequence {i} has {sequence.shape[1]} features, sequence 0 has "
                f"{n_features}; needed the same in all of them"
            )
        out[i, : len(sequence), :-1] = sequence
        out[i, : len(sequence), -1] = 1.0
    return out


def _checked(i: int, sequence: Any) -> Floats:
    """A sequence as an array of floats."""
    needed = "an array of shape (steps, n_features)"
    values = as_array(f"sequence {i}", sequence, needed)
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"sequence {i} has dtype {values.dtype}, needed real numbers, {needed}"
        )
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"sequence {i} has shape {values.shape}, needed {needed} with one step and "
            "one feature or more; leave empty ones out, and give a single feature as "
            "sequence[:, None]"
        )
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if wrong.size:
        raise ValueError(
            f"sequence {i} has {wrong.size} frames that are not finite, first that of "
            f"step {wrong[0]}; needed numbers, leave such frames out"
        )
    kept: Floats = values if values.dtype == np.float32 else values.astype(np.float64)
    return kept
