"""Nested tuples of arrays and numbers as plain data, and back: no code is stored."""

from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array

PLAIN = bool | int | str | None


def pack(value: Any, arrays: dict[str, Array], name: str = "state") -> Any:
    """Describe a value in terms of JSON; its arrays go into a dictionary.

    Parameters
    ----------
    value : Any
        Arrays, numbers, texts and None, in tuples, lists and NamedTuples.
    arrays : dict
        Arrays by the name of their place, added to.
    name : str
        Of the place.

    Raises
    ------
    TypeError
        If there is something else in it; the message names the place.
    """
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSU":
        arrays[name] = np.asarray(value)
        return {"array" if isinstance(value, np.ndarray) else "scalar": name}
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if hasattr(value, "_fields"):
        fields = zip(value._fields, value, strict=True)
        parts = {field: pack(part, arrays, f"{name}.{field}") for field, part in fields}
        return {"record": type(value).__name__, "fields": parts}
    if isinstance(value, tuple | list):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [pack(x, arrays, f"{name}.{i}") for i, x in enumerate(value)]}
    raise TypeError(
        f"{name} is a {type(value).__name__}, which no file can hold; needed arrays "
        "and numbers in nested tuples or NamedTuples"
    )


def unpack(
    packed: Any, arrays: Mapping[str, Array], records: Mapping[str, type[Any]]
) -> Any:
    """Undo `pack`.

    Parameters
    ----------
    packed : Any
        Terms of JSON.
    arrays : mapping
    records : mapping
        NamedTuples by name.  What they have come to have since has its default.
        Others, also of the same name but with other fields, become new ones with these.

    Raises
    ------
    ValueError, KeyError, TypeError
        If `pack` has not made this.
    """
    if isinstance(packed, PLAIN):
        return packed
    (kind, content), *others = packed.items()
    if kind == "float":
        return float.fromhex(content)
    if kind == "array":
        return arrays[content]
    if kind == "scalar":
        return arrays[content][()]
    if kind in ("tuple", "list"):
        parts = [unpack(part, arrays, records) for part in content]
        return parts if kind == "list" else tuple(parts)
    [(_, fields)] = others
    known: Any = records.get(content)
    wanted = getattr(known, "_fields", ())
    since = wanted[len(fields) :]
    fits = wanted == (*fields, *since) and all(
        x in known._field_defaults for x in since
    )
    make = known if fits else namedtuple(content, fields)
    return make(**{name: unpack(x, arrays, records) for name, x in fields.items()})
