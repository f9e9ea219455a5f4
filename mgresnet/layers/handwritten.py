"""Calls of what a person wrote: arguments are read-only, what returns is checked."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mgresnet.arrays.checks import floats, integer
from mgresnet.arrays.layout import Array

WHERE = "docs/write-a-layer.md"


def state_from(
    function: Callable[..., Any], theta: Array, u: Array, *rest: Any
) -> Array:
    """A state, or rate of one, from a function of (theta, u, ...).

    Raises
    ------
    TypeError, ValueError
        If it is no array of numbers as u has them, of the shape of u.
    """
    found = function(*map(_read_only, (theta, u, *rest)))
    return _like(function, "result", found, u)


def gradients_from(
    function: Callable[..., Any], theta: Array, u: Array, *rest: Any
) -> list[Array]:
    """Gradients for theta, for u, and for the inputs among the arguments.

    Raises
    ------
    TypeError, ValueError
        If there are not as many, or one has not the shape of what it is for.
    """
    *before, _ = rest  # g comes last
    names = {"d_theta": theta, "d_u": u}
    for x in before:
        if isinstance(x, np.ndarray):  # and not the length of the step
            names["d_x"] = x
    found = function(*map(_read_only, (theta, u, *rest)))
    if not isinstance(found, tuple | list) or len(found) != len(names):
        raise TypeError(
            f"{_name(function)} returned {_kind(found)}, needed {', '.join(names)} "
            f"({WHERE})"
        )
    pairs = zip(names.items(), found, strict=True)
    return [_like(function, name, d, of) for (name, of), d in pairs]


def check_written(written: Any, kind: str, names: tuple[str, ...]) -> None:
    """Refuse what lacks a method or attribute of a Rate or a Cell.

    Raises
    ------
    TypeError, ValueError
        The message names all that is missing, or a size that is none.
    """
    needed = ("state_shape", "n_params", *names)
    missing = [name for name in needed if not hasattr(written, name)]
    if missing or isinstance(written, type):
        lacks = f"has no {', '.join(missing)}" if missing else "is a class"
        raise TypeError(
            f"the {kind} {written!r} {lacks}; needed is an object with "
            f"{', '.join(needed)} ({WHERE})"
        )
    for name in ("state_shape", "input_shape"):
        sizes = getattr(written, name, ())
        if not isinstance(sizes, tuple | list | None):
            raise TypeError(
                f"{name} of the {kind} {written!r} is {sizes!r}, needed a tuple of "
                f"sizes such as (8,)"
            )
        for size in sizes or ():
            integer(f"{name} of the {kind}", size, 1)
    integer(f"n_params of the {kind}", written.n_params, 0)
    integer(f"sample_block of the {kind}", getattr(written, "sample_block", 0), 0)


def parameters_from(written: Any, rng: np.random.Generator, n_layers: int) -> Array:
    """Initial parameters, shape (n_layers, n_params)."""
    name = f"init of {type(written).__name__}"
    return floats(name, written.init(rng, n_layers), (n_layers, written.n_params))


def _read_only(value: Any) -> Any:
    """A view that a function cannot write to; numbers stay as they are."""
    if not isinstance(value, np.ndarray):
        return value
    view = value.view()
    view.flags.writeable = False
    return view


def _like(function: Callable[..., Any], what: str, found: Any, of: Array) -> Array:
    """A copy, as the function may use its array again."""
    if not isinstance(found, np.ndarray):
        got = f"is {_kind(found)}"
    elif found.shape != of.shape:
        got = f"has shape {found.shape}"
    elif found.dtype.kind not in ("iufc" if of.dtype.kind == "c" else "iuf"):
        got = f"has dtype {found.dtype}"
    else:
        return np.array(found)
    error = ValueError if isinstance(found, np.ndarray) else TypeError
    raise error(
        f"{what} of {_name(function)} {got}, needed an array of shape {of.shape} and "
        f"dtype {of.dtype} ({WHERE})"
    )


def _name(function: Callable[..., Any]) -> str:
    """Such as Rate.pull_back."""
    name = str(getattr(function, "__qualname__", function))
    return name.rpartition("<locals>.")[2]


def _kind(found: Any) -> str:
    """What was returned."""
    if isinstance(found, tuple | list):
        return f"a {type(found).__name__} of {len(found)}"
    return "None" if found is None else f"a {type(found).__name__}"
