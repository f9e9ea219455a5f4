"""UCI HAR: the windows of ``Inertial Signals``, nine channels, in the original files.

A folder, or ``UCI HAR Dataset`` in it, has for each of the two parts, train and test,
``y_train.txt``, ``subject_train.txt`` and ``Inertial Signals/body_acc_x_train.txt`` ..
with 128 numbers a line.
"""

from itertools import product
from pathlib import Path

import numpy as np

from mgresnet.data.activity import STEPS, Windows, activity_problem, folder_of
from mgresnet.data.columns import read_columns
from mgresnet.data.records import Problem, Request

CHANNELS = [
    f"{kind}_{axis}"
    for kind, axis in product(("body_acc", "body_gyro", "total_acc"), "xyz")
]


def load_uci_har(request: Request) -> Problem:
    """Read UCI HAR, which is not shipped, from data_dir; split as it comes."""
    needed = "the folders train and test of the original files"
    folder = folder_of("uci-har", request, needed)
    if (inner := folder / "UCI HAR Dataset").is_dir():
        folder = inner
    train, test = (_read(folder / part, part) for part in ("train", "test"))
    return activity_problem("uci-har", folder, train, test, request)


def _read(folder: Path, part: str) -> Windows:
    """Windows of one part."""
    labels, subjects = (
        read_columns(folder / f"{what}_{part}.txt", 1)[:, 0].astype(np.int64)
        for what in ("y", "subject")
    )
    channels = [
        read_columns(folder / "Inertial Signals" / f"{name}_{part}.txt", STEPS)
        for name in CHANNELS
    ]
    names = "y", "subject", *CHANNELS
    for name, values in zip(names, (labels, subjects, *channels), strict=True):
        if len(values) != len(labels):
            raise ValueError(
                f"{folder}: {name}_{part}.txt has {len(values)} lines, y_{part}.txt "
                f"{len(labels)}; needed one for each window, use the original files"
            )
    return Windows(np.stack(channels, axis=2), labels - 1, subjects)
