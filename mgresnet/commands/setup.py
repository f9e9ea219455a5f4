"""Options of ``mgresnet train``, and the checked objects they stand for."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mgresnet.arrays.checks import integer
from mgresnet.arrays.trees import tree_map
from mgresnet.commands.choices import OPTIMISERS, SCHEDULES
from mgresnet.commands.folder import CONFIG, claim
from mgresnet.commands.networks import (
    add_network,
    build_network,
    choose,
    coarse_operator,
    preset,
)
from mgresnet.data import PROBLEMS, Batch, Problem, batches, load_own, load_problem
from mgresnet.kernels.threads import set_threads
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.learning.frames import with_frame_features
from mgresnet.learning.ladder import default_options
from mgresnet.learning.transforms import Transform, chain, clip_by_global_norm
from mgresnet.mgrit.options import INITIAL_GUESSES, MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.parallel import ProcessGrid, TimeComm
from mgresnet.parallel.grid import layer_ranks
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.solve.objectives import Objective
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.regression import LeastSquares
from mgresnet.solve.stages import local_slab


class Setup(NamedTuple):
    """All that a training run needs."""

    arguments: argparse.Namespace
    grid: ProcessGrid
    problem: Problem
    net: Network
    params: Params  # what this rank owns
    forward: MGRITOptions
    adjoint: MGRITOptions
    objective: Objective
    optimiser: Transform
    regularisation: Regularisation
    batches: Iterator[Batch]

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches."""
        size: int = self.arguments.batch_size
        return -(-len(self.problem.train.inputs) // size)

    @property
    def checkpoint_every(self) -> int:
        """Steps from one checkpoint to the next; 0: there are none."""
        every: int | None = self.arguments.checkpoint_every
        return self.steps_per_epoch if every is None else every

    def evaluates(self, step: int) -> bool:
        """Whether the table has a line for the weights after so many steps."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        every: int = self.arguments.evaluate_every
        last: bool = epoch == self.arguments.epochs
        return rest == 0 and (last or (every > 0 and epoch % every == 0))


def factors(text: str) -> tuple[int, ...]:
    """Read ``16`` or ``4,4,4``; the empty string is ()."""
    return tuple(int(part) for part in text.split(",") if part)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    add = parser.add_argument
    add("problem", metavar="PROBLEM", nargs="?", help=", ".join(PROBLEMS))
    add("--data", metavar="FILE", help="table or .npz of sequences, not PROBLEM")
    add("--targets", metavar="COLUMNS", help="of --data, as price or x,y")
    add("--data-dir", metavar="DIR", help="folder of the original files")
    add("--n-train", type=int, help="training samples; preset")
    add("--n-validation", type=int, help="validation samples, likewise")
    add_network(parser)
    add("--dtype", default="float64", help="float64 or float32")
    add("--coarsening", type=factors, help="factors, as 16 or 4,4; 16 or by the error")
    add("--relaxations", type=factors, default=(0,), help="FC-sweeps, one or per level")
    add("--cycle", default="V", help="V, W or F")
    add("--iterations", type=int, default=10, help="coarse-grid corrections at most")
    add("--adjoint-iterations", type=int, default=10, help="the same for the adjoint")
    add("--tolerance", type=float, default=1e-3, help="relative residual; 0 goes on")
    add("--coarse-operator", help=f"{', '.join(COARSE_OPERATORS)}; matched or by error")
    add("--initial-guess", default="coarse", help=", ".join(INITIAL_GUESSES))
    add("--gradient-tolerance", type=float, help="choose iterations to keep this error")
    add("--check-every", type=int, help="steps between estimates; 1 or as many as do")
    add("--for-ranks", type=int, help="ranks for which serial solves would be cheaper")
    add("--data-ranks", type=int, default=1, help="ranks that share a batch's samples")
    add("--threads", type=int, default=1, help="threads of a rank, for the samples")
    add("--epochs", type=int, help="passes over the training data; preset")
    add("--evaluate-every", type=int, default=1, help="epochs; 0: after the last alone")
    add("--batch-size", type=int, default=100, help="samples per step")
    add("--optimiser", default="adam", help=", ".join(OPTIMISERS))
    add("--learning-rate", type=float, help="of the first step; preset")
    add("--schedule", default="cosine", help=", ".join(SCHEDULES))
    add("--clip", type=float, help="largest global norm of a gradient")
    add("--tikhonov", type=float, default=0.0, help="penalty on the size of parameters")
    add("--smoothness", type=float, default=0.0, help="penalty on change over depth")
    add("--head-tikhonov", type=float, default=0.0, help="penalty on the head")
    _add_folder(parser)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    """Declare what decides which run it is, and where it is kept."""
    add = parser.add_argument
    add("--seed", type=int, default=7, help="of data, weights and batches")
    add("--progress", action="store_true", help="show the bar also under mpiexec")
    add("--output", type=Path, metavar="DIR", help="write config, records and figures")
    add("--checkpoint-every", type=int, help="steps; 0: never, None: once an epoch")
    add("--overwrite", action="store_true", help="of an earlier run in --output")


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> Setup:
    """Build and check everything, so that bad input shows before any work is done.

    All ranks call this together, with the same arguments.
    """
    setup = build(arguments, comm)
    if arguments.output and comm.rank == 0:
        claim(arguments.output, vars(arguments), comm, arguments.overwrite)
    return setup


def build(a: argparse.Namespace, comm: TimeComm) -> Setup:
    """Objects that the arguments stand for."""
    layer = layer_ranks(comm.size, a.data_ranks)
    grid = ProcessGrid.split(comm, layer=layer, data=a.data_ranks)
    check_numbers(a)
    problem = build_problem(a)
    preset(a, problem)
    stream = batches(problem.train, a.batch_size, a.epochs, a.seed)
    check_shards(len(problem.train.inputs), a.batch_size, a.data_ranks)
    net = build_network(a, problem)
    if a.coarse_operator is not None:
        net.layer.coarse(a.coarse_operator)  # refuses names that there are not
    if chooses_plans(a) and a.for_ranks is None:
        a.for_ranks = layer  # also of a run that goes on with others
    forward = build_options(a, net, a.iterations)
    params = tree_map(lambda part: part.astype(a.dtype), net.init(a.seed, a.smooth))
    classification = problem.kind == "classification"
    setup = Setup(
        arguments=a,
        grid=grid,
        problem=problem,
        net=net,
        params=local_slab(net, params, options=forward, comm=grid.layer),
        forward=forward,
        adjoint=build_options(a, net, a.adjoint_iterations),
        objective=SoftmaxCrossEntropy() if classification else LeastSquares(),
        optimiser=build_optimiser(a, len(problem.train.inputs)),
        regularisation=Regularisation(a.tikhonov, a.smoothness, a.head_tikhonov),
        batches=stream,
    )
    set_threads(a.threads)
    return setup


def check_numbers(a: argparse.Namespace) -> None:
    """Refuse counts and tolerances that are none."""
    integer("--evaluate-every", a.evaluate_every, 0)
    for name, least in {
        "checkpoint_every": 0,
        "check_every": 1,
        "for_ranks": 1,
    }.items():
        if getattr(a, name) is not None:
            integer(f"--{name.replace('_', '-')}", getattr(a, name), least)
    if a.gradient_tolerance is not None and not a.gradient_tolerance > 0.0:
        raise ValueError(
            f"--gradient-tolerance is {a.gradient_tolerance}, needed a number > 0 such "
            "as 0.01, or inf only to estimate errors"
        )


def options_of(
    config: dict[str, Any], *, output: Path, progress: bool
) -> argparse.Namespace:
    """Arguments of the run that has written a configuration.

    Raises
    ------
    ValueError
        If options are missing, as from another version.
    """
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    names = [*vars(parser.parse_args([]))]
    if missing := set(names) - set(config):
        raise ValueError(
            f"{output / CONFIG} has no {', '.join(sorted(missing))}; needed what "
            "mgresnet train of this version has written"
        )
    given = {name: config[name] for name in names}
    for name in ("coarsening", "relaxations"):
        given[name] = given[name] if given[name] is None else tuple(given[name])
    return argparse.Namespace(**given | {"output": output, "progress": progress})


def build_problem(a: argparse.Namespace) -> Problem:
    """Samples to learn from, and to judge by."""
    sizes = {"n_train": a.n_train, "n_validation": a.n_validation}
    how: dict[str, Any] = sizes | {"seed": a.seed, "dtype": a.dtype}
    table = a.data is not None and not a.data.endswith(".npz")
    if (a.problem is None) == (a.data is None) or table != (a.targets is not None):
        raise ValueError(
            f"problem is {a.problem}, --data is {a.data}, --targets is {a.targets}; "
            "needed PROBLEM by name, or --data FILE --targets COLUMN; of sequences "
            "--data FILE.npz"
        )
    if a.data is not None:
        return load_own(a.data, a.targets.split(",") if table else (), **how)
    problem = load_problem(a.problem, data_dir=a.data_dir, **how)
    moving = problem.steps is not None and problem.image_shape is not None
    return with_frame_features(problem, a.seed) if moving else problem


def check_shards(n_samples: int, batch_size: int, data_ranks: int) -> None:
    """Raise ValueError if the last batch of an epoch has no sample for some rank."""
    smallest = n_samples % batch_size or batch_size
    if smallest < data_ranks:
        raise ValueError(
            f"--data-ranks {data_ranks}, but the last batch of an epoch has {smallest} "
            f"sample(s); needed one for each data rank, choose another --batch-size or "
            f"at most {smallest} data rank(s)"
        )


def chooses_plans(a: argparse.Namespace) -> bool:
    """Whether intervals and coarse operators are left to a gradient tolerance."""
    given = a.coarsening, a.coarse_operator
    return a.gradient_tolerance is not None and given == (None, None)


def check_every(a: argparse.Namespace) -> int | None:
    """Steps from one estimate to the next; None: as many as do with a tolerance."""
    every: int | None = a.check_every
    return 1 if every is None and a.gradient_tolerance is None else every


def build_options(a: argparse.Namespace, net: Network, iterations: int) -> MGRITOptions:
    """Options of the forward or the adjoint solve."""
    if chooses_plans(a):
        return replace(default_options(net, a.for_ranks), max_iterations=iterations)
    return MGRITOptions(
        coarsening=(16,) if a.coarsening is None else a.coarsening,
        relaxations=a.relaxations[0] if len(a.relaxations) == 1 else a.relaxations,
        cycle=a.cycle,
        max_iterations=iterations,
        tolerance=a.tolerance if a.gradient_tolerance is None else 0.0,
        coarse_operator=coarse_operator(a, net),
        initial_guess=a.initial_guess,
    )


def build_optimiser(a: argparse.Namespace, n_samples: int) -> Transform:
    """Clipping, if wanted, and the optimiser with its schedule."""
    n_steps = a.epochs * -(-n_samples // a.batch_size)
    schedule = choose("schedule", a.schedule, SCHEDULES)(a.learning_rate, n_steps)
    optimiser: Transform = choose("optimiser", a.optimiser, OPTIMISERS)(schedule)
    if a.clip is None:
        return optimiser
    return chain(clip_by_global_norm(a.clip), optimiser)
