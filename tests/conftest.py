"""How tests share a machine, if several processes run them (``pytest -n auto``)."""

import os
from pathlib import Path

# Numba's disk cache takes no locks: of two processes that compile a kernel for other
# types at the same time, one may later be given the code of the other.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    cache = Path(__file__).parents[1] / ".numba_cache" / worker
    os.environ["NUMBA_CACHE_DIR"] = str(cache)


def pytest_collection_modifyitems(items):
    """Jobs on ranks come last, when kernels are compiled; before others, slow ones."""
    items.sort(key=lambda item: ("mpi" in item.keywords, "slow" not in item.keywords))
