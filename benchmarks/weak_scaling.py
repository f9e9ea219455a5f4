"""Seconds of a training step of a network that deepens with the number of ranks.

    mpiexec -n 4 python -m mpi4py benchmarks/weak_scaling.py --layers-per-rank 64
    python benchmarks/weak_scaling.py --ranks 4 --methods serial-c-points

The final time stays, so that more layers are smaller steps.
"""

from mgresnet.parallel.choose import launched_ranks
from scaling.job import measure, parser

if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--layers-per-rank", type=int, default=64)
    options.add_argument("--ranks", type=int, help="that the network is for")
    a = options.parse_args()
    comm = launched_ranks()
    measure("weak", a.layers_per_rank * (a.ranks or comm.size), a, comm)
