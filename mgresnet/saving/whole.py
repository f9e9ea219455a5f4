"""Parameters of a whole network, or of all networks of a chain."""

from typing import Any

from mgresnet.chain import Chain, networks_of
from mgresnet.network import Network, Params
from mgresnet.solve.stages import trees_of


def prefixes(net: Network | Chain) -> list[tuple[str, Network]]:
    """Networks, and what their arrays' names begin with: "0.", "1.", .. in a chain."""
    numbered = isinstance(net, Chain)
    networks = enumerate(networks_of(net))
    return [(f"{i}." if numbered else "", one) for i, one in networks]


def whole(net: Network | Chain, params: Any) -> list[Params]:
    """Parameters of every network, checked.

    Raises
    ------
    ValueError, TypeError
        If they do not fit, or are what one of several ranks owns.
    """
    trees = trees_of(net, params)
    stages = zip(prefixes(net), trees, strict=True)
    return [_whole(prefix, one, tree) for (prefix, one), tree in stages]


def _whole(prefix: str, net: Network, params: Any) -> Params:
    if isinstance(params, Params) and (lacking := _lacking(net, params)):
        parts = " and ".join(f"{prefix}{part}" for part in lacking)
        raise ValueError(
            f"of the parameters {parts}, needed all: a rank has only those of its own "
            "layers; first join those of all ranks by whole_params"
        )
    return net.own(params, range(net.depth))


def _lacking(net: Network, params: Params) -> list[str]:
    """What one of several ranks does not have."""
    ends = [name for name in ("opening", "head") if getattr(net, name) is not None]
    lacking = [f"{name} is None" for name in ends if getattr(params, name) is None]
    held: tuple[int, ...] = getattr(params.body, "shape", ())
    needed = net.depth, net.layer.n_params
    if not net.control.shared and held[1:] == needed[1:] and held < needed:
        lacking.append(f"body has {held[0]} of {needed[0]} rows")
    return lacking
