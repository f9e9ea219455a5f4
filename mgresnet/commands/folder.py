"""The folder of a training run: what lies in it, and whose it is."""

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.files import write_json
from mgresnet.commands.saved import NETWORK
from mgresnet.data import Problem
from mgresnet.parallel import TimeComm
from mgresnet.parallel.blas import blas_threads

try:
    import fcntl
except ImportError:  # folders are not locked on this system
    fcntl = None  # type: ignore[assignment]

CONFIG, RECORDS, ROWS = "config.json", "records.jsonl", "epochs.json"
CHECKPOINTS = "checkpoints"
CHECKSUM = "checksum"  # of all else in the configuration
WRITTEN = (RECORDS, ROWS, NETWORK, "curves.png", "regions.png")


def claim(
    folder: Path, options: Mapping[str, Any], comm: TimeComm, overwrite: bool
) -> None:
    """Make a folder and write the configuration of a run; keep an earlier run's.

    Raises
    ------
    ValueError
        If the folder cannot be made, or holds an earlier run that is not to be
        overwritten.
    OSError
        If a run is at work there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--output {folder} cannot be made ({error.strerror}); choose another"
        ) from error
    with locked(folder):
        _begin(folder, options, comm, overwrite)


def _begin(
    folder: Path, options: Mapping[str, Any], comm: TimeComm, overwrite: bool
) -> None:
    names = CONFIG, CHECKPOINTS, *WRITTEN
    if there := [name for name in names if (folder / name).exists()]:
        if not overwrite:
            raise ValueError(
                f"{folder} holds an earlier run ({there[0]}); go on with it by "
                f"mgresnet resume {folder}, choose another --output, or say "
                "--overwrite"
            )
        clear(folder)
    config = {name: _plain(value) for name, value in options.items()}
    config["ranks"] = comm.size
    config["blas_threads"] = blas_threads()
    config["python"] = platform.python_version()
    config["numpy"] = np.__version__
    write_json(folder / CONFIG, config | {CHECKSUM: checksum_of(config)})


def checksum_of(config: Mapping[str, Any]) -> str:
    """Name for a configuration as JSON has it."""
    rest = {name: value for name, value in config.items() if name != CHECKSUM}
    text = json.dumps(rest, sort_keys=True)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def digest_of(problem: Problem) -> str:
    """Name for the samples of a problem."""
    found = blake2b(digest_size=8)
    for array in (*problem.train, *problem.validation):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def check_folder(name: str, folder: Path) -> None:
    """Refuse what is no folder, and where none can be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{name} {folder}: {there} is a file, needed a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{name} {folder}: {there} cannot be written by this user")


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Keep other runs out of a folder meanwhile; when a process ends, so does that.

    Raises
    ------
    OSError
        If another run is at work there.
    """
    if folder is None or fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(folder, handle)
        yield
    finally:
        os.close(handle)


def _lock(folder: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            f"another run is at work in {folder}; wait for it, or choose another folder"
        ) from error
    except OSError:  # a file system without locks
        return


def clear(folder: Path) -> None:
    """Remove what an earlier run has written, its configuration last."""
    if (folder / CHECKPOINTS).exists():
        shutil.rmtree(folder / CHECKPOINTS)
    for name in (*WRITTEN, CONFIG):
        (folder / name).unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
