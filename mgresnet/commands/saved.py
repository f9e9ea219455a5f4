"""Files that commands read and write: saved networks, tables of numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.checks import as_array
from mgresnet.arrays.files import read_arrays, replacing
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain
from mgresnet.data.columns import read_named
from mgresnet.data.numbers import read_numbers
from mgresnet.data.scaling import Scale, Scales
from mgresnet.network import Network
from mgresnet.parallel import TimeComm
from mgresnet.saving.files import load, write_network

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
    return load(_network_file(path))


def _network_file(path: Path) -> Path:
    """File of a network, perhaps in the folder of a run."""
    file = path / NETWORK if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no {file}; give the --output folder of a mgresnet train that "
            "has come to its end, or a file of mg.save"
        )
    return file


def write_saved(folder: Path, net: Network, params: Any, scales: Scales | None) -> None:
    """Write the network of a run, and how it takes and gives what was measured."""
    known = [scale and scale.as_lists() for scale in scales or ()]
    write_network(folder / NETWORK, net, params, scales=known)


def read_scales(path: Path) -> Scales:
    """How the network of a file takes and gives what was measured."""
    header, _ = read_arrays(_network_file(path))
    known = header.get("scales", ())
    return Scales(*(fields and Scale.read(fields) for fields in known))


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that is there, or that cannot be written in this form."""
    _check_suffix("--output", path, suffixes)
    if path.exists():
        raise ValueError(
            f"--output {path} exists; choose another name, or remove it first"
        )
    if not path.parent.is_dir():
        raise ValueError(f"--output {path}: there is no folder {path.parent}")


def read_table(name: str, path: Path, scale: Scale | None = None) -> Array:
    """Scaled columns of a text file, or those of the array of this name in an .npz."""
    values: Array
    names: tuple[str, ...] = ()
    if path.suffix == ".npz":
        values = _from_npz(name, path)
    else:
        values, names = read_numbers(path).given
    if scale is None:
        return values
    try:
        return scale.apply(values if values.ndim > 1 else values[:, None], names)
    except ValueError as error:
        raise ValueError(f"{name} in {path}: {error}") from error


def _from_npz(name: str, path: Path) -> Array:
    """Real numbers of the array of this name, or of the only one."""
    found = _array_of(name, path)
    values = as_array(name, found, "real numbers, one sample a row")
    if values.dtype.kind == "c" or values.ndim == 0:
        raise ValueError(
            f"{name} in {path} has dtype {values.dtype} and shape {values.shape}, "
            "needed real numbers, one sample a row"
        )
    return values


def write_table(path: Path, name: str, values: Array, names: Sequence[str]) -> None:
    """Write the rows of an array, with all digits; columns may have names."""
    with replacing(path) as partial, partial.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, allow_pickle=False, **{name: values})
            return
        digits = {"float64": 17, "float32": 9}[values.dtype.name]
        heads = names or [f"{name}_{i}" for i in range(values.shape[1])]
        header = ",".join(f'"{head}"' if "," in head else head for head in heads)
        np.savetxt(
            file,
            values,
            f"%.{digits}g",
            ",",
            header=header,
            comments="",
            encoding="utf-8",
        )


def _check_suffix(name: str, path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise ValueError(
            f"{name} is {path}, needed a file that ends in {' or '.join(suffixes)}"
        )


def _array_of(name: str, path: Path) -> Array:
    """The array of this name, or the only one."""
    found = read_named(path, ())
    chosen = next(iter(found)) if len(found) == 1 else name
    if chosen not in found:
        raise ValueError(
            f"{path} has {len(found)} arrays, {', '.join([*found][:4])}, ..; needed "
            f"one that is named {name}"
        )
    return found[chosen]
