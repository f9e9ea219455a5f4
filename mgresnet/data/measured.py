r"""Problems of measured samples: split, and scaled by what the training part has.

.. math:: x \leftarrow (x - \bar x) / s_x, \qquad y \leftarrow (y - \bar y) / s_y

with means and standard deviations of the training part alone.  Samples with the same
inputs are never on both sides: some published files repeat rows.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.numbers import Numbers, read_numbers
from mgresnet.data.records import Floats, Problem, Request, Split

PART = 0.8  # of all samples, to learn from
Rows = NDArray[np.intp]

# Files, and what they are; the last column is the target.
MEASUREMENTS = {
    "airfoil": (
        ("airfoil_self_noise.dat",),
        "airfoil self-noise, T. Brooks et al., NASA 1989 (UCI 291)",
    ),
    "concrete": (
        ("concrete_compressive_strength.csv",),
        "concrete strength, I-C. Yeh 1998 (UCI 165)",
    ),
    "power-plant": (
        ("ccpp_power_plant.csv",),
        "combined cycle power plant, P. Tufekci 2014 (UCI 294)",
    ),
    "california": (
        ("california_housing.csv", "california_housing.csv.gz"),
        "California housing, R. K. Pace, R. Barry 1997 (StatLib)",
    ),
}


def load_measurements(name: str, request: Request) -> Problem:
    """Read one of the `MEASUREMENTS`, which are not shipped, from data_dir."""
    files, source = MEASUREMENTS[name]
    path = find_file(name, files, request)
    table = read_numbers(path)
    return _regression(name, source, table, table.names[-1:], request)


def load_table(path: Path, targets: list[str], request: Request) -> Problem:
    """Regression of some columns of a file of one's own on all others."""
    return _regression(path.stem, str(path), read_numbers(path), targets, request)


def find_file(name: str, files: tuple[str, ...], request: Request) -> Path:
    """The first of some files that is there.

    Raises
    ------
    ValueError
        If no folder is given.
    FileNotFoundError
        If it has none of them.
    """
    wanted = " or ".join(files)
    if request.data_dir is None:
        raise ValueError(
            f"{name} is not shipped with mgresnet and got no data_dir; give "
            f"data_dir=FOLDER that holds {wanted}"
        )
    for path in (request.data_dir / file for file in files):
        if path.is_file():
            return path
    raise FileNotFoundError(f"there is no {wanted} in {request.data_dir}")


def _regression(
    name: str, source: str, table: Numbers, targets: Any, request: Request
) -> Problem:
    places = table.places(targets)
    values = table.values
    features = np.delete(values, places, axis=1)
    train, validation = split_rows(features, request)
    inputs, _ = scaled(features, train)
    constant = np.ptp(values[train][:, places], axis=0) == 0.0
    if constant.any():
        column = table.names[places[int(constant.argmax())]]
        raise ValueError(
            f"{source}: target {column!r} is the same in all {len(train)} training "
            "samples, needed one that varies"
        )
    outputs, units = scaled(values[:, places], train)
    both = inputs.astype(request.dtype), outputs.astype(request.dtype)
    return Problem(
        name=name,
        kind="regression",
        train=Split(*(part[train] for part in both)),
        validation=Split(*(part[validation] for part in both)),
        n_outputs=len(places),
        source=source,
        units=tuple(units.tolist()),
    )


def split_rows(inputs: Floats, request: Request) -> tuple[Rows, Rows]:
    """Numbers of the samples to learn from and of those to judge by, in seeded order.

    The second are fewer than what is left where inputs are repeated.

    Raises
    ------
    ValueError
        If there are not as many samples as were asked for.
    """
    n = len(inputs)
    same = np.unique(inputs, axis=0, return_inverse=True)[1].reshape(-1)
    places = request.generator(1).permutation(same.max() + 1)
    order = np.argsort(places[same], kind="stable")
    n_train = request.n_train
    if n_train is None:
        n_train = max(1, min(n - 1, round(PART * n)))
    train, rest = order[:n_train], order[n_train:]
    rest = rest[~np.isin(same[rest], same[train])]
    asked = 1 if request.n_validation is None else request.n_validation
    if n_train > n or len(rest) < asked:
        raise ValueError(
            f"n_train={n_train} of {n} samples leaves {len(rest)} with other inputs "
            f"for the validation, needed {asked} or more; ask for fewer"
        )
    return train, rest[: request.n_validation]


def scaled(values: Floats, train: Rows, name: str = "column") -> tuple[Floats, Floats]:
    """Columns less their mean over the standard deviation, which is returned, too.

    A column that does not vary is zero.  For messages it has a name.

    Raises
    ------
    ValueError
        If squares of a column overflow.
    """
    mean, spread = scale_of(values[train], name)
    varies = np.ptp(values[train], axis=0) > 0.0
    return np.where(varies, (values - mean) / spread, 0.0), spread


def scale_of(values: Floats, name: str = "column") -> tuple[Floats, Floats]:
    """Means of columns and their standard deviations, 1 where these are zero.

    Raises
    ------
    ValueError
        If squares of a column overflow.
    """
    varies = np.ptp(values, axis=0) > 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.where(varies, values.std(axis=0, dtype=np.float64), 1.0)
    if not np.isfinite(spread).all():
        raise ValueError(
            f"{name} {int(np.isfinite(spread).argmin())} reaches "
            f"{np.abs(values).max():.0e}, whose square overflows; scale it"
        )
    mean = np.where(varies, values.mean(axis=0, dtype=np.float64), values[0])
    return mean, spread
