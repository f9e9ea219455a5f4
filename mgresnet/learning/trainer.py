"""Training as a generator: one gradient, one update, one record per batch."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from mgresnet.arrays.checks import integer, provides
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain
from mgresnet.data import Batch
from mgresnet.learning.accurate import (
    Accurate,
    Both,
    accurate_gradient,
    adaptive_rules,
    next_plans,
)
from mgresnet.learning.controller import SERIAL, Fixed
from mgresnet.learning.optimisers import Transform, apply_updates
from mgresnet.learning.portions import take_portion
from mgresnet.learning.rounds import common_batches, known_facts
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm
from mgresnet.parallel.agree import agreement
from mgresnet.parallel.grid import as_process_grid
from mgresnet.solve.ahead import checked_inputs
from mgresnet.solve.objectives import Objective, check_targets
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.slab import Slab
from mgresnet.solve.stages import (
    columns,
    local_slab,
    own_gather,
    slabs_back,
    slabs_of,
    trees_of,
)


class Record(NamedTuple):
    """One step of training; the same numbers on every rank but `params`, `seconds`.

    Losses and gradient are those before the update, `params` those after it.  It prints
    as one line.
    """

    step: int
    epoch: int
    value: float  # loss and regularisation
    loss: float
    gradient_norm: float
    gradient_error: float  # estimated, relative
    forward_error: float  # its part from inexact states
    adjoint_error: float  # its part from inexact adjoints
    forward_residual: float  # of the states the gradient was taken at
    adjoint_residual: float
    forward_iterations: int  # SERIAL (-1): marched through all layers
    adjoint_iterations: int
    status: Status  # worse of the two solves
    seconds: dict[str, float]  # by phase; relax and coarse within forward and adjoint
    params: Any  # what this rank owns: Params, or a tuple of them

    def __repr__(self) -> str:
        counts = (self.forward_iterations, self.adjoint_iterations)
        forward, adjoint = ("serial" if n == SERIAL else str(n) for n in counts)
        return (
            f"step {self.step}  epoch {self.epoch}  loss {self.loss:.3e}  "
            f"gradient {self.gradient_norm:.1e}  error {self.gradient_error:.1e}  "
            f"iterations {forward} + {adjoint}  {self.status.name}"
        )


def train(
    net: Network | Chain,
    params: Any,
    batches: Iterable[Any],
    *,
    optimiser: Transform,
    objective: Objective,
    forward: MGRITOptions | None = None,
    adjoint: MGRITOptions | None = None,
    comm: Any = None,
    regularisation: Regularisation | None = None,
    gradient_tolerance: float | None = None,
    ranks: int | None = None,
    check_every: int = 1,
    keep: str = "auto",
) -> Iterator[Record]:
    """Train on one batch after the other.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Whole network, or what this rank owns; not modified.
    batches : iterable of Batch or of (inputs, targets)
        The same on every rank, as `batches` makes them.
    optimiser : Transform
    objective : SoftmaxCrossEntropy or LeastSquares
    forward, adjoint : MGRITOptions, optional
        Serial propagation by default; the same for all stages of a chain.
    comm : mpi4py communicator, TimeComm or ProcessGrid, optional
        All ranks share the layers; a grid shares each batch over its data ranks, too.
    regularisation : Regularisation, optional
    gradient_tolerance : float, optional
        Choose iterations so that the estimated relative error of every gradient stays
        below this; ``max_iterations`` of the options then only limits them.  By default
        every solve follows its options.
    ranks : int, optional
        Number of ranks for which serial propagation is compared with iterating, if not
        that of the layers; to study on few ranks what many would do.
    check_every : int
        Steps from one estimate of the gradient's error to the next.  In between it is
        predicted from the residuals, and estimated at once should that be too large.
    keep : {"all", "c-points", "auto"}
        Which states are kept on the way; see `value_and_gradient`.

    Yields
    ------
    Record
        After a record with status NON_FINITE the training ends.

    Notes
    -----
    Parameters, gradients and the optimiser's state live only on the rank that owns
    their layers; coefficients of a control on all ranks.  Data ranks hold copies with
    the same bits.

    What ranks have to share is compared here, and in every step the shapes of a batch.
    What differs, or what one rank refuses, is an error on all of them.  The values of
    the batches are not compared.  All ranks leave the loop in the same step: if one
    leaves by ``break``, at the end of its program or of its batches, others that go on
    get an error that names it.

    A ``break`` out of ``for record in mg.train(...)`` closes the iterator at once, and
    so tells the others.  Where something holds it still, as a name for it does or for
    ``enumerate`` or tqdm around it, nothing tells them and they wait: write
    ``it = mg.train(...)``, and call ``it.close()`` after the loop.

    For a given number of data ranks all numbers are bitwise the same on any number of
    layer ranks.  Between numbers of data ranks they differ by rounding as long as the
    iterations are the same.  A tolerance can change these: every portion stops on its
    own, and the estimated errors of the portions' gradients add up.
    """
    grid = as_process_grid(comm)
    forward = MGRITOptions.serial() if forward is None else forward
    ranks = grid.layer.size if ranks is None else ranks
    known: dict[str, Any] = {}
    given: dict[str, Any] = {"net": net, "objective": objective}
    given |= {"forward": forward, "adjoint": adjoint, "regularisation": regularisation}
    given |= {"gradient_tolerance": gradient_tolerance, "check_every": check_every}
    given |= {"optimiser": optimiser, "ranks": ranks, "keep": keep}
    with agreement(grid, "train", given, known) as facts:
        facts["params"] = columns(net, params)
        provides("optimiser", optimiser, ("init", "update"), "adam(0.001)")
        provides("batches", batches, ("__iter__",), "batches(split, 32)")
        _check_one("forward", forward)
        _check_one("adjoint", adjoint)
        slabs = slabs_of(net, forward, grid.layer, "forward")
        adjoint = slabs_back(net, slabs, adjoint)[0].options
        local = local_slab(net, params, options=forward, comm=grid.layer)
        integer("check_every", check_every, 1)
        integer("ranks", ranks, 1)
        rules = Both(Fixed(forward), Fixed(adjoint))
        if gradient_tolerance is not None:
            interval = max(slab.grid.interval for slab in slabs)
            wanted = gradient_tolerance, interval, ranks
            rules = adaptive_rules(forward, adjoint, *wanted)
        known |= known_facts(net, params, batches)
    find = partial(
        accurate_gradient,
        net,
        rules=rules,
        objective=objective,
        regularisation=regularisation,
        comm=grid,
        keep=keep,
    )
    gather = own_gather(net, grid.layer)
    check = partial(_check_step, slabs[0], net.n_outputs, objective, grid.data)
    together = common_batches(
        net, batches, grid, partial(check, trees_of(net, local)[0])
    )
    return _steps(find, rules, local, together, optimiser, gather, check_every)


def _check_one(name: str, options: Any) -> None:
    """Refuse options for each stage."""
    if isinstance(options, tuple | list):
        raise TypeError(
            f"{name} is a {type(options).__name__}, needed one MGRITOptions for all "
            f"stages; try {name}=MGRITOptions((4,))"
        )


def _check_step(
    slab: Slab,
    n_outputs: int,
    objective: Objective,
    data: TimeComm,
    own: Params,
    inputs: Any,
    targets: Any,
) -> Array:
    """Inputs of a batch that can be trained on."""
    take_portion(inputs, targets, data)
    x = checked_inputs(slab, own, inputs)
    check_targets(objective, n_outputs, targets, len(x))
    return x


def _steps(
    find: Callable[..., Accurate],
    rules: Both,
    params: Any,
    batches: Iterable[Batch],
    optimiser: Transform,
    gather: Any,
    check_every: int,
) -> Iterator[Record]:
    state = optimiser.init(params)
    plans = Both(rules.forward.start(), rules.adjoint.start())
    watch = None
    for step, (inputs, targets, epoch) in enumerate(batches):
        found = find(params, inputs, targets, plans=plans, watch=watch)
        started = time.perf_counter()
        update, state = optimiser.update(found.gradient, state, params, gather)
        params = apply_updates(params, update)
        seconds = {**found.seconds, "update": time.perf_counter() - started}
        statuses = (found.info.forward.status, found.info.adjoint.status)
        yield Record(
            step=step,
            epoch=epoch,
            value=found.value,
            loss=found.info.loss,
            gradient_norm=found.norm,
            gradient_error=found.error.total,
            forward_error=found.error.forward,
            adjoint_error=found.error.adjoint,
            forward_residual=found.info.forward.final_residual,
            adjoint_residual=found.info.adjoint.final_residual,
            forward_iterations=found.iterations.forward,
            adjoint_iterations=found.iterations.adjoint,
            status=max(statuses, key=list(Status).index),
            seconds=seconds,
            params=params,
        )
        if Status.NON_FINITE in statuses:
            return
        plans = next_plans(rules, found)
        watch = found.watch if found.watch.age + 1 < check_every else None
