"""The table of problems: name -> loader, load_problem(name) = PROBLEMS[name](..).

A loader takes a ``Request`` and returns a ``Problem``; the arguments are checked
here, once, for all of them.
"""

import difflib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from mgresnet.arrays.checks import integer
from mgresnet.data.cifar import load_cifar10, load_cifar100
from mgresnet.data.hapt import load_hapt
from mgresnet.data.images import load_fashion_mnist, load_mnist
from mgresnet.data.measured import MEASUREMENTS, load_measurements, load_table
from mgresnet.data.moving import load_moving_images
from mgresnet.data.own_sequences import load_sequences
from mgresnet.data.records import Loader, Problem, Request
from mgresnet.data.shapes import load_shapes
from mgresnet.data.spectra import SCENES, load_scene
from mgresnet.data.synthetic import load_peaks, load_peaks_regression, load_sine
from mgresnet.data.uci_har import load_uci_har

PROBLEMS: dict[str, Loader] = {
    "peaks": load_peaks,
    "peaks-regression": load_peaks_regression,
    "sine": load_sine,
    "shapes": load_shapes,
    "fashion-mnist": load_fashion_mnist,
    "mnist": load_mnist,
    "cifar-10": load_cifar10,
    "cifar-100": load_cifar100,
    "moving-images": load_moving_images,
    "hapt": load_hapt,
    "uci-har": load_uci_har,
    **{name: partial(load_measurements, name) for name in MEASUREMENTS},
    **{name: partial(load_scene, name) for name in SCENES},
}


def load_problem(
    name: str,
    *,
    n_train: int | None = None,
    n_validation: int | None = None,
    seed: int = 7,
    data_dir: str | os.PathLike[str] | None = None,
    dtype: DTypeLike = np.float64,
) -> Problem:
    """Draw or read one of the problems in ``PROBLEMS``.

    Parameters
    ----------
    name : str
        A key of ``PROBLEMS``.
    n_train, n_validation : int, optional
        Number of samples. Default: 1000 and 400 for computed problems, all there
        are for images; of measurements and spectra four fifths and the rest.
    seed : int
        Decides every draw and every order; not negative.
    data_dir : str or path, optional
        Folder of the original files, for problems that are read.
    dtype : numpy dtype
        float64 or float32, for inputs and real targets.

    Returns
    -------
    Problem
        With inputs (n, n_features), or (n, steps, n_features) if these are sequences.

    Raises
    ------
    ValueError
        If the name or another argument cannot be used, or a file is faulty.
    TypeError
        If a number of samples or the seed is no integer.
    FileNotFoundError
        If data_dir lacks a file.
    """
    if name not in PROBLEMS:
        close = difflib.get_close_matches(name, PROBLEMS, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown problem {name!r}; {guess}try {', '.join(PROBLEMS)}")
    return PROBLEMS[name](_request(n_train, n_validation, seed, data_dir, dtype))


def load_own(
    path: str | os.PathLike[str],
    targets: Sequence[str] = (),
    *,
    n_train: int | None = None,
    n_validation: int | None = None,
    seed: int = 7,
    dtype: DTypeLike = np.float64,
) -> Problem:
    """Read a regression problem from a text file: a line for each sample.

    Parameters
    ----------
    path : str or path
        Separated by commas, semicolons, tabs or spaces, perhaps with names on top.  Of
        sequences a file of `numpy.savez`; see `mgresnet.data.own_sequences`.
    targets : sequence of str
        Columns to be learned, by name, or without names by number from 0; all others
        are inputs.  By default none, as for sequences, whose file has them.
    n_train, n_validation, seed, dtype
        As in `load_problem`.

    Returns
    -------
    Problem
        Split and scaled; ``units`` undo the scaling of errors.
    """
    several = isinstance(targets, list | tuple)
    if not several or not all(isinstance(name, str) for name in targets):
        raise TypeError(f"targets is {targets!r}, needed names, such as ['price']")
    request = _request(n_train, n_validation, seed, None, dtype)
    if Path(path).suffix == ".npz":
        if targets:
            raise ValueError(
                f"targets are {[*targets]}, but {path} has an array of them; leave "
                "them out"
            )
        return load_sequences(Path(path), request)
    return load_table(Path(path), [*targets], request)


def _request(
    n_train: Any, n_validation: Any, seed: Any, data_dir: Any, dtype: Any
) -> Request:
    """Check what all problems are asked for."""
    return Request(
        n_train=_count("n_train", n_train),
        n_validation=_count("n_validation", n_validation),
        seed=integer("seed", seed, 0),
        data_dir=None if data_dir is None else Path(data_dir),
        dtype=_float_dtype(dtype),
    )


def _count(field: str, asked: int | None) -> int | None:
    """Check a number of samples; None stands for the default."""
    return None if asked is None else integer(field, asked, 1)


def _float_dtype(dtype: DTypeLike) -> np.dtype[np.floating[Any]]:
    """Check a number format."""
    known = np.dtype(dtype)
    if known == np.float64:
        return np.dtype(np.float64)
    if known == np.float32:
        return np.dtype(np.float32)
    raise ValueError(f"dtype={known}; expected float64 or float32, try float64")
