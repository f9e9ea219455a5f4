"""How functions are compiled, and when the compiled code is out of date."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numba.extending

from mgresnet.arrays.layout import LARGE, LINE
from mgresnet.kernels.disk import DiskCache

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError(
        "NUMBA_DISABLE_JIT is set, but kernels consist of instructions that only a "
        "compiler knows; unset it for programs that use mgresnet"
    )

# Numba's disk cache sees that the file of a kernel changes, and no other.  A digest of
# these, and of the sizes that they go by, is therefore part of the kernels' names.
PARTS = (
    "activations",
    "blocks",
    "cell_records",
    "channels",
    "compiled",
    "gates",
    "outer",
    "panels",
    "planes",
    "sums",
    "vectors",
)


def _digest() -> str:
    texts = (Path(__file__).with_name(f"{name}.py").read_bytes() for name in PARTS)
    sizes = repr((LINE, LARGE)).encode()
    return hashlib.sha256(b"".join((*texts, sizes))).hexdigest()[:12]


DIGEST = _digest()

PART: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

KERNELS: list[Any] = []  # all that Python calls

intrinsic: Any = numba.extending.intrinsic  # its type suits Python's callers only


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with the disk cache, the GIL released and NumPy's error model.

    Sums have the order that is written down, fused multiply-adds are those that are.
    """
    function.__qualname__ += f"_{DIGEST}"
    compiled = _compile(function)
    compiled._cache = DiskCache.of(function)  # type: ignore[attr-defined]
    KERNELS.append(compiled)
    return compiled


class Use(NamedTuple):
    """How many kernels came from the disk cache, and how many had to be compiled."""

    found: int
    compiled: int


def cache_use() -> Use:
    """Use of the disk cache by this process so far; a type of numbers counts extra."""
    stats = [kernel.stats for kernel in KERNELS]
    return Use(
        sum(sum(s.cache_hits.values()) for s in stats),
        sum(sum(s.cache_misses.values()) for s in stats),
    )


def cache_folder() -> str:
    """Folder of the disk cache."""
    return KERNELS[0].stats.cache_path or "none, there is no folder that can be written"


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of every kernel that calls it."""
    return _compile(function, forceinline=True, **PART)


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile once for all the calls in a kernel."""
    return _compile(function, **PART)


def _compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    compiled: Callable[..., Any] = numba.njit(
        nogil=True, error_model="numpy", **options
    )(function)
    return compiled
