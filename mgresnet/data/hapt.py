"""HAPT: raw signals of the original text files, or the same in NumPy's.

A folder has one of

- ``labels.txt`` with ``acc_expXX_userYY.txt`` and ``gyro_expXX_userYY.txt``, as in
  ``RawData`` of the original;
- ``hapt_raw.npz``: signals (n, 6), offsets, experiment, labels (n_stretches, 5);
- ``hapt_windows*.npz``: X (n, 128, 6), y from 1, subject.
"""

import itertools
from pathlib import Path

import numpy as np

from mgresnet.data.activity import (
    STEPS,
    TEST_SUBJECTS,
    Windows,
    activity_problem,
    cut,
    folder_of,
)
from mgresnet.data.columns import read_columns, read_named
from mgresnet.data.records import Problem, Request

CHANNELS = 6
NEEDED = "RawData of the original files, or hapt_raw.npz"


def load_hapt(request: Request) -> Problem:
    """Read HAPT, which is not shipped, from data_dir; split by its test subjects."""
    folder = folder_of("hapt", request, NEEDED)
    windows = _read(folder)
    test = np.isin(windows.subjects, TEST_SUBJECTS)
    for part, there in (("training", (~test).any()), ("test", test.any())):
        if not there:
            raise ValueError(
                f"{folder} has no window of a {part} subject; use the files of all 30 "
                f"people, of whom {', '.join(map(str, TEST_SUBJECTS))} are for tests"
            )
    both = windows.some(~test), windows.some(test)
    return activity_problem("hapt", folder, *both, request)


def _read(folder: Path) -> Windows:
    """Windows from whatever a folder has."""
    for place in (folder, folder / "RawData"):
        if (place / "labels.txt").is_file() and any(place.glob("acc_exp*.txt")):
            return _read_text(place)
    if (path := folder / "hapt_raw.npz").is_file():
        found = read_named(path, ("signals", "offsets", "experiment", "labels"))
        ends = found["offsets"].tolist()
        names = found["experiment"].tolist()
        if len(ends) != len(names) + 1 or ends[-1] != len(found["signals"]):
            raise ValueError(
                f"{path}: {len(ends)} offsets up to {ends[-1]} for {len(names)} "
                f"experiments of {len(found['signals'])} samples; needed where each "
                "begins, and the end of the last"
            )
        offsets = dict(zip(names, itertools.pairwise(ends), strict=True))
        return cut(found["signals"], found["labels"].astype(np.int64), offsets)
    for path in sorted(folder.glob("hapt_windows*.npz")):
        found = read_named(path, ("X", "y", "subject"))
        shape = found["X"].shape
        if shape[1:] != (STEPS, CHANNELS) or len(found["y"]) != len(found["X"]):
            raise ValueError(
                f"{path}: X has shape {shape}, y {found['y'].shape}; needed "
                f"(n, {STEPS}, {CHANNELS}), and (n,)"
            )
        labels, subjects = (found[k].astype(np.int64) for k in ("y", "subject"))
        return Windows(found["X"], labels - 1, subjects)
    raise FileNotFoundError(f"there is none of HAPT's files in {folder}; put {NEEDED}")


def _read_text(folder: Path) -> Windows:
    """Windows of the original files."""
    stretches = read_columns(folder / "labels.txt", 5).astype(np.int64)
    parts, offsets, end = [], {}, 0
    for experiment, subject in dict.fromkeys(map(tuple, stretches[:, :2].tolist())):
        name = f"exp{experiment:02d}_user{subject:02d}.txt"
        both = [read_columns(folder / f"{kind}_{name}", 3) for kind in ("acc", "gyro")]
        if len(both[0]) != len(both[1]):
            raise ValueError(
                f"{folder}: acc_{name} has {len(both[0])} lines, gyro_{name} "
                f"{len(both[1])}; needed as many, use the original files"
            )
        parts.append(np.concatenate(both, axis=1))
        offsets[experiment] = end, end + len(both[0])
        end += len(both[0])
    return cut(np.concatenate(parts), stretches, offsets)
