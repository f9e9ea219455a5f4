"""The folder of a training run: what lies in it, and whose it is."""

import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.files import write_json
from mgresnet.commands.saved import NETWORK
from mgresnet.parallel import TimeComm
from mgresnet.parallel.blas import blas_threads

CONFIG, RECORDS, ROWS = "config.json", "records.jsonl", "epochs.json"
CHECKPOINTS = "checkpoints"
WRITTEN = (RECORDS, ROWS, NETWORK, "curves.png", "regions.png")


def claim(
    folder: Path, options: Mapping[str, Any], comm: TimeComm, overwrite: bool
) -> None:
    """Make a folder and write the configuration of a run; keep an earlier run's.

    Raises
    ------
    ValueError
        If the folder holds an earlier run that is not to be overwritten.
    """
    if (folder / CONFIG).exists():
        if not overwrite:
            raise ValueError(
                f"{folder} holds an earlier run ({CONFIG}); go on with it by mgresnet "
                f"resume {folder}, choose another --output, or say --overwrite"
            )
        clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {name: _plain(value) for name, value in options.items()}
    config["ranks"] = comm.size
    config["blas_threads"] = blas_threads()
    config["python"] = platform.python_version()
    config["numpy"] = np.__version__
    write_json(folder / CONFIG, config)


def clear(folder: Path) -> None:
    """Remove what an earlier run has written, its configuration last."""
    if (folder / CHECKPOINTS).exists():
        shutil.rmtree(folder / CHECKPOINTS)
    for name in (*WRITTEN, CONFIG):
        (folder / name).unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
