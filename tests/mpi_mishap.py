"""Training with a mishap: an exception in some phase, a signal, a file cut short.

    mpiexec -n 3 python tests/mpi_mishap.py fail adjoint 1
    mpiexec -n 3 python tests/mpi_mishap.py ranks FOLDER train peaks --output OUT
    python tests/mpi_mishap.py halfway network.npz train peaks --output OUT

The first trains two steps, with an exception on rank 1 in the second.  The others are
``mgresnet train``: the second puts the process number of every rank into a file, the
third dies, or is refused, as soon as it has written a few bytes of the named file.
"""

import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path

from mpi_program import CASES, problem

import mgresnet as mg
from mgresnet.__main__ import main
from mgresnet.parallel import launched_ranks

CASE = CASES["two levels"]
FEW_BYTES = 64


class Trap:
    """Hands on what another object has, but one of its functions raises when armed.

    Parameters
    ----------
    target : object
    name : str
        Of the function.
    when : callable
        ``(*arguments) -> bool``: the calls that raise.
    complaint : str
    """

    def __init__(self, target, name, when, complaint):
        self.armed = False
        self._target, self._name = target, name
        self._when, self._complaint = when, complaint

    def __getattr__(self, name):
        found = getattr(self._target, name)
        if name != self._name:
            return found

        def call(*arguments, **options):
            if self.armed and self._when(*arguments):
                raise RuntimeError(self._complaint)
            return found(*arguments, **options)

        return call


def always(*arguments):
    """Any call."""
    return True


def coarse(steps, *arguments):
    """A march on a coarse level."""
    return steps.span > 1


def fine(*arguments):
    """A march on the finest level."""
    return not coarse(*arguments)


def gradient(*arguments):
    """A pass back through layers that finds gradients for the parameters."""
    *_, d_theta, _ = arguments
    return d_theta.size > 0


# Part that fails, its function, and which calls.
PHASES = {
    "opening": ("opening", "apply", always),
    "forward": ("layer", "march", fine),
    "coarse": ("layer", "march", coarse),
    "loss": ("objective", "value_and_seed", always),
    "head": ("head", "pull_back", always),
    "coarse-adjoint": ("layer", "march_back", coarse),
    "gradient": ("layer", "retrace", gradient),
    "opening-gradient": ("opening", "gradient", always),
    "update": ("optimiser", "update", always),
}


def fail(phase, rank):
    """Train two steps; in the second, one rank fails in a phase."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    parts = {name: getattr(CASE.net, name) for name in ("opening", "layer", "head")}
    parts |= {"objective": mg.SoftmaxCrossEntropy(), "optimiser": CASE.optimiser}
    part, name, when = PHASES[phase]
    trap = Trap(parts[part], name, when, f"mishap in {phase} on rank {rank}")
    parts[part] = trap  # on all ranks, which may not differ
    params, samples = problem(CASE)

    def batches():
        yield samples
        trap.armed = world.rank == int(rank)
        yield samples

    rest = {name: parts.pop(name) for name in ("objective", "optimiser")}
    options = {"forward": CASE.forward, "adjoint": CASE.adjoint, "comm": world}
    net = replace(CASE.net, **parts)
    for record in mg.train(net, params, batches(), **rest, **options):
        if world.rank == 0:
            print(f"trained step {record.step}", flush=True)
    raise AssertionError("the mishap did not happen")


def ranks(folder, *arguments):
    """Run the command line on ranks whose process numbers are known."""
    Path(folder, str(launched_ranks().rank)).write_text(str(os.getpid()))
    sys.exit(main(arguments))


def halfway(name, *arguments):
    """Run the command line, and die when a file has got its first bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    full(name, *arguments)


def full(name, *arguments):
    """Run the command line with a file that cannot become larger than a few bytes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def watch(event, details):
        if event == "open" and str(details[0]).endswith(name):
            resource.setrlimit(resource.RLIMIT_FSIZE, (FEW_BYTES, FEW_BYTES))

    sys.addaudithook(watch)
    sys.exit(main(arguments))


ACTIONS = {"fail": fail, "ranks": ranks, "halfway": halfway, "full": full}

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](*sys.argv[2:])
