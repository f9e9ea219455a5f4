"""Tables of numbers in text files: a line for each sample, perhaps names on top."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.compressed import PLENTY, content_of

SPACES = r"\s+"
DELIMITERS = (";", "\t", ",")


class Numbers(NamedTuple):
    """Columns with their names; without names on top these are 0, 1, .."""

    names: tuple[str, ...]
    values: NDArray[np.float64]  # (n_rows, n_columns)
    named: bool

    @property
    def given(self) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Values, and the names on top of them; () if there are none."""
        return self.values, self.names if self.named else ()

    def places(self, wanted: Sequence[str]) -> list[int]:
        """Numbers of some columns.

        Raises
        ------
        ValueError
            If there is no such column, or none is left beside them.
        """
        for name in wanted:
            if name not in self.names:
                raise ValueError(
                    f"there is no column {name!r}; choose from {', '.join(self.names)}"
                )
        found = [self.names.index(name) for name in wanted]
        if not found or len(set(found)) < len(wanted) or len(found) == len(self.names):
            raise ValueError(
                f"targets are {list(wanted)} of the columns {', '.join(self.names)}; "
                "needed one or more, each once, and others for the inputs"
            )
        return found


def read_numbers(path: Path) -> Numbers:
    """Read a table that is separated by semicolons, tabs, commas or spaces.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no table of finite numbers; the message names the line.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the file in it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}; check the name")
    try:
        text = content_of(path, PLENTY).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text ({error}); needed a table") from error
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty; needed a line for each sample")
    first = lines[0][1]
    mark = next((d for d in DELIMITERS if d in "".join(first.split('"')[::2])), SPACES)
    names = cells(first, mark)
    named = not all(map(_is_number, names))
    if named:
        del lines[0]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{path} has two columns {twice[0]!r}; rename one")
    rows = [_row(path, i, cells(line, mark), len(names)) for i, line in lines]
    if not rows:
        raise ValueError(f"{path} has no row of numbers; needed one for each sample")
    return Numbers(
        tuple(names if named else map(str, range(len(names)))), np.array(rows), named
    )


def cells(line: str, mark: str) -> list[str]:
    """Parts of a line; what separates them does not do so in quotes."""
    parts = (line.strip() if mark == SPACES else line).split('"')
    parts[::2] = [re.sub(mark, "\n", part) for part in parts[::2]]
    return [cell.strip() for cell in "".join(parts).split("\n")]


def _row(path: Path, i: int, cells: list[str], n: int) -> list[float]:
    """Numbers of a line."""
    if len(cells) != n:
        raise ValueError(f"{path}, line {i}: {len(cells)} cells, needed {n}")
    for cell in cells:
        if not _is_number(cell) or not np.isfinite(float(cell)):
            raise ValueError(
                f"{path}, line {i}: {cell.strip()!r} is no finite number; leave out "
                "such lines or columns"
            )
    return [float(cell) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
