"""Seconds of a training step of a network that deepens with the number of ranks.

    mpiexec -n 4 python -m mpi4py benchmarks/weak_scaling.py --layers-per-rank 64
    python benchmarks/weak_scaling.py --ranks 4 --methods serial-c-points

The final time stays, so that more layers are smaller steps.
"""

from _scaling_job import measure, parser

from mgresnet.parallel.choose import launched_ranks


def main() -> None:
    """Measure on the ranks of this job."""
    options = parser(__doc__.splitlines()[0])
    add = options.add_argument
    add("--layers-per-rank", type=int, default=64)
    add("--ranks", type=int, help="that the network is for, if not those of the job")
    arguments = options.parse_args()
    comm = launched_ranks()
    depth = arguments.layers_per_rank * (arguments.ranks or comm.size)
    measure("weak", depth, arguments, comm)


if __name__ == "__main__":
    main()
