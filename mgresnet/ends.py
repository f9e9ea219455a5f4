"""Opening and head of a network: maps, which may be anybody's, and their parameters."""

from typing import Any

from mgresnet.arrays.checks import floats
from mgresnet.arrays.layout import Array
from mgresnet.layers.protocol import Map


def own_map(name: str, part: Map | None, theta: Any, body: Array) -> Array | None:
    """Parameters of opening or head, if they are there."""
    if theta is None:
        return None
    if part is None:
        raise ValueError(
            f"params.{name} is given, but the network has no {name}; needed None, or "
            f"a network with {name}=Linear(...)"
        )
    return floats(name, theta, (part.n_params,), body.dtype, "body has")


def applied(name: str, part: Map, theta: Array | None, x: Array) -> Array:
    """What a map, which may be anybody's, makes of a batch."""
    values = part.apply(owned(name, theta), x)
    shape = (len(x), part.n_outputs)
    return floats(f"output of the {name}", values, shape, x.dtype, "its input has")


def owned(name: str, theta: Array | None) -> Array:
    """Return parameters that must be there."""
    if theta is None:
        raise ValueError(
            f"the network has this {name} but params.{name} is None; it lives on the "
            "rank that owns the first (opening) or the last (head) layer"
        )
    return theta


def pulled_back(
    name: str, part: Map, theta: Array | None, x: Array, seed: Array
) -> tuple[Array, Array]:
    """Gradients of a map, which may be anybody's, for parameters and a batch."""
    d_theta, d_x = part.pull_back(owned(name, theta), x, seed)
    return _gradient(name, part, d_theta, x), floats(
        f"gradient of the {name} for x", d_x, x.shape, x.dtype, "x has"
    )


def gradient_alone(
    name: str, part: Map, theta: Array | None, x: Array, seed: Array
) -> Array:
    """Gradient for the parameters alone, which some maps find for less."""
    known = getattr(part, "gradient", None)
    if not callable(known):
        return pulled_back(name, part, theta, x, seed)[0]
    return _gradient(name, part, known(owned(name, theta), x, seed), x)


def _gradient(name: str, part: Map, d_theta: Any, x: Array) -> Array:
    what = f"gradient of the {name} for theta"
    return floats(what, d_theta, (part.n_params,), x.dtype, "x has")
