"""Seconds of a training step of one network on any number of ranks.

    mpiexec -n 4 python -m mpi4py benchmarks/strong_scaling.py --methods 0 1 adaptive
    python benchmarks/strong_scaling.py --methods serial-all serial-c-points pytorch

Methods and coarsenings take turns step by step; `scaling.py` runs this on many numbers
of ranks and draws the figures.
"""

from _scaling_job import measure, parser

from mgresnet.parallel.choose import launched_ranks


def main() -> None:
    """Measure on the ranks of this job."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--depth", type=int, default=1024)
    arguments = options.parse_args()
    measure("strong", arguments.depth, arguments, launched_ranks())


if __name__ == "__main__":
    main()
