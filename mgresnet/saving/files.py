"""A network and its parameters in one file: arrays and JSON, no code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mgresnet.arrays.checks import floats
from mgresnet.arrays.files import read_arrays, write_arrays
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain
from mgresnet.network import Network, Params
from mgresnet.saving.description import describe_network, restore_network
from mgresnet.saving.whole import prefixes, whole
from mgresnet.version import __version__

FORMAT, VERSION = "mgresnet network", 1


def save(path: str | Path, net: Network | Chain, params: Any) -> None:
    """Write a network and its parameters; a file that is there is replaced.

    Parameters
    ----------
    path : str or Path
        Whatever happens, it then holds the old file or the new one, whole.
    net : Network or Chain
        Openings, heads and controls are those of this package.  Of a layer of the
        user's own only name and shapes are written.
    params : Params, or a tuple of them
        Of the whole network; on several ranks one of them writes.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError, TypeError
        If the parameters do not fit, or a part of the network is code of the user's
        own, which no file holds.
    """
    write_network(Path(path), net, params)


def write_network(path: Path, net: Network | Chain, params: Any, **about: Any) -> None:
    """Write what `save` writes, and what else JSON can hold."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}; make it first")
    header = {
        "format": FORMAT,
        "version": VERSION,
        "mgresnet": __version__,
        "network": describe_network(net),
        **about,
    }
    arrays = {
        f"{prefix}{name}": part
        for (prefix, _), tree in zip(prefixes(net), whole(net, params), strict=True)
        for name, part in tree._asdict().items()
        if part is not None
    }
    write_arrays(path, header, arrays)


def load(path: str | Path, layer: Any = None) -> tuple[Network | Chain, Any]:
    """Network and parameters of a file that `save` has written.

    Parameters
    ----------
    path : str or Path
    layer : layer of the user's own, optional
        The same as the network was made with, if that was one.  For a chain a tuple
        with one for each network, None where it has none of the user's own.

    Returns
    -------
    net : Network or Chain
    params : Params, or a tuple of them
        With the bits that were saved.

    Raises
    ------
    OSError
        If there is no file, or it may not be read.
    ValueError
        If the file is something else or damaged, or needs another ``layer``.
    """
    path = Path(path)
    header, arrays = read_arrays(path)
    try:
        net = restore_network(_network_of(header), layer)
        return net, _params(net, arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _network_of(header: Any) -> Any:
    """Description of the network, if the header is one that can be read."""
    if not isinstance(header, Mapping) or header.get("format") != FORMAT:
        raise ValueError("it holds no network; needed a file that mg.save wrote")
    version = header.get("version")
    if version != VERSION:
        raise ValueError(
            f"it has version {version} of the format, written by mgresnet "
            f"{header.get('mgresnet')}; needed version {VERSION}, which mgresnet "
            f"{__version__} reads: use the mgresnet that wrote it"
        )
    return header.get("network")


def _params(net: Network | Chain, arrays: Mapping[str, Array]) -> Any:
    """Parameters of all networks, checked."""
    needed = {
        f"{prefix}{name}": shape
        for prefix, one in prefixes(net)
        for name, shape in _shapes(one).items()
    }
    if needed.keys() != arrays.keys():
        raise ValueError(
            f"it has the arrays {sorted(arrays)}, the network needs {sorted(needed)}; "
            "take a copy of the file as it was written"
        )
    dtype = next(iter(arrays.values())).dtype
    checked = {
        name: floats(name, arrays[name], shape, dtype, "another array has")
        for name, shape in needed.items()
    }
    trees = [
        Params(
            opening=checked.get(f"{prefix}opening"),
            body=checked[f"{prefix}body"],
            head=checked.get(f"{prefix}head"),
        )
        for prefix, _ in prefixes(net)
    ]
    return tuple(trees) if isinstance(net, Chain) else trees[0]


def _shapes(net: Network) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters that a network has."""
    ends = {"opening": net.opening, "head": net.head}
    shapes = {name: (one.n_params,) for name, one in ends.items() if one is not None}
    rows = net.control.n_rows(net.depth), net.layer.n_params
    return {**shapes, "body": rows}
