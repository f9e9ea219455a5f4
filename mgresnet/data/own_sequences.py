"""Sequences of one's own, as features of frames, from a file of `numpy.savez`.

It has ``inputs`` (n, steps, features) and ``targets``, class numbers (n,) from 0 or
booleans, or values (n, n_outputs); and, if wanted, ``lengths`` (n,), how many steps
count, and ``groups`` (n,), numbers of people or films that may not be both learned from
and judged by.  What is behind the end of a sequence is not looked at, but finite.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import check_finite
from mgresnet.data.columns import read_named
from mgresnet.data.measured import PART
from mgresnet.data.records import Floats, Problem, Request, Split
from mgresnet.data.scaling import Scale, Scales
from mgresnet.data.sequences import padded

ARRAYS = ("inputs", "targets", "lengths", "groups")  # the last two if wanted


def load_sequences(path: Path, request: Request) -> Problem:
    """Read sequences; split, and scaled by what the training part has.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there are other arrays than these, or they do not fit together.
    """
    found = _read(path)
    inputs, n = found["inputs"], len(found["inputs"])
    groups = _one_each(path, "groups", found, n)
    train, validation = _split(
        path, np.arange(n) if groups is None else groups, request
    )
    lengths = lengths_of(path, found, inputs)
    counting = _counting(inputs, lengths)
    steps = np.concatenate([counting[i] for i in train])
    scale = Scale.of(steps, what=f"{path}: feature")
    sequences = scaled_sequences(scale, inputs, lengths, inputs.shape[1])
    targets, n_outputs, targets_scale = _targets(path, found, n, train)
    both = sequences.astype(request.dtype), targets
    return Problem(
        name=path.stem,
        kind="regression" if targets_scale else "classification",
        train=Split(*(part[train] for part in both)),
        validation=Split(*(part[validation] for part in both)),
        n_outputs=n_outputs,
        source=str(path),
        scales=Scales(scale, targets_scale),
        masked="lengths" in found,
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name, with inputs that are finite sequences."""
    found = read_named(path, ARRAYS[:2])
    if unknown := [name for name in found if name not in ARRAYS]:
        raise ValueError(
            f"{path} has an array {unknown[0]!r}, needed {', '.join(ARRAYS[:2])} and, "
            f"if wanted, {', '.join(ARRAYS[2:])}; rename it, or leave it out"
        )
    inputs = found["inputs"]
    if inputs.ndim != 3 or inputs.dtype.kind != "f":
        raise ValueError(
            f"{path}: inputs have shape {inputs.shape} and dtype {inputs.dtype}, "
            "needed floats (n, steps, n_features)"
        )
    check_finite(inputs, f"{path}: inputs", ("sequence", "step"))
    return found


def _split(
    path: Path, groups: NDArray[Any], request: Request
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of the sequences of four fifths of the groups, and of the others."""
    same = np.unique(groups, return_inverse=True)[1].reshape(-1)
    places = request.generator(1).permutation(same.max(initial=-1) + 1)
    n_groups = max(1, min(len(places) - 1, round(PART * len(places))))
    order = np.argsort(places[same], kind="stable")
    last = places[same][order] >= n_groups
    parts = order[~last], order[last]
    for rows, asked in zip(parts, (request.n_train, request.n_validation), strict=True):
        if len(rows) < (asked or 1):
            raise ValueError(
                f"{path} has {len(parts[0])} and {len(parts[1])} sequences of "
                f"{len(places)} groups for training and validation; needed "
                f"{request.n_train or 1} and {request.n_validation or 1}, ask for fewer"
            )
    return parts[0][: request.n_train], parts[1][: request.n_validation]


def scaled_sequences(scale: Scale, inputs: Floats, lengths: Any, steps: int) -> Floats:
    """Sequences on a scale; those with lengths get a mask and zeros behind their ends.

    Parameters
    ----------
    scale : Scale
        Of features.
    inputs : ndarray, shape (n, steps, n_features)
    lengths : ndarray of int, shape (n,), or None
    steps : int
        Of sequences with a mask.
    """
    some = [scale.apply(x) for x in _counting(inputs, lengths)]
    return np.stack(some) if lengths is None else padded(some, steps)


def _counting(inputs: Floats, lengths: Any) -> list[Floats]:
    """Steps of every sequence that count."""
    ends = [inputs.shape[1]] * len(inputs) if lengths is None else lengths.tolist()
    return [x[:end] for x, end in zip(inputs, ends, strict=True)]


def _targets(
    path: Path, found: dict[str, NDArray[Any]], n: int, train: NDArray[np.intp]
) -> tuple[NDArray[Any], int, Scale | None]:
    """Class numbers, or scaled values; how many outputs they need, and the scale."""
    targets = found["targets"]
    kind, kinds = targets.dtype.kind, {1: "biuf", 2: "f"}.get(targets.ndim, "")
    if targets.shape[:1] != (n,) or kind not in kinds:
        raise ValueError(
            f"{path}: targets have shape {targets.shape} and dtype {targets.dtype} for "
            f"{n} sequences, needed class numbers ({n},), or values ({n}, n_outputs) "
            "that are floats; a label for each step is for EveryStep in Python"
        )
    if kind != "f":
        return *_classes(path, targets.astype(np.int64)), None
    check_finite(targets, f"{path}: targets", ("sequence",))
    values = targets.reshape(n, -1).astype(np.float64)
    scale = Scale.of(values[train], what=f"{path}: target")
    return scale.apply(values), values.shape[1], scale


def _classes(path: Path, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Class numbers, and how many classes there are, two or more."""
    least, most = labels.min(), labels.max()
    if least < 0 or most < 1:
        raise ValueError(
            f"{path}: targets run from {least} to {most}, needed class numbers from 0 "
            "to 1 or more; renumber them"
        )
    return labels, int(most) + 1


def lengths_of(path: Path, found: dict[str, NDArray[Any]], inputs: Floats) -> Any:
    """How many steps of each sequence count, if that is said."""
    lengths, (n, steps) = (
        _one_each(path, "lengths", found, len(inputs)),
        inputs.shape[:2],
    )
    if lengths is not None and not (1 <= lengths.min() <= lengths.max() <= steps):
        raise ValueError(
            f"{path}: lengths run from {lengths.min()} to {lengths.max()}, needed 1 to "
            f"{steps} for each of {n} sequences"
        )
    return lengths


def _one_each(
    path: Path, name: str, found: dict[str, NDArray[Any]], n: int
) -> NDArray[np.int64] | None:
    """An integer for every sequence, if there are any."""
    if name not in found:
        return None
    values = found[name]
    if values.shape != (n,) or values.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: {name} have shape {values.shape} and dtype {values.dtype}, "
            f"needed integers ({n},)"
        )
    return values.astype(np.int64)
