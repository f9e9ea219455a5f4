"""CIFAR-10 and CIFAR-100 from their original binary files, plain or gzipped.

Layout of a file: rows of one label (CIFAR-100: a coarse and a fine one, of which the
fine one is taken) and 3 x 32 x 32 pixels, one byte each. Sample i is
x_i = pixels / 255 in [0, 1]^3072, channel by channel, row by row.

References
----------
A. Krizhevsky, Learning multiple layers of features from tiny images (2009).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.compressed import content_of
from mgresnet.data.images import chosen, scaled
from mgresnet.data.records import Problem, Request, Split

SHAPE = (3, 32, 32)
PIXELS = 3072
MOST = 60_000 * (PIXELS + 2)  # bytes of all files together
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def load_cifar10(request: Request) -> Problem:
    """Read CIFAR-10, which is not shipped, from data_dir."""
    return _load("cifar-10", request, ("data_batch*.bin", "test_batch*.bin"), 1, 10)


def load_cifar100(request: Request) -> Problem:
    """Read CIFAR-100, which is not shipped, from data_dir."""
    return _load("cifar-100", request, ("train.bin", "test.bin"), 2, 100)


def read_cifar(
    path: Path, n_labels: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (n, 3072) and their last labels (n,) of one file.

    Parameters
    ----------
    path : Path
        Unzipped if it begins as gzip files do, whatever its name.
    n_labels : int
        Labels in front of every image: 1 in CIFAR-10, 2 in CIFAR-100.

    Raises
    ------
    ValueError
        If the file is damaged, or holds no whole number of rows.
    """
    content = content_of(path, MOST)
    row = n_labels + PIXELS
    if not content or len(content) % row:
        raise ValueError(
            f"{str(path)!r}: found {len(content)} bytes, expected a multiple of {row} "
            f"({n_labels} of labels, {PIXELS} of pixels each); use the original binary "
            "file, not that for Python or MATLAB"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    return rows[:, n_labels:], rows[:, n_labels - 1]


def _load(
    name: str,
    request: Request,
    patterns: tuple[str, str],
    n_labels: int,
    n_classes: int,
) -> Problem:
    """Read, check and thin out both splits."""
    if request.data_dir is None:
        raise ValueError(
            f"{name} is not shipped with mgresnet and got no data_dir; give "
            f"data_dir=FOLDER that holds the original binary files {patterns[0]} and "
            f"{patterns[1]}, or load_problem('shapes'), which is drawn"
        )
    splits = []
    for pattern, field in zip(patterns, ("n_train", "n_validation"), strict=True):
        images, labels = _read_all(request.data_dir, pattern, n_labels, n_classes)
        some = chosen(request, field, labels, request.data_dir)
        splits.append(scaled(images[some], labels[some], request))
    train, validation = splits
    return Problem(
        name=name,
        kind="classification",
        train=Split(*train),
        validation=Split(*validation),
        n_outputs=n_classes,
        source=f"{name} from {str(request.data_dir)!r}",
        class_names=CLASSES if n_classes == len(CLASSES) else None,
        image_shape=SHAPE,
    )


def _read_all(
    folder: Path, pattern: str, n_labels: int, n_classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All files of one split, by name; one that is there unzipped counts once."""
    files = {path.name: path for path in folder.glob(pattern)}
    zipped = {
        path.name.removesuffix(".gz"): path for path in folder.glob(f"{pattern}.gz")
    }
    paths = [path for _, path in sorted((zipped | files).items())]
    if not paths:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no {pattern} or {pattern}.gz; put the original "
            "binary files there under their names"
        )
    _refuse_gaps(folder, [path.name for path in paths])
    parts = [read_cifar(path, n_labels) for path in paths]
    for path, (_, labels) in zip(paths, parts, strict=True):
        wrong = np.flatnonzero(labels >= n_classes)
        if wrong.size:
            raise ValueError(
                f"{str(path)!r}: found label {labels[wrong[0]]} in row {wrong[0]}, "
                f"expected 0 to {n_classes - 1}; use the files of one data set"
            )
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    return images, labels


def _refuse_gaps(folder: Path, names: list[str]) -> None:
    """Refuse training files among which one is missing."""
    files = [f"data_batch_{number}.bin" for number in range(1, 6)]
    found = [file for file in files if {file, f"{file}.gz"} & {*names}]
    last = max(found, default="")
    missing = [file for file in files if file not in found and file < last]
    if missing:
        raise FileNotFoundError(
            f"{str(folder)!r} holds {', '.join(found)} but no {', '.join(missing)}; "
            "put the original binary files there under their names"
        )
