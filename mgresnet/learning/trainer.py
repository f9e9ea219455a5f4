"""Training as a generator: one gradient, one update, one record per batch."""

import inspect
import math
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from mgresnet.arrays.checks import integer, provides
from mgresnet.arrays.trees import tree_map
from mgresnet.chain import Chain, networks_of
from mgresnet.learning.accurate import accurate
from mgresnet.learning.divergence import where_lost
from mgresnet.learning.ladder import check_ranks, default_options
from mgresnet.learning.layer_parallel import layer_parallel
from mgresnet.learning.oracle import FirstOrder, Oracle, check_oracle, check_same
from mgresnet.learning.over_data import over_data
from mgresnet.learning.record import Record
from mgresnet.learning.rounds import AgreedBatch, common_batches, known_facts
from mgresnet.learning.state import TrainState, kind_of, own_state, texts_about
from mgresnet.learning.transforms import Transform, apply_updates
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.network import Network
from mgresnet.parallel import ProcessGrid, TimeComm
from mgresnet.parallel.agree import agreement
from mgresnet.parallel.grid import as_process_grid
from mgresnet.solve.objectives import Objective
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.slab import Slab
from mgresnet.solve.stages import columns, own_parts, slabs_of, space


def train(
    net: Network | Chain,
    params: Any,
    batches: Iterable[Any],
    *,
    optimiser: Transform,
    objective: Objective | None = None,
    forward: MGRITOptions | None = None,
    adjoint: MGRITOptions | None = None,
    comm: Any = None,
    regularisation: Regularisation | None = None,
    gradient_tolerance: float | None = None,
    ranks: int | None = None,
    check_every: int | None = None,
    keep: str = "auto",
    state: TrainState | None = None,
    oracle: Oracle | None = None,
) -> Iterator[Record]:
    """Train on one batch after the other.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Whole network, or what this rank owns; not modified.  With a `state` they are
        not looked at, and may be None.
    batches : iterable of Batch or of (inputs, targets)
        The same on every rank, as `batches` makes them.  With a `state`, those still to
        come: ``batches(..., start=state.step)``.
    optimiser : Transform
    objective : Objective
        Such as SoftmaxCrossEntropy or LeastSquares.
    forward, adjoint : MGRITOptions, optional
        The same for all stages of a chain.  Serial propagation by default; with a
        gradient tolerance `default_options`, and plans are chosen by the error.
    comm : mpi4py communicator, TimeComm or ProcessGrid, optional
        All ranks share the layers; a grid shares each batch over its data ranks, too.
    regularisation : Regularisation, optional
    gradient_tolerance : float, optional
        Choose plans so that the estimated relative error of every gradient stays below
        this: iterations, at most ``max_iterations`` of the options, and, if these have
        `slabs`, intervals and coarse operators.  By default every solve follows its
        options.
    ranks : int, optional
        Number of ranks for which serial propagation is compared with iterating, if not
        that of the layers, or of `state`; to study on few ranks what many would do.
    check_every : int, optional
        Steps from one estimate of the gradient's error to the next.  In between it is
        predicted from the residuals, and estimated at once should that be too large.
        By default as many as predictions are right for, and no estimates without a
        tolerance.
    keep : {"all", "c-points", "auto"}
        Which states are kept on the way; see `value_and_gradient`.
    state : TrainState, optional
        To go on from: that of a record, or from `load_checkpoint`.
    oracle : Oracle, optional
        What makes value and gradient of a batch, in place of the one that `objective`,
        `forward` and the other arguments but `comm` describe; leave these away then.

    Yields
    ------
    Record
        With the `state` after this step.  After a record with status NON_FINITE the
        training ends.

    Raises
    ------
    ValueError, TypeError
        At once, or when a batch does not fit.

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
    layer ranks; with a tolerance for a given `ranks`, as plans follow from it.  Between
    numbers of data ranks they differ by rounding as long as the iterations are the
    same.  A tolerance can change these: every portion stops on its own, and the
    estimated errors of the portions' gradients add up.
    """
    grid = as_process_grid(comm)
    if ranks is None:
        ranks = getattr(state, "ranks", grid.layer.size)
    known: dict[str, Any] = {}
    given: dict[str, Any] = {"net": net, "objective": objective}
    given |= {"forward": forward, "adjoint": adjoint, "regularisation": regularisation}
    given |= {"gradient_tolerance": gradient_tolerance, "check_every": check_every}
    given |= {"optimiser": optimiser, "ranks": ranks, "keep": keep, "oracle": oracle}
    with agreement(grid, "train", given, known) as facts:
        _check_optimiser(optimiser)
        provides("batches", batches, ("__iter__",), "batches(split, 32)")
        integer("ranks", ranks, 1)
        plain = forward is None and adjoint is None and oracle is None
        if plain and gradient_tolerance is not None:
            forward = adjoint = default_options(net, ranks)
            check_ranks(net, forward, ranks, grid.layer.size)
        how: dict[str, Any] = {"forward": forward, "adjoint": adjoint, "keep": keep}
        how |= {"objective": objective, "regularisation": regularisation}
        bound = {"gradient_tolerance": gradient_tolerance, "check_every": check_every}
        if oracle is None:
            plans = gradient_tolerance, check_every, ranks
            oracle = _plain_oracle(net, grid, how, *plans)
        else:
            _check_given(net, oracle, how | bound, grid.layer)
        slabs = slabs_of(net, oracle.options, grid.layer, "forward")
        if state is None:
            facts["params"] = columns(net, params)
            known |= known_facts(net, params, batches)
            state = _first_state(net, params, slabs, optimiser, oracle, ranks)
        else:
            state = own_state(net, slabs, state)
            _check_kinds(state, optimiser, oracle)
            facts |= {"params": columns(net, state.params), "steps": state.step}
    together = common_batches(oracle, net, state.params, batches, grid)
    return _steps(net, oracle, state, together, optimiser, grid)


