"""Files that commands read and write: saved networks, tables of numbers."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.checks import as_array
from mgresnet.arrays.files import replacing
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain
from mgresnet.data.compressed import check_claims
from mgresnet.network import Network
from mgresnet.parallel import TimeComm
from mgresnet.saving.files import load

NETWORK = "network.npz"  # in the folder of a run
TABLES = (".npz", ".csv")


def alone(comm: TimeComm, command: str) -> None:
    """Refuse several ranks."""
    if comm.size != 1:
        raise ValueError(
            f"{comm.size} ranks, needed one; start mgresnet {command} without mpiexec"
        )


def read_network(path: Path) -> tuple[Network | Chain, Any]:
    """Network and parameters of a file, or of the folder of a run."""
    return load(path / NETWORK if path.is_dir() else path)


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that is there, or that cannot be written in this form."""
    _check_suffix("--output", path, suffixes)
    if path.exists():
        raise ValueError(
            f"--output {path} exists; choose another name, or remove it first"
        )
    if not path.parent.is_dir():
        raise ValueError(f"--output {path}: there is no folder {path.parent}")


def read_table(name: str, path: Path) -> Array:
    """Numbers of a .csv file, or of the array of this name in an .npz file."""
    _check_suffix(name, path, TABLES)
    found = _from_csv(path) if path.suffix == ".csv" else _from_npz(name, path)
    values = as_array(name, found, "real numbers, one sample a row")
    if values.dtype.kind == "c" or values.ndim == 0:
        raise ValueError(
            f"{name} in {path} has dtype {values.dtype} and shape {values.shape}, "
            "needed real numbers, one sample a row"
        )
    return values


def write_table(path: Path, name: str, values: Array) -> None:
    """Write the rows of an array, with all digits."""
    with replacing(path) as partial, partial.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, allow_pickle=False, **{name: values})
            return
        digits = {"float64": 17, "float32": 9}[values.dtype.name]
        header = ",".join(f"{name}_{i}" for i in range(values.shape[1]))
        np.savetxt(file, values, f"%.{digits}g", ",", header=header, comments="")


def _check_suffix(name: str, path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise ValueError(
            f"{name} is {path}, needed a file that ends in {' or '.join(suffixes)}"
        )


def _from_csv(path: Path) -> Array:
    """Rows of numbers; a first line that is none is taken for their names."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    lines = [line for line in lines if line.strip()]
    if lines and not _is_row(lines[0]):
        del lines[0]
    if not lines:
        raise ValueError(f"{path} has no row of numbers; needed one for each sample")
    try:
        return np.loadtxt(lines, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read ({str(error).partition(';')[0]}); needed a line "
            "for each sample, as many numbers in each, and commas in between"
        ) from error


def _is_row(line: str) -> bool:
    try:
        for cell in line.split(","):
            float(cell)
    except ValueError:
        return False
    return True


def _from_npz(name: str, path: Path) -> Array:
    """The array of this name, or the only one."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name")
    try:
        with zipfile.ZipFile(path) as archive:  # else numpy takes it for a pickle
            check_claims(path, archive)
            names = [Path(member).stem for member in archive.namelist()]
        chosen = names[0] if len(names) == 1 else name
        if chosen in names:
            with np.load(path, allow_pickle=False) as archive:
                found: Array = archive[chosen]
                return found
    except Exception as error:  # whatever other files lead to
        raise ValueError(
            f"{path} cannot be read ({error}); needed a file of numpy.savez"
        ) from error
    raise ValueError(
        f"{path} has {len(names)} arrays, {', '.join(names[:4])}, ..; needed one that "
        f"is named {name}"
    )
