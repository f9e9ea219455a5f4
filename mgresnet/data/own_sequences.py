"""Sequences of one's own, as features of frames, from a file of `numpy.savez`.

It has ``inputs`` (n, steps, features) and ``targets``, class numbers (n,) from 0 or
values (n, n_outputs); and, if wanted, ``lengths`` (n,), how many steps count, and
``groups`` (n,), numbers of people or films that may not be both learned from and judged
by.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.columns import read_named
from mgresnet.data.measured import PART
from mgresnet.data.records import Floats, Problem, Request, Split
from mgresnet.data.scaling import Scale, Scaling
from mgresnet.data.sequences import padded


def load_sequences(path: Path, request: Request) -> Problem:
    """Read sequences; split, and scaled by what the training part has.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the arrays do not fit together.
    """
    found = read_named(path, ("inputs", "targets"))
    given, n = _given(path, found), len(found["inputs"])
    groups = _one_each(path, "groups", found, n)
    train, validation = _split(
        path, np.arange(n) if groups is None else groups, request
    )
    scale = Scale.of(np.concatenate([given[i] for i in train]))
    steps = found["inputs"].shape[1] if "lengths" in found else None
    inputs = _on_scale(given, scale, steps).astype(request.dtype)
    targets, n_outputs, outputs = _targets(path, found, n, train)
    both = inputs, targets
    return Problem(
        name=path.stem,
        kind="regression" if outputs else "classification",
        train=Split(*(part[train] for part in both)),
        validation=Split(*(part[validation] for part in both)),
        n_outputs=n_outputs,
        source=str(path),
        scaling=Scaling(scale, outputs),
        masked="lengths" in found,
    )


def read_sequences(path: Path, scale: Scale, steps: int | None) -> Floats:
    """Inputs of such a file, scaled as those of the training were.

    Parameters
    ----------
    path, scale
    steps : int, or None
        Of a network that reads a mask: shorter sequences are filled up, and where there
        are no lengths all steps of the file count.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the arrays do not fit together.
    """
    found = read_named(path, ("inputs",))
    return _on_scale(_given(path, found), scale, steps)


def _on_scale(given: list[Floats], scale: Scale, steps: int | None) -> Floats:
    """Scaled sequences in one array; with a mask and so many steps, if these are."""
    some = [scale.apply(x) for x in given]
    return np.stack(some) if steps is None else padded(some, steps)


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


def _given(path: Path, found: dict[str, NDArray[Any]]) -> list[Floats]:
    """Steps that count, of every sequence."""
    inputs = found["inputs"]
    if inputs.ndim != 3 or inputs.dtype.kind != "f" or not np.isfinite(inputs).all():
        raise ValueError(
            f"{path}: inputs have shape {inputs.shape} and dtype {inputs.dtype}, "
            "needed finite floats (n, steps, n_features)"
        )
    lengths = _lengths(path, found, inputs)
    ends = [inputs.shape[1]] * len(inputs) if lengths is None else lengths.tolist()
    return [x[:end] for x, end in zip(inputs, ends, strict=True)]


def _targets(
    path: Path, found: dict[str, NDArray[Any]], n: int, train: NDArray[np.intp]
) -> tuple[NDArray[Any], int, Scale | None]:
    """Class numbers, or scaled values; how many outputs they need, and their scale."""
    targets = found["targets"]
    if targets.shape[:1] != (n,) or targets.ndim > 2 or not np.isfinite(targets).all():
        raise ValueError(
            f"{path}: targets have shape {targets.shape} for {n} sequences, needed "
            f"class numbers ({n},), or finite values ({n}, n_outputs)"
        )
    if targets.dtype.kind in "iu" and targets.ndim == 1:
        return targets.astype(np.int64), int(targets.max()) + 1, None
    values = targets.reshape(n, -1).astype(np.float64)
    scale = Scale.of(values[train])
    return scale.apply(values), values.shape[1], scale


def _lengths(path: Path, found: dict[str, NDArray[Any]], inputs: Floats) -> Any:
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