def _plain_oracle(
    net: Network | Chain,
    grid: ProcessGrid,
    how: dict[str, Any],
    tolerance: float | None,
    check_every: int | None,
    ranks: int,
) -> Any:
    """Oracle that the arguments of `train` describe."""
    oracle: Any = layer_parallel(net, comm=grid.layer, **how)
    if grid.data.size > 1:
        oracle = over_data(oracle, grid.data)
    if tolerance is None and check_every is None:
        return oracle
    return accurate(
        oracle,
        math.inf if tolerance is None else tolerance,
        ranks=ranks,
        check_every=check_every,
    )


def _check_optimiser(optimiser: Any) -> None:
    """Refuse what is no Transform."""
    provides("optimiser", optimiser, ("init", "update"), "adam(0.001)")
    try:
        inspect.signature(optimiser.update).bind(1, 2, 3, space=None, value=None)
    except TypeError as error:
        raise TypeError(
            f"optimiser.update cannot be called ({error}); needed update(gradient, "
            "state, params, *, space=None, value=None)"
        ) from error


def _check_given(net: Any, oracle: Any, others: dict[str, Any], comm: TimeComm) -> None:
    """Refuse what is no oracle, or one of another network, ranks or arguments."""
    check_oracle(oracle, Oracle)
    check_same(oracle, net, comm)
    defaults = {"keep": "auto"}
    for name, value in others.items():
        if value is not None and value != defaults.get(name):
            raise ValueError(
                f"{name} is given beside an oracle, which does not hear of it; give it "
                "to the oracle, or leave oracle= away"
            )


def _first_state(
    net: Network | Chain,
    params: Any,
    slabs: list[Slab],
    optimiser: Transform,
    oracle: Oracle,
    ranks: int,
) -> TrainState:
    """State before the first step."""
    own = tree_map(np.array, own_parts(net, tuple(slabs), params))
    return TrainState(
        step=0,
        params=own,
        optimiser=optimiser.init(own),
        memory=oracle.init(own),
        ranks=ranks,
        depth=tuple(one.depth for one in networks_of(net)),
        layers=tuple(slab.layers for slab in slabs),
        network=texts_about(net),
    )


def _check_kinds(state: TrainState, optimiser: Transform, oracle: Oracle) -> None:
    """Refuse a state that another optimiser or oracle has left."""
    for name, had, needed in (
        ("optimiser", state.optimiser, optimiser.init(state.params)),
        ("memory", state.memory, oracle.init(state.params)),
    ):
        if kind_of(had) != kind_of(needed):
            raise ValueError(
                f"{name} of the state is made of {kind_of(had)}, needed "
                f"{kind_of(needed)}; give the optimiser, the gradient_tolerance and "
                "check_every, or the oracle (with folder= where it had one), of the "
                "training that it comes from, or go on without a state from its params"
            )


def _steps(
    net: Network | Chain,
    oracle: Oracle,
    state: TrainState,
    batches: Iterable[AgreedBatch],
    optimiser: Transform,
    grid: ProcessGrid,
) -> Iterator[Record]:
    over = space(net, oracle.options, grid.layer)
    for batch in batches:
        params, memory = state.params, state.memory
        found = oracle.evaluate(params, batch, memory)
        started = time.perf_counter()
        step, moments = optimiser.update(
            found.gradient,
            state.optimiser,
            params,
            space=over,
            value=partial(_value, oracle, batch, found, params),
        )
        state = state._replace(
            step=state.step + 1,
            params=apply_updates(params, step),
            optimiser=moments,
            memory=found.memory,
        )
        norm = over.norm(found.gradient) if found.norm is None else found.norm
        spent = {**found.seconds, "update": time.perf_counter() - started}
        known = found._replace(norm=norm, seconds=spent)
        record = Record.of(known, batch.epoch, state)
        if record.status is Status.NON_FINITE:
            slabs = slabs_of(net, oracle.options, grid.layer)
            lost = where_lost(net, found.info, slabs, grid)
            yield record._replace(lost=lost)
            return
        yield record


def _value(
    oracle: Oracle, batch: AgreedBatch, found: FirstOrder, here: Any, params: Any
) -> float:
    """Objective at other parameters, by what the oracle remembers of these."""
    if params is here:
        return found.value
    return oracle.value(params, batch, found.memory)
