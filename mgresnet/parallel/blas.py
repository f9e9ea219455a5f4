"""Threads of the library behind NumPy's products: one where ranks share a node.

That library starts as many threads as there are cores, on every rank.  Small products
on more threads than cores can be a hundred times slower.
"""

import functools
import os

from threadpoolctl import threadpool_info, threadpool_limits

from mgresnet.parallel.oversubscription import ranks_here

# The user's own choice, which stands.
CHOICES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
)


@functools.cache
def limit_blas(n_ranks: int) -> None:
    """Leave one thread to BLAS if this node has several of the ranks.

    Without word from the launcher all ranks are taken to be on one node.
    """
    if ranks_here(n_ranks) > 1 and not any(name in os.environ for name in CHOICES):
        threadpool_limits(1, user_api="blas")


def blas_threads() -> int:
    """Threads that NumPy's products may use on this rank."""
    pools = [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
    return max(pools, default=1)
