"""Parameters by the names and in the shapes that a torch module has for them.

The module has ``opening`` and ``head``, each a torch.nn.Linear, and a ModuleList
``layers`` with one for each layer, or only ``layer`` where all share it; that of a
`GRU` is a torch.nn.GRU.  A chain is a torch.nn.Sequential of such modules.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mgresnet.arrays.checks import floats, provides
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain
from mgresnet.control import Free, Shared
from mgresnet.layers import GRU, Dense, Linear
from mgresnet.network import Network, Params
from mgresnet.saving.whole import prefixes, whole

ROUNDING = 64  # units in the last place that a spline may be away from layers' values


def state_dict(net: Network | Chain, params: Any) -> dict[str, Array]:
    """Copies of all parameters, by the names that a torch module has for them.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Of the whole network.

    Returns
    -------
    dict of ndarray
        Of a `Linear` a weight (n_outputs, n_inputs) and a bias (n_outputs,), which a
        scalar bias fills; of a `GRU` what torch.nn.GRU has; of other layers and maps
        the row of ``params`` (n_params,).
        Of a spline it is the layers' values.
    """
    arrays = {}
    for (prefix, one), tree in zip(prefixes(net), whole(net, params), strict=True):
        rows = one.control.values(tree.body, one.depth, range(one.depth))
        values: dict[str, Any] = {"opening": tree.opening, "head": tree.head}
        values |= dict(zip(_layers(one), rows, strict=True))
        for name, part in _parts(one):
            for key, value in _entries(part, values[name]).items():
                arrays[f"{prefix}{name}.{key}"] = np.array(value)
    return arrays


def from_state_dict(net: Network | Chain, arrays: Mapping[str, Any]) -> Any:
    """Parameters of a network from what `state_dict` or a torch module has.

    Parameters
    ----------
    net : Network or Chain
    arrays : mapping of str to array_like
        No more and no fewer than `state_dict` gives, all of one dtype; tensors of torch
        on the CPU are fine.

    Returns
    -------
    Params, or a tuple of them

    Raises
    ------
    ValueError, TypeError
        If an array is missing, unknown or of another shape or dtype, or if the layers'
        values are not those of a spline that the network has for them, or the biases
        of a scalar bias not all the same.
    """
    provides("arrays", arrays, ("keys", "items"), "mg.state_dict(net, params)")
    named = [
        (f"{prefix}{name}", part)
        for prefix, one in prefixes(net)
        for name, part in _parts(one)
    ]
    needed = {
        f"{name}.{key}": value.shape
        for name, part in named
        for key, value in _entries(part, np.zeros(part.n_params)).items()
    }
    checked = _checked(arrays, needed)
    rows = {name: _row(name, part, checked) for name, part in named}
    trees = [_params(prefix, one, rows) for prefix, one in prefixes(net)]
    return tuple(trees) if isinstance(net, Chain) else trees[0]


def _layers(net: Network) -> list[str]:
    """Names of the layers that have parameters of their own."""
    if isinstance(net.control, Shared):
        return ["layer"]
    return [f"layers.{n}" for n in range(net.depth)]


def _parts(net: Network) -> Iterator[tuple[str, Any]]:
    """Opening, layers and head, and what they are called."""
    if net.opening is not None:
        yield "opening", net.opening
    for name in _layers(net):
        yield name, net.layer
    if net.head is not None:
        yield "head", net.head


def _linear(part: Any) -> Linear | None:
    """What torch would have a torch.nn.Linear for."""
    affine = part.map if isinstance(part, Dense) else part
    return affine if isinstance(affine, Linear) else None


def _entries(part: Any, row: Array) -> dict[str, Array]:
    """Arrays of a layer or map, by the last part of their names."""
    if isinstance(part, GRU):
        names = (name for name, _ in part.parts)
        return {n: x[0] for n, x in zip(names, part.unpack(row[None]), strict=True)}
    affine = _linear(part)
    if affine is None:
        return {"params": row} if part.n_params else {}
    weight, bias = affine.unpack(row)
    if bias is None:
        return {"weight": weight}
    return {"weight": weight, "bias": np.broadcast_to(bias, affine.n_outputs)}


def _row(name: str, part: Any, arrays: Mapping[str, Array]) -> Array:
    """Inverse of `_entries`: the flat parameters of a layer or map."""
    if isinstance(part, GRU):
        values = (arrays[f"{name}.{key}"][None] for key, _ in part.parts)
        row: Array = part.pack(*values)[0]
        return row
    affine = _linear(part)
    if affine is None:
        return arrays.get(f"{name}.params", np.zeros(0, _dtype(arrays)))
    bias = arrays.get(f"{name}.bias")
    if bias is not None and affine.bias == "scalar":
        if np.unique(bias).size > 1:
            raise ValueError(
                f"{name}.bias runs from {bias.min()} to {bias.max()}, needed the same "
                "for all outputs; or make the network with bias='vector'"
            )
        bias = bias[0]
    return affine.pack(arrays[f"{name}.weight"], bias)


def _params(prefix: str, net: Network, rows: Mapping[str, Array]) -> Params:
    """Parameters of a network from the rows of its parts."""
    values = np.array([rows[f"{prefix}{name}"] for name in _layers(net)])
    opening, head = (rows.get(f"{prefix}{name}") for name in ("opening", "head"))
    return Params(opening, _controlled(net, values), head)


def _controlled(net: Network, values: Array) -> Array:
    """Rows of the body that give the layers these values."""
    control, depth = net.control, net.depth
    if isinstance(control, Free | Shared):
        return values
    rows: Array = np.linalg.lstsq(control.basis(depth), values)[0]
    rows = rows.astype(values.dtype)
    error = np.abs(control.values(rows, depth, range(depth)) - values).max()
    if not error <= ROUNDING * np.finfo(values.dtype).eps * np.abs(rows).max():
        raise ValueError(
            f"layers' values are not those of {control}, which comes within "
            f"{error:.1e} of them; needed a difference of rounding alone: leave out "
            "control= for a network with free rows"
        )
    return rows


def _checked(
    arrays: Mapping[str, Any], needed: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    """Arrays with the names and shapes that are needed, of one dtype."""
    lacking = [name for name in needed if name not in arrays]
    unknown = [name for name in arrays if name not in needed]
    for what, names in (("lack", lacking), ("have the unknown", unknown)):
        if names:
            raise ValueError(
                f"arrays {what} {', '.join(map(str, names[:4]))} ({len(names)} in "
                "all); needed the names that mg.state_dict(net, params) gives"
            )
    checked: dict[str, Array] = {}
    for name, shape in needed.items():
        dtype = _dtype(checked) if checked else None
        checked[name] = floats(name, arrays[name], shape, dtype, "the others have")
    return checked


def _dtype(arrays: Mapping[str, Array]) -> np.dtype[Any]:
    """Dtype that all arrays have."""
    return next((array.dtype for array in arrays.values()), np.dtype(float))
