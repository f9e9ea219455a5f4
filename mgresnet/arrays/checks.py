"""Checks of what callers pass in, in one voice: what was given, needed, what to try."""

import operator
from typing import Any


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
            f"{name} must be an integer, got {value!r}; try {least}"
        ) from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
