"""Checked objects that the options of ``mgresnet train`` stand for."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from mgresnet.arrays.checks import integer
from mgresnet.arrays.trees import tree_map
from mgresnet.commands.choices import BATCH, OPTIMISERS, SCHEDULES
from mgresnet.commands.folder import check_folder, claim, digest_of
from mgresnet.commands.networks import (
    build_network,
    check_coarse_steps,
    choose,
    coarse_operator,
    preset,
)
from mgresnet.data import Batch, Problem, batches, load_own, load_problem
from mgresnet.data.numbers import cells
from mgresnet.kernels.threads import set_threads
from mgresnet.learning.frames import with_frame_features
from mgresnet.learning.ladder import check_ranks, default_options
from mgresnet.learning.transforms import Transform, chain, clip_by_global_norm
from mgresnet.mgrit.options import MGRITOptions
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


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> Setup:
    """Build and check everything, so that bad input shows before any work is done.

    All ranks call this together, with the same arguments.
    """
    if arguments.output:
        check_folder("--output", arguments.output)
    setup = build(arguments, comm)
    if arguments.output and comm.rank == 0:
        options = vars(arguments) | {"samples": digest_of(setup.problem)}
        claim(arguments.output, options, comm, arguments.overwrite)
    return setup


def build(a: argparse.Namespace, comm: TimeComm) -> Setup:
    """Objects that the arguments stand for."""
    layer = layer_ranks(comm.size, a.data_ranks)
    grid = ProcessGrid.split(comm, layer=layer, data=a.data_ranks)
    check_numbers(a)
    problem = build_problem(a)
    preset(a, problem)
    if a.batch_size is None:
        a.batch_size = min(BATCH, len(problem.train.inputs))
    integer("--batch-size", a.batch_size, 1)
    stream = batches(problem.train, a.batch_size, a.epochs, a.seed)
    check_shards(len(problem.train.inputs), a.batch_size, a.data_ranks)
    net = build_network(a, problem)
    if a.coarse_operator is not None:
        net.layer.coarse(a.coarse_operator)  # refuses names that there are not
    if chooses_plans(a) and a.for_ranks is None:
        a.for_ranks = layer  # also of a run that goes on with others
    forward = build_options(a, net, a.iterations)
    check_coarse_steps(net, forward)
    if chooses_plans(a):
        check_ranks(net, forward, a.for_ranks, layer)
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


def build_problem(a: argparse.Namespace) -> Problem:
    """Samples to learn from, and to judge by."""
    sizes = {"n_train": a.n_train, "n_validation": a.n_validation}
    how: dict[str, Any] = sizes | {"seed": a.seed, "dtype": a.dtype}
    table = a.data is not None and not a.data.endswith(".npz")
    if None not in (a.problem, a.data):
        raise ValueError(
            f"problem {a.problem} and --data {a.data} are both given; leave one out"
        )
    if (a.problem is None) == (a.data is None) or table != (a.targets is not None):
        raise ValueError(
            f"problem is {a.problem}, --data is {a.data}, --targets is {a.targets}; "
            "needed PROBLEM by name, or --data FILE --targets COLUMN; of sequences "
            "--data FILE.npz"
        )
    if a.data is not None:
        return load_own(a.data, cells(a.targets, ",") if table else (), **how)
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
