r"""Nested iteration: train a network of few layers, refine it in depth, train on.

.. math:: \theta^{fine}_i = \theta_{\lfloor i / r \rfloor} \quad \text{or} \quad
          \theta^{fine}_i = \theta\bigl((i + \tfrac12) / (r N)\bigr), \qquad
          \theta\bigl((n + \tfrac12) / N\bigr) = \theta_n

The final time stays, so layers become r times as many with steps of h / r, and the
states differ by O(h) [1]_.  A spline over depth keeps its coefficients.

References
----------
.. [1] E. C. Cyr, S. Günther, J. B. Schroder, "Multilevel Initialization for
   Layer-Parallel Deep Neural Network Training", arXiv:1912.08974.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from mgresnet.arrays.checks import choose, integer, provides
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain, networks_of
from mgresnet.learning.lbfgs import LBFGSState, Pair
from mgresnet.learning.oracle import Oracle, check_oracle
from mgresnet.learning.record import Record
from mgresnet.learning.state import TrainState, is_tree, like, map_trees, texts_about
from mgresnet.learning.trainer import train
from mgresnet.learning.transforms import AdamState, TraceState, Transform
from mgresnet.mgrit.solver import Status
from mgresnet.network import Network, Params, check_network
from mgresnet.solve.stages import local_slab, trees_of, whole_params

# How fields of an optimiser's state grow with the gradient of a layer, which is r times
# as small where layers are r times as many.  They are copied, so that squares stay
# positive, and products what they are.  All others are refined as parameters are.
POWERS: Mapping[type, Mapping[str, int]] = MappingProxyType(
    {
        AdamState: {"mean": 1, "square": 2},
        TraceState: {"trace": 1},
        LBFGSState: {"gradient": 1},
        Pair: {"step": 0, "change": 1},
    }
)


def _constant(rows: Array, factor: int) -> Array:
    """Every row so many times."""
    return np.repeat(rows, factor, axis=0)


def _linear(rows: Array, factor: int) -> Array:
    """Piecewise linear between the middles of layers, and on beyond the outer ones."""
    n = len(rows)
    if n == 1:
        return _constant(rows, factor)
    places = (np.arange(n * factor) + 0.5) / factor - 0.5
    left = np.clip(np.floor(places).astype(int), 0, n - 2)
    weights = (places - left).astype(rows.dtype)[:, None]
    between: Array = rows[left] + weights * (rows[left + 1] - rows[left])
    return between


RULES = {"constant": _constant, "linear": _linear}


def refine(
    net: Network | Chain, params: Any, factor: int = 2, rule: str = "constant"
) -> tuple[Any, Any]:
    """A network of more and shorter layers, and parameters for it.

    It does what the other does but for O(h), as its steps are shorter.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Of the whole network.
    factor : int
        Layers that become of one.
    rule : {"constant", "linear"}
        Parameters of these layers: those of the one, or values in between.  Rows of a
        spline, and shared ones, stay as they are.

    Returns
    -------
    net : Network or Chain
    params : Params, or a tuple of them

    Raises
    ------
    ValueError, TypeError
        If the parameters are not those of the whole network, or every layer takes
        inputs.

    Examples
    --------
    >>> from mgresnet import Dense
    >>> net = Network(Dense(2), 4)
    >>> fine, params = refine(net, net.init(seed=1), 4)
    >>> fine.depth, fine.step, params.body.shape
    (16, 0.0625, (16, 6))
    """
    factor = integer("factor", factor, 1)
    choose("rule", rule, RULES)
    whole = local_slab(net, params, options=None)
    return _finer(net, factor), _refined(net, factor, rule, 0, whole)


def _finer(net: Any, factor: int) -> Any:
    """Network of more layers."""
    if isinstance(net, Chain):
        return Chain(tuple(_finer(one, factor) for one in net.networks))
    if net.layer.input_shape is not None:
        raise ValueError(
            "every layer of the network takes inputs of its own, of which there are as "
            "many as layers; needed layers without an input_shape"
        )
    return replace(net, depth=factor * net.depth)


def _refined(net: Any, factor: int, rule: str, power: int, tree: Any) -> Any:
    """Tree of the finer network, rows of layers over a power of the factor."""
    parts = []
    for one, part in zip(networks_of(net), trees_of(net, tree), strict=True):
        body = part.body
        if not one.control.shared:
            body = RULES[rule](body, factor) / body.dtype.type(factor**power)
        parts.append(Params(part.opening, body, part.head))
    return tuple(parts) if isinstance(net, Chain) else parts[0]


def _refined_state(
    net: Any, factor: int, rule: str, value: Any, power: int | None = None
) -> Any:
    """State of an optimiser for the finer network."""
    if is_tree(value, len(net.networks) if isinstance(net, Chain) else None):
        how = (rule, 0) if power is None else ("constant", power)
        return _refined(net, factor, *how, value)
    if not isinstance(value, tuple | list):
        return value
    names = getattr(value, "_fields", [""] * len(value))
    powers = [POWERS.get(type(value), {}).get(name) for name in names]
    pairs = zip(value, powers, strict=True)
    return like(value, [_refined_state(net, factor, rule, *pair) for pair in pairs])


def nested_iteration(
    net: Network | Chain,
    params: Any,
    levels: Sequence[Iterable[Any]],
    *,
    optimiser: Transform,
    oracle: Callable[[Any], Oracle],
    factor: int = 2,
    rule: str = "constant",
    comm: Any = None,
) -> Iterator[Record]:
    """Train a network, refine it, train on, and so forth.

    Parameters
    ----------
    net : Network or Chain
        The coarsest.
    params : Params, or a tuple of them
        Of it.
    levels : sequence of iterables of Batch or of (inputs, targets)
        Batches for the coarsest network, for the next, .., for the finest one.
    optimiser : Transform
        Its state is refined, too; in it gradients of layers become as small as the
        layers do.
    oracle : callable
        ``oracle(net)`` for each of the networks, of the same ranks.
    factor, rule
        As in `refine`.
    comm : mpi4py communicator or TimeComm, optional
        As in `train`; a level is as deep as this needs.

    Yields
    ------
    Record
        Of all levels in turn; ``record.state.depth`` says which, and steps count on.
        After one with status NON_FINITE there is no further step.

    Examples
    --------
    >>> from mgresnet import Dense, LeastSquares, adam, layer_parallel
    >>> net, batch = Network(Dense(2), 4), (np.ones((3, 2)), np.zeros((3, 2)))
    >>> records = nested_iteration(
    ...     net,
    ...     net.init(seed=1),
    ...     [[batch] * 3, [batch] * 2],
    ...     optimiser=adam(0.1),
    ...     oracle=lambda net: layer_parallel(net, LeastSquares()),
    ... )
    >>> [(record.step, record.state.depth) for record in records]
    [(0, (4,)), (1, (4,)), (2, (4,)), (3, (8,)), (4, (8,))]
    """
    provides("levels", levels, ("__iter__", "__len__"), "[first, second]")
    if len(levels) == 0:
        raise ValueError("levels is empty; give batches for at least one level")
    if not callable(oracle):
        raise TypeError(
            f"oracle is a {type(oracle).__name__}, needed a function that makes one of "
            "a network; try oracle=lambda net: layer_parallel(net, LeastSquares())"
        )
    for one in networks_of(net):
        check_network(one)
    if len(levels) > 1:
        _finer(net, integer("factor", factor, 1))
    choose("rule", rule, RULES)
    check_oracle(oracle(net), Oracle)
    finer = partial(_finer_state, factor, rule, comm)
    return _levels(net, params, levels, optimiser, oracle, finer, comm)


def _levels(
    net: Any,
    params: Any,
    levels: Sequence[Iterable[Any]],
    optimiser: Transform,
    oracle: Callable[[Any], Oracle],
    finer: Callable[..., tuple[Any, TrainState]],
    comm: Any,
) -> Iterator[Record]:
    state: TrainState | None = None
    for batches in levels:
        if state is not None:
            net, state = finer(net, state, oracle)
        how: dict[str, Any] = {"oracle": oracle(net), "optimiser": optimiser}
        for record in train(net, params, batches, state=state, comm=comm, **how):
            yield record
            state = record.state
            if record.status is Status.NON_FINITE:
                return
        if state is None:
            raise ValueError("the first level has no batches; give at least one")


def _finer_state(
    factor: int,
    rule: str,
    comm: Any,
    net: Any,
    state: TrainState,
    oracle: Callable[[Any], Oracle],
) -> tuple[Any, TrainState]:
    """The finer network, and a state of the whole of it."""
    now = oracle(net)
    ranks = getattr(comm, "layer", comm)
    whole = partial(whole_params, net, options=now.options, comm=ranks)
    stages = len(net.networks) if isinstance(net, Chain) else None
    fine = _finer(net, factor)
    params, optimiser = (
        _refined_state(net, factor, rule, map_trees(whole, part, stages))
        for part in (state.params, state.optimiser)
    )
    after = oracle(fine)
    own = local_slab(fine, params, options=after.options, comm=ranks)
    depth = tuple(one.depth for one in networks_of(fine))
    return fine, state._replace(
        params=params,
        optimiser=optimiser,
        memory=after.init(own),
        depth=depth,
        layers=tuple(map(range, depth)),
        network=texts_about(fine),
    )
