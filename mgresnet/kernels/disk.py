"""Numba's disk cache of a kernel, done without where it fails.

A file may be cut short, as by a job that was killed or by a full disk, and there may be
no folder that can be written.  A kernel is then compiled, which takes seconds.
"""

import functools
import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Self

from numba.core.caching import FunctionCache, NullCache

LOG = logging.getLogger("mgresnet")


class DiskCache(NamedTuple):
    """What Numba asks of a cache."""

    files: Any

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Self:
        """Cache of a function, of nothing if no folder can be written."""
        try:
            return cls(FunctionCache(function))  # type: ignore[no-untyped-call]
        except RuntimeError:
            return cls(NullCache())

    @property
    def cache_path(self) -> str | None:
        """Folder of the files."""
        path: str | None = self.files.cache_path
        return path

    def load_overload(self, sig: Any, target: Any) -> Any:
        """Compiled code, or None if it is not there or damaged."""
        found = None
        try:
            found = self.files.load_overload(sig, target)
        except Exception:  # whatever damaged bytes lead to
            with suppress(OSError):
                self.files.flush()
        if found is None:
            _announce(self.cache_path)
        return found

    def save_overload(self, sig: Any, compiled: Any) -> None:
        """Keep compiled code, if there is room for it."""
        if self.cache_path is None:
            warn("there is no folder that can be written")
            return
        try:
            self.files.save_overload(sig, compiled)
        except OSError as error:
            warn(f"{self.cache_path} cannot be written ({error.strerror})")

    def flush(self) -> None:
        """Forget all code."""
        self.files.flush()


@functools.cache
def _announce(folder: str | None) -> None:
    """Say once why nothing happens for a while."""
    LOG.info("compiling, once: kernels are kept in %s", folder or "memory")


def warn(why: str) -> None:
    """Say that the next process compiles again."""
    warnings.warn(
        f"compiled kernels are not kept, every process compiles them again: {why}; set "
        "NUMBA_CACHE_DIR to a folder of your own",
        RuntimeWarning,
        stacklevel=2,
    )
