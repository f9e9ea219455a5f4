"""Rows of numbers: choosing, averaging, rounding, and tables in Markdown."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

Rows = list[dict[str, Any]]


def table(head: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Aligned, the first column to the left and the others to the right."""
    body = [head, *([str(entry) for entry in row] for row in rows)]
    widths = [max(2, *map(len, column)) for column in zip(*body, strict=True)]
    body.insert(1, ["-" * widths[0], *(f"{'-' * (w - 1)}:" for w in widths[1:])])
    aligned = ("<", *">" * (len(head) - 1))
    lines = (
        " | ".join(f"{c:{a}{w}}" for c, a, w in zip(line, aligned, widths, strict=True))
        for line in body
    )
    return "\n".join(f"| {line} |" for line in lines)


def select(rows: Rows, **wanted: Any) -> Rows:
    """Rows with these entries."""
    return [r for r in rows if all(r[key] == value for key, value in wanted.items())]


def distinct(rows: Rows, *keys: str) -> list[Any]:
    """Values of an entry, or tuples of those of several, in order of appearance."""
    values = (tuple(row[key] for key in keys) for row in rows)
    return [v if len(keys) > 1 else v[0] for v in dict.fromkeys(values)]


def floats(values: Any) -> Any:
    """Array in which None is nan."""
    return np.array(values, dtype=np.float64)


def geometric_mean(values: Any) -> Any:
    """Over the first axis."""
    return np.exp(np.mean(np.log(np.maximum(values, 1e-300)), axis=0))


def rounded(values: Any, digits: int = 3) -> Any:
    """Numbers with a few digits, nested as the values are; None if not finite."""
    if np.ndim(values):
        return [rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if math.isfinite(values) else None


def short(values: Iterable[Any]) -> str:
    """Numbers with two digits; a dash for None and nan."""
    return " ".join(f"{'-':>7}" if v is None or v != v else f"{v:7.1e}" for v in values)
