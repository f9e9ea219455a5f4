"""What a network is made of, as JSON holds it, and the network again.

A record of this package is its name and its fields, whatever they are.  A layer of the
user's own is code, which no file holds: its name and shapes stand in its place, and
whoever restores the network gives the layer again.
"""

from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral
from typing import Any

import numpy as np

from mgresnet.arrays.checks import members, provides
from mgresnet.chain import Chain, networks_of
from mgresnet.control import BSpline, Free, Shared
from mgresnet.layers import (
    GRU,
    Conv2d,
    Convolve,
    Dense,
    Linear,
    Pool,
    PooledLinear,
    Widen,
)
from mgresnet.layers.protocol import Layer
from mgresnet.network import Network

RECORDS = {
    record.__name__: record
    for record in (
        *(Chain, Network, Conv2d, Convolve, Dense, GRU, Linear, Pool),
        *(PooledLinear, Widen, Free, Shared, BSpline),
    )
}
SHAPES = ("state_shape", "input_shape", "n_params")


def describe_network(net: Network | Chain) -> dict[str, Any]:
    """What JSON can hold of a network or a chain.

    Raises
    ------
    TypeError
        If a part other than the layer is of the user's own, or a number is none of
        Python's.
    """
    networks_of(net)  # refuses what is no network
    description: dict[str, Any] = _described("net", net)
    return description


def restore_network(description: Any, layer: Any = None) -> Network | Chain:
    """Network or chain that was described.

    Parameters
    ----------
    description : dict
        What `describe_network` has made, also after its way through JSON.
    layer : layer of the user's own, optional
        Where the network was made with one.  For a chain a tuple with one for each
        network, None where it has none of the user's own.

    Raises
    ------
    ValueError, TypeError
        If this is no description of a network, or the layer is not the one described.
    """
    kind = description.get("record") if isinstance(description, Mapping) else None
    if kind not in ("Network", "Chain"):
        raise ValueError(
            f"needed the description of a Network or a Chain, got {description!r}"
        )
    if kind == "Network":
        net: Network = _restored(_with_layer(description, layer, "layer"))
        return net
    stages = description.get("networks")
    if not isinstance(stages, list) or not all(isinstance(s, dict) for s in stages):
        raise ValueError(f"a chain is described by its networks, got {stages!r}")
    layers = _one_each(layer, len(stages))
    filled = [
        _with_layer(stage, layers[i], f"layer[{i}]") for i, stage in enumerate(stages)
    ]
    chain: Chain = _restored({**description, "networks": filled})
    return chain


def _described(name: str, value: Any) -> Any:
    """Record, or a value that JSON keeps as it is; name says where it stands."""
    if RECORDS.get(type(value).__name__) is type(value):
        parts = {
            f.name: _described(f.name, getattr(value, f.name)) for f in fields(value)
        }
        return {"record": type(value).__name__, **parts}
    if name == "layer":
        return {"own": _name(value), **_shapes(value)}
    if isinstance(value, tuple):
        return [_described(name, item) for item in value]
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    raise TypeError(
        f"{name} is {value!r}, which no file can hold; needed "
        f"{', '.join(RECORDS)} and Python's own numbers, such as float(x); of other "
        "networks save the parameters, numpy.savez(path, **mg.state_dict(net, params))"
    )


def _restored(value: Any) -> Any:
    """Inverse of `_described`; what else there is stays as it is."""
    if isinstance(value, list):
        return tuple(map(_restored, value))
    if not isinstance(value, dict):
        return value
    name = str(value.get("record"))
    if name not in RECORDS:
        raise ValueError(
            f"there is a {name}, which this mgresnet does not know; known are "
            f"{', '.join(RECORDS)}: use the mgresnet that described it"
        )
    parts = {key: _restored(part) for key, part in value.items() if key != "record"}
    try:
        return RECORDS[name](**parts)
    except TypeError as error:
        raise ValueError(
            f"a {name} cannot be made as it is described ({error}); use the mgresnet "
            "that described it"
        ) from error


def _with_layer(
    description: Mapping[str, Any], given: Any, name: str
) -> dict[str, Any]:
    """Description of a network, with the user's own layer in its place, checked."""
    stored = description.get("layer")
    if not isinstance(stored, dict) or "own" not in stored:
        if given is None:
            return dict(description)
        raise ValueError(
            f"{name} is {given!r}, but the layer is one of this package, {stored}; "
            f"leave {name} out"
        )
    own = stored["own"]
    if given is None:
        raise ValueError(
            f"the layer is {own}, of the user's own, and no file holds its code; give "
            f"the same again, {name}={own}"
        )
    provides(name, given, members(Layer), "Explicit(rate)")
    needed = {key: stored.get(key) for key in SHAPES}
    if _shapes(given) != needed:
        raise ValueError(
            f"{name} is {_name(given)} with {_shapes(given)}, needed {needed}; give "
            f"the {own} that the network was made with"
        )
    return {**description, "layer": given}


def _one_each(layers: Any, n: int) -> tuple[Any, ...]:
    """A layer, or None, for each network of a chain."""
    if layers is None:
        return (None,) * n
    if not isinstance(layers, tuple | list) or len(layers) != n:
        raise ValueError(
            f"layer is {layers!r}, needed a tuple with one for each of the {n} "
            "networks of the chain, None where the layer is one of this package"
        )
    return tuple(layers)


def _shapes(layer: Any) -> dict[str, Any]:
    """Shapes of a layer as JSON has them."""
    return {name: np.asarray(getattr(layer, name)).tolist() for name in SHAPES}


def _name(layer: Any) -> str:
    """Qualified name of a layer's type, with that of what the person wrote."""
    written = getattr(layer, "written", None)
    kind = type(layer)
    if written is None:
        return f"{kind.__module__}.{kind.__qualname__}"
    return f"{kind.__name__}({_name(written)})"
