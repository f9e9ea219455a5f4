"""The records of this package: a sample set is a map x_i -> y_i, i = 0 .. n-1.

``Split`` holds the rows of one such set, ``Problem`` a training and a validation
set with what is needed to build a network for them, ``Request`` what a caller of
``load_problem`` asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.scaling import Scales

Floats = NDArray[np.floating[Any]]
Targets = NDArray[np.int64] | NDArray[np.floating[Any]]
Kind = Literal["classification", "regression"]

KINDS: tuple[str, ...] = ("classification", "regression")


class Split(NamedTuple):
    """Rows of samples: what goes in and what should come out.

    Parameters
    ----------
    inputs : array (n, n_features), or (n, steps, n_features)
        Features, one sample per row; or one sequence.
    targets : array (n,) of int64, or (n, n_outputs) of floats
        Class numbers for classification, values for regression.
    """

    inputs: Floats
    targets: Targets


@dataclass(frozen=True, eq=False)
class Problem:
    """A named learning problem with its training and validation samples.

    Parameters
    ----------
    name : str
        The key in ``PROBLEMS``, or any name for a problem of your own.
    kind : {"classification", "regression"}
        Whether targets are class numbers or values.
    train, validation : Split
        Samples to learn from and samples to judge by.
    n_outputs : int
        Number of classes, or number of values per sample.
    source : str
        One line: where the samples come from.
    class_names : tuple of str, optional
        One name per class.
    scales : Scales, optional
        Of inputs and targets, by what there is to learn from.
    image_shape : tuple of int, optional
        Channels, height and width, where rows of inputs, or steps, are images.
    masked : bool
        Whether the last feature of a step says if it counts.

    Raises
    ------
    ValueError
        If the pieces do not fit together.
    """

    name: str
    kind: Kind
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    n_outputs: int
    source: str
    class_names: tuple[str, ...] | None = field(default=None, repr=False)
    scales: Scales | None = field(default=None, repr=False)
    image_shape: tuple[int, int, int] | None = field(default=None, repr=False)
    masked: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        """Check that both splits have the promised shapes and labels."""
        if self.kind not in KINDS:
            raise ValueError(
                f"problem {self.name!r}: kind is {self.kind!r}; choose one of "
                f"{', '.join(KINDS)}"
            )
        if self.class_names is not None and len(self.class_names) != self.n_outputs:
            raise ValueError(
                f"problem {self.name!r}: {len(self.class_names)} class names for "
                f"{self.n_outputs} classes; give one name per class, or None"
            )
        for part, split in (("train", self.train), ("validation", self.validation)):
            shape = self.train.inputs.shape[1:]
            fault = _fault(split, self.kind, shape, self.n_outputs)
            if fault is not None:
                raise ValueError(f"problem {self.name!r}, {part} split: {fault}")

    @property
    def n_features(self) -> int:
        """Width of one input row, or of one step of a sequence."""
        return int(self.train.inputs.shape[-1])

    @property
    def units(self) -> tuple[float, ...] | None:
        """What 1 in each column of scaled targets is in those measured."""
        if self.scales is None or self.scales.targets is None:
            return None
        return tuple(self.scales.targets.spread.tolist())

    @property
    def steps(self) -> int | None:
        """Length of every sequence; None where samples are rows."""
        shape = self.train.inputs.shape
        return int(shape[1]) if len(shape) == 3 else None

    def __str__(self) -> str:
        """Return kind and sizes on one line."""
        steps = "" if self.steps is None else f"{self.steps} steps of "
        return (
            f"{self.name}: {self.kind}, {steps}{self.n_features} -> {self.n_outputs}, "
            f"{len(self.train.inputs)} training and "
            f"{len(self.validation.inputs)} validation samples"
        )


class Request(NamedTuple):
    """Checked arguments of ``load_problem``, handed to a loader."""

    n_train: int | None
    n_validation: int | None
    seed: int
    data_dir: Path | None
    dtype: np.dtype[np.floating[Any]]

    def generator(self, part: int) -> np.random.Generator:
        """Return the random stream of part 1 (training) or 2 (validation).

        The middle zero keeps these streams apart from those of ``batches``, which
        are seeded by (seed, epoch).
        """
        return np.random.default_rng((self.seed, 0, part))


Loader = Callable[[Request], Problem]


def _fault(
    split: Split, kind: str, sample: tuple[int, ...], n_outputs: int
) -> str | None:
    """Say what is wrong with a split, or None."""
    inputs, targets = split
    if len(sample) not in (1, 2) or inputs.shape[1:] != sample:
        needed = f"(n, {', '.join(map(str, sample[-2:]))})"
        return (
            f"inputs have shape {inputs.shape}; expected {needed}, as in training; "
            "flatten each sample to one row, or give steps of sequences their features"
        )
    shape = (len(inputs),) if kind == "classification" else (len(inputs), n_outputs)
    if targets.shape != shape:
        return (
            f"targets have shape {targets.shape}; expected {shape} for {kind} of "
            f"{len(inputs)} samples; reshape them, or check that none is missing"
        )
    if kind == "regression":
        return None
    if targets.dtype.kind not in "iu":
        return f"labels are {targets.dtype}; expected integers; try astype('int64')"
    if targets.size and not 0 <= targets.min() <= targets.max() < n_outputs:
        return (
            f"labels run from {targets.min()} to {targets.max()}; expected 0 to "
            f"{n_outputs - 1}; renumber them, or raise n_outputs"
        )
    return None
