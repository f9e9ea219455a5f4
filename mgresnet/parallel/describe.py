"""Plain texts for what a call was given, that ranks can compare.

Records are taken apart, field by field; settings in the closures of this package's own
functions are part of them.  Functions and objects of a caller go by their names: they
may hold what differs from rank to rank.
"""

import dataclasses
import functools
from collections.abc import Iterator
from enum import Enum
from types import FunctionType
from typing import Any

import numpy as np

PLAIN = bool | int | float | complex | str | bytes | Enum | None
OURS = __name__.partition(".")[0] + "."


def texts_of(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Names and texts of a value and of all that it is made of."""
    if isinstance(value, PLAIN):
        yield name, value if isinstance(value, str) else repr(value)
        return
    yield name, _text(value)
    if isinstance(value, np.ndarray):
        return
    for part, inner in _parts(value).items():
        yield from texts_of(f"{name}.{part}", inner)


def _text(value: Any) -> str:
    """What a value is, apart from its parts."""
    if isinstance(value, np.ndarray):
        return f"{dtype_text(value.dtype)} {value.shape}"
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, list):
        return _text_of_list(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return str(named.__qualname__).partition(".<locals>")[0].lstrip("_")


dtype_text = functools.cache(str)  # takes longer than all else


def _text_of_list(values: list[Any]) -> str:
    """A list stands for an array."""
    try:
        return _text(np.asarray(values))
    except ValueError:
        return f"list of {len(values)}"


def _parts(value: Any) -> dict[str, Any]:
    """Fields of a record, entries of a tuple, settings of a function; or nothing."""
    if isinstance(value, type):
        return {}
    if dataclasses.is_dataclass(value):
        fields = (f.name for f in dataclasses.fields(value) if f.compare)
        return {name: getattr(value, name) for name in fields}
    if isinstance(value, tuple):
        names = getattr(value, "_fields", range(len(value)))
        return {str(name): part for name, part in zip(names, value, strict=True)}
    if isinstance(value, functools.partial):
        return {"function": value.func, "arguments": value.args, **value.keywords}
    if isinstance(value, FunctionType) and value.__module__.startswith(OURS):
        cells = value.__closure__ or ()
        names = value.__code__.co_freevars
        return {n: c.cell_contents for n, c in zip(names, cells, strict=True)}
    return {}
