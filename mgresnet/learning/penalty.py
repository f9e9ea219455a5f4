"""Penalty and augmented Lagrangian methods: oracles with auxiliary variables.

The modules of a network are trained apart; `mgresnet.learning.auxiliary` says how.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.checks import integer
from mgresnet.chain import Chain, networks_of
from mgresnet.learning.auxiliary import Auxiliary
from mgresnet.learning.filters import filter_of
from mgresnet.learning.interfaces import InMemory
from mgresnet.learning.layer_parallel import layer_parallel
from mgresnet.learning.logged import in_files
from mgresnet.learning.modules import beginnings
from mgresnet.learning.schedules import Rate, check_positive
from mgresnet.network import Network
from mgresnet.parallel import TimeComm
from mgresnet.solve.objectives import Objective
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.reading import refuse_every
from mgresnet.solve.slab import Slab
from mgresnet.solve.stages import per_stage


def penalty(
    net: Network | Chain,
    objective: Objective,
    modules: Any,
    samples: int,
    *,
    beta: Rate = 1.0,
    step: float = 0.25,
    sweeps: int = 1,
    filters: Any = None,
    dtype: Any = np.float64,
    folder: str | Path | None = None,
    comm: Any = None,
    regularisation: Regularisation | None = None,
) -> Auxiliary:
    r"""Oracle of the penalty method: modules are trained apart from each other.

    Parameters
    ----------
    net : Network or Chain
    objective : Objective
        Its value is a mean over the samples of a batch.
    modules : int or sequence of int
        Number of modules, with about the same operations in each; or the layers, of all
        stages one after the other, at which the second module begins, the third, ...
    samples : int
        Number of all samples; `Batch.rows` are below it.
    beta : float or callable
        Weight of the defects; or a schedule, a function of the number of evaluations.
    step : float
        Of the variables, in units of 1 / beta.  It is stable up to about 2 / (1 + q)^2,
        with q the norm of a module's Jacobian: 1/2 where layers change states little,
        less where they, or a bridge, make differences grow.
    sweeps : int
        Steps of the variables in an evaluation; the gradient is that before the last.
    filters : Map, sequence of Map, or None
        What is kept and sent of a state: linear maps without parameters whose rows are
        orthogonal and of one length, as `Pool`; one for all stages or one for each, and
        None for whole states.
    dtype : {float64, float32}
        In which numbers are kept and sent.
    folder : str or Path, optional
        Keep the variables in memory-mapped files there, for all that do not fit into a
        state of training; all ranks have to see it, and one run at a time uses it.  A
        run can go on from a checkpoint that is at most a pass over the samples older
        than the files.
    comm : mpi4py communicator or TimeComm, optional
        That of the training, without data ranks.  A rank's layers have to begin with a
        module: for a network in K modules any number of ranks that divides K.
    regularisation : Regularisation, optional
        Of the weights.

    Returns
    -------
    Oracle
        Its memory has the variables; a sample's first are those of exact propagation.
        `bytes_kept` says before a run how much it will be, `bytes_sent` what passes the
        interfaces for each sample of a sweep.

    Raises
    ------
    TypeError, ValueError

    Notes
    -----
    Batches need their `rows`: integers, another one for each sample of a batch, and the
    same one with the same inputs whenever a sample comes.  Augmented images, which do
    not go with variables of the images before, are refused; but inputs that layers take
    at every step are not compared.

    A run goes on from a state with the same modules, samples, filters and dtype.

    A record has the 2-norm of the defects as `forward_residual`, that of the gradient
    for the variables, of all samples, as `adjoint_residual`, and J as `loss`.  The
    status is MAX_ITERATIONS, as no tolerance is to be met, or NON_FINITE.

    Examples
    --------
    >>> from mgresnet import Dense, LeastSquares
    >>> net = Network(Dense(2), 8)
    >>> oracle = penalty(net, LeastSquares(), modules=4, samples=100, beta=2.0)
    >>> oracle.bytes_kept, oracle.bytes_sent
    (4800, 96)
    """
    inner = layer_parallel(net, objective, comm=comm, regularisation=regularisation)
    refuse_every(net, "there are auxiliary variables", "try layer_parallel")
    points = beginnings(net, modules)
    _check_ranks(net, points, inner.comm)
    if not callable(beta):
        check_positive("beta", beta, "try 1.0")
    check_positive("step", step, "try 0.25")
    kept = tuple(
        filter_of(one, stage.layer.state_shape, dtype)
        for one, stage in zip(per_stage(net, filters), networks_of(net), strict=True)
    )
    n, n_sweeps = integer("samples", samples, 1), integer("sweeps", sweeps, 1)
    store = InMemory() if folder is None else in_files(folder)
    return Auxiliary(inner, points, kept, n, beta, step, 0.0, n_sweeps, store)


def augmented_lagrangian(
    net: Network | Chain,
    objective: Objective,
    modules: Any,
    samples: int,
    *,
    pace: float = 0.1,
    **options: Any,
) -> Auxiliary:
    """Oracle of the method of multipliers: as `penalty`, with multipliers.

    Parameters
    ----------
    net, objective, modules, samples
        As for `penalty`.
    pace : float
        Step of the multipliers, in units of beta, after the sweeps.
    **options
        Those of `penalty`.

    Returns
    -------
    Oracle
        Its memory has variables and multipliers, twice as much as that of a penalty.

    Examples
    --------
    >>> from mgresnet import Dense, LeastSquares
    >>> net = Network(Dense(2), 8)
    >>> oracle = augmented_lagrangian(net, LeastSquares(), 4, samples=100)
    >>> oracle.bytes_kept
    9600
    """
    check_positive("pace", pace, "try 0.1, or penalty() for no multipliers")
    return replace(penalty(net, objective, modules, samples, **options), pace=pace)


def _check_ranks(
    net: Network | Chain, points: tuple[tuple[int, ...], ...], comm: TimeComm
) -> None:
    """Refuse ranks whose layers do not begin with a module."""
    stages = zip(networks_of(net), points, strict=True)
    for i, (one, begin) in enumerate(stages):
        grid = Slab.of(one, None, comm).grid
        firsts = [grid.slab(rank, comm.size).start for rank in range(1, comm.size)]
        others = [n for n in firsts if n not in begin]
        if others:
            where = f"network {i}: " if isinstance(net, Chain) else ""
            raise ValueError(
                f"{where}modules begin at layers {[0, *begin]}, but {comm.size} ranks "
                f"begin at {[0, *firsts]}; needed a module wherever a rank begins: try "
                "a number of ranks that divides the number of modules, or modules=("
                f"{', '.join(map(str, firsts))},)"
            )
