"""Checks of the whole numbers that callers pass in."""

import operator


def integer_at_least(field: str, value: int, least: int) -> int:
    """Return `value` as an int, or say what is wrong with it.

    Parameters
    ----------
    field : str
        Name of the argument, for the message.
    value : int
        What the caller gave; NumPy integers are fine.
    least : int
        Smallest allowed value.

    Returns
    -------
    int
        The value.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{field}={value!r} is of type {type(value).__name__}; expected an "
            f"integer, try {field}={least}"
        ) from None
    if number < least:
        raise ValueError(
            f"{field}={number}; expected at least {least}, try {field}={least}"
        )
    return number
