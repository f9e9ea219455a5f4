"""Files that are whole or absent, also when a program is ended while it writes them.

A file of arrays is a NumPy archive (.npz): no code is in it, none is run when it is
read.  What is no array lies in it as JSON.
"""

import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array

HEADER = "header.json"
NO_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}  # for JSON


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a hidden file to write, which then takes the place of `path`.

    It has the suffix of `path`, and is on the disk before it takes that place.  An
    exception removes it.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        to_disk(partial)
        os.replace(partial, path)
        to_disk(path.parent)
    except OSError as error:  # that of a full disk does not tell where
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def as_json(content: Any, indent: int | None = None) -> str:
    """Text of strict JSON, which has no NaN and no infinity: they are written as words.

    `from_json` makes numbers of these again.
    """
    return json.dumps(_in_words(content), indent=indent, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """What `as_json` was given, or else ValueError."""
    try:
        return _in_numbers(json.loads(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_json(path: Path, content: Any, indent: int = 2) -> None:
    """Write a readable JSON file."""
    text = as_json(content, indent) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: Path, needed: str) -> dict[str, Any]:
    """Object that a JSON file holds.

    Parameters
    ----------
    path : Path
    needed : str
        Which file it should be, for the message.

    Raises
    ------
    OSError
        If there is no file, or it may not be read.
    ValueError
        If it holds something else.
    """
    try:
        found = from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); needed {needed}") from error
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} is a {type(found).__name__}, needed an object: {needed}"
        )
    return found


def _in_words(value: Any) -> Any:
    """The same without numbers that JSON lacks."""
    if isinstance(value, dict):
        return {key: _in_words(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_words(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return NO_NUMBERS[repr(float(value))]
    return value


def _in_numbers(value: Any) -> Any:
    """Inverse of `_in_words`."""
    if isinstance(value, dict):
        return {key: _in_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_numbers(item) for item in value]
    return float(value) if value in NO_NUMBERS.values() else value


def write_arrays(path: Path, header: Any, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name, and a header that JSON can hold."""
    text = json.dumps([header, [*arrays]], allow_nan=False).encode()
    members = {HEADER: np.frombuffer(text, np.uint8), **arrays}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **members)


def check_claims(archive: zipfile.ZipFile, size: int, most: int) -> None:
    """Refuse an archive of some bytes that claims to hold more, or to become too much.

    Raises
    ------
    ValueError
        Before anything of that size is made room for.
    """
    members = archive.infolist()
    held = sum(member.compress_size for member in members)
    claimed = sum(member.file_size for member in members)
    if held > size or claimed > most:
        raise ValueError(f"{size} bytes that claim to be {max(held, claimed)}")


def read_arrays(path: Path) -> tuple[Any, dict[str, Array]]:
    """Header and arrays that `write_arrays` has written.

    Raises
    ------
    OSError
        If there is no file, or it may not be read.
    ValueError
        If the file is something else, or damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                check_claims(archive, size, size)
                if damaged := archive.testzip():  # NumPy may stop before a checksum
                    raise ValueError(f"the checksum of {damaged} is wrong")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            header, names = json.loads(arrays.pop(HEADER).tobytes())
            if names != [*arrays]:
                raise ValueError(f"{[*arrays]} in place of {names}")
            return header, arrays
        except Exception as error:  # whatever damaged bytes lead to
            raise ValueError(
                f"{path} cannot be read ({error}); needed a file that mgresnet has "
                "written, as it was written: take a copy of it, or make it again"
            ) from error
