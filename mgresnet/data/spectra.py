"""Hyperspectral scenes: every labelled pixel is a sample, its spectrum the features.

Two kinds of folders are read: a cube (rows, columns, bands) with a map of its labels, 0
for those that nobody knows; or a table of spectra (n, bands) with labels (n, 1).

References
----------
M. F. Baumgardner, L. L. Biehl, D. A. Landgrebe, 220 band AVIRIS hyperspectral image
data set: June 12, 1992 Indian Pine test site 3, Purdue University (2015).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.compressed import PLENTY, RATIO
from mgresnet.data.measured import find_file, split_rows
from mgresnet.data.records import Floats, Problem, Request, Split
from mgresnet.data.scaling import Scale, Scales

SCENES = {
    "indian-pines": (
        ("Indian_pines_corrected.mat", "Indian_pines.mat", "Train_X.mat"),
        ("Indian_pines_gt.mat", "TrLabel.mat"),
    ),
    "salinas": (("Salinas_corrected.mat", "Salinas.mat"), ("Salinas_gt.mat",)),
}
TABLES = {"Train_X.mat": ("TrLabel.mat",)}


def load_scene(name: str, request: Request) -> Problem:
    """Read one of the `SCENES`, which are not shipped, from data_dir."""
    cubes, maps = SCENES[name]
    path = find_file(name, cubes, request)
    label_path = find_file(name, TABLES.get(path.name, maps), request)
    spectra, labels = labelled(read_mat(path), read_mat(label_path), path)
    train, validation = split_rows(spectra, request)
    scale = Scale.of(spectra[train])
    inputs = scale.apply(spectra).astype(request.dtype)
    return Problem(
        name=name,
        kind="classification",
        train=Split(inputs[train], labels[train]),
        validation=Split(inputs[validation], labels[validation]),
        n_outputs=int(labels.max()) + 1,
        source=f"{len(labels)} labelled spectra of {path.name}",
        scales=Scales(scale),
    )


def labelled(
    spectra: Floats, labels: Floats, path: Path
) -> tuple[Floats, NDArray[np.int64]]:
    """Spectra (n, bands) of the pixels with a label, and labels from 0.

    Raises
    ------
    ValueError
        If labels do not fit the spectra.
    """
    if spectra.ndim < 2 or labels.size != spectra[..., 0].size:
        raise ValueError(
            f"{path}: spectra have shape {spectra.shape}, labels {labels.shape}; "
            "needed one label for each pixel, bands last"
        )
    rows, numbers = spectra.reshape(labels.size, -1), labels.reshape(-1)
    known = numbers > 0
    if not known.any() or not np.isfinite(rows[known]).all():
        raise ValueError(
            f"{path}: {np.count_nonzero(known)} labelled spectra, needed some, and "
            "all of them finite"
        )
    return rows[known].astype(np.float64), numbers[known].astype(np.int64) - 1


def read_mat(path: Path) -> Floats:
    """The largest array of a MATLAB file (version 5).

    Raises
    ------
    ValueError
        If it is no such file.
    """
    from scipy.io import loadmat, whosmat  # not at import: few need it

    try:
        claimed = sum(8 * math.prod(shape) for _, shape, _ in whosmat(path))
        if claimed > max(PLENTY, RATIO * path.stat().st_size):
            raise ValueError(f"it claims to hold {claimed} bytes")
        found: dict[str, Any] = loadmat(path)
    except Exception as error:  # whatever other files lead to
        raise ValueError(
            f"{path} cannot be read ({error}); needed a MATLAB file of version 5"
        ) from error
    values = (np.asarray(value) for name, value in found.items() if name[0] != "_")
    arrays = [value for value in values if value.dtype.kind in "uif"]
    if not arrays:
        raise ValueError(f"{path} has no array of numbers")
    largest: Floats = max(arrays, key=lambda array: array.size)
    return largest
