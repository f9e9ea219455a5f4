"""Seconds of a training step of one network on any number of ranks.

    mpiexec -n 4 python -m mpi4py benchmarks/strong_scaling.py --methods 0 1 adaptive
    python benchmarks/strong_scaling.py --methods serial-all serial-c-points pytorch

Methods and coarsenings take turns step by step; ``python benchmarks scaling`` runs this
on many numbers of ranks and draws the figures.
"""

from mgresnet.parallel.choose import launched_ranks
from scaling.job import measure, parser

if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--depth", type=int, default=1024)
    a = options.parse_args()
    measure("strong", a.depth, a, launched_ranks())
