"""Checks of what callers pass in, in one voice: what was given, needed, what to try."""

import math
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array

Sizes = tuple[int | str, ...]
NUMBERS = "biufc"  # kinds of dtypes
ANY: Sizes = ("...",)
FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


def integer(name: str, value: Any, least: int) -> int:
    """Return a number as an int, or say what is wrong with it.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    value : int
        NumPy's integers are fine, True and False are not.
    least : int
        Smallest allowed value.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is too small.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an integer, got {_shown(value)}; try "
            f"{_nearest(value, least)}"
        ) from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def _nearest(value: Any, least: int) -> int:
    """Integer from a float or a string upwards, else the least allowed."""
    try:
        number = float(value) if isinstance(value, str | float | np.floating) else 0.0
    except ValueError:
        return least
    return math.ceil(number) if least <= number < 2**53 else least


def real(name: str, value: Any, example: float = 1.0) -> float:
    """Return a real number as a float, or say that it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{name} must be a real number, got {_shown(value)}; try {example}"
        )
    return float(value)


def truth(name: str, value: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {_shown(value)}")


def choose(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Refuse what is none of the choices."""
    known = [*choices]
    kinds = tuple({type(one) for one in known})
    if isinstance(value, bool) or not isinstance(value, kinds) or value not in known:
        names = ", ".join(map(str, known))
        raise ValueError(f"unknown {name} {value!r}; choose from {names}")


def image_shape(name: str, value: Any) -> tuple[int, int, int]:
    """Channels, height and width, or what is wrong with them."""
    sizes = tuple(value) if isinstance(value, tuple | list) else ()
    if len(sizes) != 3:
        raise ValueError(
            f"{name} must be (channels, height, width), got {_shown(value)}; try "
            "(8, 32, 32)"
        )
    parts = ("channels", "height", "width")
    named = zip(parts, sizes, strict=True)
    c, h, w = (integer(f"{part} of {name}", size, 1) for part, size in named)
    return c, h, w


def provides(name: str, value: Any, members: Iterable[str], example: str) -> None:
    """Refuse what lacks a method or an attribute that will be asked for.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    value : object
    members : iterable of str
    example : str
        Something that has them all.

    Raises
    ------
    TypeError
        If one is missing, or if it is a class in place of an instance.
    """
    if isinstance(value, type):
        raise TypeError(
            f"{name} is the class {value.__name__}, needed an instance such as "
            f"{example}"
        )
    lacking = [member for member in members if not hasattr(value, member)]
    if lacking:
        raise TypeError(
            f"{name} is {_shown(value)}, which has no {', '.join(lacking)}; needed "
            f"something like {example}"
        )


def members(protocol: type) -> list[str]:
    """Public methods and attributes of a protocol."""
    return [name for name in vars(protocol) if not name.startswith("_")]


def floats(
    name: str,
    value: Any,
    shape: Sizes = ANY,
    dtype: np.dtype[Any] | None = None,
    owner: str = "the parameters have",
) -> Array:
    """Array of numbers that kernels can read, or say what is wrong with it.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    value : array_like
        Lists of Python's floats are float64.  Any strides will do; integers and other
        byte orders are refused.
    shape : tuple of int or str, optional
        Needed sizes; a str names one that may be any, "..." stands for any.
    dtype : dtype, optional
        That of another array; by default float64 or float32.
    owner : str
        Which array has that dtype, for the message.

    Raises
    ------
    TypeError
        If it holds no such numbers.
    ValueError
        If the shape does not fit.
    """
    values: Array = value
    if type(value) is not np.ndarray or value.dtype.kind != "f":
        values = as_array(name, value, f"an array of floats, shape {_written(shape)}")
    if values.dtype.kind == "c":
        real_part = f"{name}.real" if values is value else f"np.real({name})"
        raise TypeError(
            f"{name} has dtype {values.dtype}, needed real numbers; try {real_part}, "
            "which leaves out the imaginary parts"
        )
    if values.dtype not in FLOATS or values.dtype != (dtype or values.dtype):
        needed = "needed float64 or float32" if dtype is None else f"{owner} {dtype}"
        convert = "np.asarray({}, {})" if values is not value else "{}.astype({})"
        raise TypeError(
            f"{name} has dtype {values.dtype}, {needed}; try "
            f"{convert.format(name, f'np.{dtype or FLOATS[0]}')}"
        )
    fits = shape is ANY or values.shape == shape or _fits(values.shape, shape)
    if not fits:
        raise ValueError(f"{name} has shape {values.shape}, needed {_written(shape)}")
    return values if values.flags.aligned else values.copy()


def check_states(
    values: Any,
    name: str,
    features: tuple[int, ...],
    dtype: np.dtype[Any],
    batch: int | None = None,
) -> Array:
    """A batch of states of the right shape and dtype."""
    shape = ("batch" if batch is None else batch, *features)
    states = floats(name, values, shape, dtype)
    if len(states) == 0:
        raise ValueError(f"{name} is an empty batch; give at least one sample")
    return states


def check_finite(values: Array, name: str, axes: tuple[str, ...] = ("sample",)) -> None:
    """Refuse NaN and infinity in a batch, whose first axes have names."""
    finite = np.isfinite(values)
    if not finite.all():
        first = np.unravel_index(int(finite.argmin()), finite.shape)
        where = ", ".join(f"{a} {i}" for a, i in zip(axes, first, strict=False))
        raise ValueError(
            f"{name} has NaN or infinity, first in {where}; remove or repair such "
            f"{axes[0]}s"
        )


def as_array(name: str, value: Any, needed: str) -> NDArray[Any]:
    """Array of numbers of any kind, or say what is needed."""
    if type(value) is np.ndarray and value.dtype.kind in NUMBERS:
        return value
    if np.ma.is_masked(value):
        raise TypeError(
            f"{name} has masked values, needed {needed}; leave these samples out, or "
            "fill them in by .filled(value)"
        )
    try:
        values = np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{name} has rows of different lengths, needed {needed}"
        ) from None
    if values.dtype.kind not in NUMBERS:
        given = (
            f"an array of dtype {values.dtype}" if values is value else _shown(value)
        )
        raise TypeError(f"{name} is {given}, needed {needed}")
    return values


def _fits(got: tuple[int, ...], needed: Sizes) -> bool:
    """Whether an array has the sizes that matter."""
    if "..." in needed:
        place = needed.index("...")
        more = len(got) - len(needed) + 1
        needed = (*needed[:place], *["any"] * more, *needed[place + 1 :])
    if len(got) != len(needed):
        return False
    for a, b in zip(got, needed, strict=True):
        if a != b and type(b) is int:
            return False
    return True


def _written(shape: Sizes) -> str:
    """Sizes as NumPy writes them."""
    comma = "," if len(shape) == 1 else ""
    return f"({', '.join(map(str, shape))}{comma})"


def _shown(value: Any) -> str:
    """What was given, in a few words."""
    text = repr(value)
    return text if len(text) <= 40 and "\n" not in text else f"a {type(value).__name__}"
