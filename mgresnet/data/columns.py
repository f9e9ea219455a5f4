"""Arrays as published sets have them: numbers in columns of text, or NumPy's files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.files import check_claims
from mgresnet.data.compressed import PLENTY, RATIO
from mgresnet.data.records import Floats


def read_columns(path: Path, n_columns: int) -> Floats:
    """Numbers of a text file, so many in a line, with spaces between.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is none of finite numbers, so many in every line.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; put the original files there"
        )
    needed = f"{n_columns} finite number(s) in every line, as in the original file"
    lines = path.read_bytes().splitlines()
    if not lines:
        raise ValueError(f"{path} is empty; needed {needed}")
    try:
        values: Floats = np.loadtxt(lines, ndmin=2)
    except ValueError as error:
        fault = str(error).partition(";")[0]
        raise ValueError(f"{path} cannot be read ({fault}); needed {needed}") from error
    rows = np.isfinite(values).all(axis=1)
    if values.shape[1] != n_columns or not rows.all():
        fault = f"{values.shape[1]} columns"
        if not rows.all():
            fault = f"a number in line {np.argmin(rows) + 1} that is not finite"
        raise ValueError(f"{path} has {fault}; needed {needed}")
    return values


def read_named(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Some arrays of a file of `numpy.savez`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file, lacks one of them, or claims to be far larger than it is.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}; check the name")
    try:
        if not is_zipfile(path):  # numpy would take it for a pickle
            raise ValueError("it is no archive of arrays")
        with ZipFile(path) as archive:
            size = path.stat().st_size
            check_claims(archive, size, max(PLENTY, RATIO * size))
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # whatever other files lead to
        raise ValueError(
            f"{path} cannot be read ({error}); needed arrays as numpy.savez writes them"
        ) from error
    if missing := [name for name in names if name not in found]:
        raise ValueError(
            f"{path} has {', '.join(found)}, but no {missing[0]}; needed "
            f"{', '.join(names)}"
        )
    return found
