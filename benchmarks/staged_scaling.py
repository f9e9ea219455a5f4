"""Seconds of a training step of a staged network of images on any number of ranks.

    mpiexec -n 4 python -m mpi4py benchmarks/staged_scaling.py --methods exact 0 1
    python benchmarks/staged_scaling.py --methods exact

Methods take turns step by step: exact propagation, in turns of samples, or so many
corrections in every stage.  ``python benchmarks image_scaling`` runs this on many
numbers of ranks.
"""

from images.scaling import measure_ranks, parser
from mgresnet.parallel.choose import launched_ranks

if __name__ == "__main__":
    a = parser(__doc__).parse_args()
    comm = launched_ranks()
    for row in measure_ranks(comm, vars(a)):
        if comm.rank == 0:
            print("P={ranks} {method}: {milliseconds:.1f} ms".format(**row))
