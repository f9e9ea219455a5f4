"""Stages of a call: the slabs of a network, or of all networks of a chain."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from mgresnet.arrays.checks import as_array
from mgresnet.arrays.layout import Array
from mgresnet.arrays.space import Space
from mgresnet.arrays.trees import Gather
from mgresnet.chain import Chain, networks_of
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.network import Network
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.parallel.describe import dtype_text
from mgresnet.solve.slab import Slab, span
from mgresnet.solve.solution import Solution


@dataclass(frozen=True)
class Solutions:
    """A solution for each stage of a chain."""

    stages: tuple[Solution, ...]

    def __len__(self) -> int:
        return len(self.stages)

    def __iter__(self) -> Iterator[Solution]:
        return iter(self.stages)

    def __getitem__(self, i: int) -> Solution:
        return self.stages[i]

    @property
    def final(self) -> Array:
        """Last state of this rank's slab of the last stage, (batch, *state_shape)."""
        return self.stages[-1].final

    @property
    def status(self) -> Status:
        """The worst of all stages."""
        return max((s.status for s in self.stages), key=list(Status).index)

    @property
    def converged(self) -> bool:
        """Whether the states of all stages are within the tolerance."""
        return self.status.converged

    @property
    def iterations(self) -> int:
        """Most coarse-grid corrections of a stage."""
        return max(s.iterations for s in self.stages)

    @property
    def final_residual(self) -> float:
        """2-norm of the residuals of all stages."""
        return float(np.hypot.reduce([s.final_residual for s in self.stages]))

    @property
    def relative_residual(self) -> float:
        """The largest of all stages."""
        return max(s.relative_residual for s in self.stages)

    @property
    def residuals(self) -> Array:
        """2-norm over the stages, before each correction; a stage may stop early."""
        longest = max(len(s.residuals) for s in self.stages)
        rows = np.array(
            [np.pad(s.residuals, (0, longest - len(s.residuals))) for s in self.stages]
        )
        total: Array = np.hypot.reduce(rows, axis=0)
        return total


def per_stage(net: Network | Chain, value: Any) -> tuple[Any, ...]:
    """One for every stage, from one for all or one for each."""
    n = len(networks_of(net))
    if not isinstance(net, Chain):
        return (value,)
    if not isinstance(value, tuple | list | Solutions) or hasattr(value, "_fields"):
        return (value,) * n
    if len(value) != n:
        raise ValueError(f"got {len(value)} for {n} stages; give one for all, or {n}")
    return tuple(value)


def slabs_of(
    net: Network | Chain, options: Any, comm: Any, name: str = "options"
) -> list[Slab]:
    """What this rank owns of every stage.

    Parameters
    ----------
    net : Network or Chain
    options : MGRITOptions, tuple of them, or None
    comm : mpi4py communicator or TimeComm, optional
    name : str
        Of the options, for messages.
    """
    snake, slabs = snaking(comm), []
    stages = [*zip(networks_of(net), per_stage(net, options), strict=True)]
    for i, (one, how) in enumerate(stages):
        try:
            slabs.append(Slab.of(one, how, snake[i % 2], name))
        except ValueError as error:
            where = f"network {i} of {len(stages)}: " if isinstance(net, Chain) else ""
            raise ValueError(f"{where}{error}") from error
    return slabs


def trees_of(net: Network | Chain, params: Any) -> tuple[Any, ...]:
    """Parameters of every stage."""
    if not isinstance(net, Chain):
        return (params,)
    if not isinstance(params, tuple) or len(params) != len(net.networks):
        raise ValueError(
            f"a chain of {len(net.networks)} networks has a tuple of as many Params; "
            "make them with chain.init"
        )
    return params


def columns(net: Network | Chain, params: Any) -> tuple[Any, ...]:
    """What all ranks have in common of rows of parameters.

    Their dtype and length, and where every rank holds all of them a checksum.
    """
    found = []
    for one, tree in zip(networks_of(net), trees_of(net, params), strict=True):
        body = as_array("body", getattr(tree, "body", tree), "rows of parameters")
        values = f"{zlib.crc32(body.tobytes()):08x}" if one.control.shared else ""
        found.append((dtype_text(body.dtype), body.shape[1:], values))
    return tuple(found)


def common_inputs(net: Network | Chain, inputs: Any) -> Any:
    """What all ranks have in common of a batch: all but its number of layers."""
    first = networks_of(net)[0]
    if first.layer.input_shape is None:
        return inputs
    values = as_array("inputs", inputs, "an array of floats")
    return dtype_text(values.dtype), values.shape[:1], values.shape[2:]


def together(net: Network | Chain, parts: list[Any]) -> Any:
    """The only part of a network, or all of a chain."""
    if not isinstance(net, Chain):
        return parts[0]
    return Solutions(tuple(parts)) if isinstance(parts[0], Solution) else tuple(parts)


def slabs_back(net: Network | Chain, slabs: list[Slab], options: Any) -> list[Slab]:
    """The same with the options of adjoint solves.

    They are exact by default, with the intervals of the forward solves.

    Raises
    ------
    ValueError
        If they would give this rank other layers.
    """
    backs = []
    for slab, how in zip(slabs, per_stage(net, options), strict=True):
        if how is None:
            how = _serial(slab.options.coarsening, slab.options.slabs)
        backs.append(Slab.of(slab.net, how, slab.comm, "adjoint"))
        if backs[-1].layers != slab.layers:
            raise ValueError(
                f"the forward solution holds layers {span(slab.layers)}, the adjoint "
                f"options give this rank {span(backs[-1].layers)}; use one "
                "communicator, and the same coarsening for both, or the same slabs=, "
                "a multiple of all intervals"
            )
    return backs


_serial = lru_cache(MGRITOptions.serial)


def snaking(comm: Any) -> tuple[TimeComm, TimeComm]:
    """Ranks of even stages, and of odd ones."""
    ranks = as_time_comm(comm)
    return ranks, ranks.reversed()


def local_slab(
    net: Network | Chain, params: Any, *, options: Any, comm: Any = None
) -> Any:
    """Parameters that this rank owns: its rows, the opening on the first, head on last.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Whole network, or already local.
    options : MGRITOptions
        Its coarsening decides where slabs may end.
    comm : mpi4py communicator or TimeComm, optional
    """
    return own_parts(net, tuple(slabs_of(net, options, comm)), params)


def space(net: Network | Chain, options: Any = None, comm: Any = None) -> Space:
    """Dot products and norms of gradients and the like over the ranks of a network.

    Parameters
    ----------
    net : Network or Chain
    options : MGRITOptions, optional
        Of the solves: its coarsening decides where slabs may end.
    comm : mpi4py communicator or TimeComm, optional

    Returns
    -------
    Space
        Of trees like `Params`, whole or what this rank owns.  Rows that all ranks hold,
        as those of a spline, count once.

    Examples
    --------
    >>> from mgresnet.layers import Dense
    >>> net = Network(Dense(2), 3)
    >>> ones = net.init()._replace(body=np.ones((3, 6)))
    >>> space(net).dot(ones, ones)
    18.0
    """
    slabs = slabs_of(net, options, comm)
    gathers = tuple(_gather(slab.net, slab.comm) for slab in slabs)
    gather: Any = gathers if isinstance(net, Chain) else gathers[0]
    return Space(gather, partial(own_parts, net, tuple(slabs)))


def whole_params(
    net: Network | Chain, params: Any, *, options: Any = None, comm: Any = None
) -> Any:
    """Undo `local_slab`: the whole of what every rank has a part of, on all ranks.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        What this rank owns, of parameters, gradients and the like.
    options : MGRITOptions
        As for `local_slab`.
    comm : mpi4py communicator or TimeComm, optional
        All of its ranks call this together.
    """
    ranks = as_time_comm(comm)
    given: dict[str, Any] = {"net": net, "options": options}
    with agreement(ranks, "whole_params", given) as facts:
        facts["params"] = columns(net, params)
        slabs = slabs_of(net, options, ranks)
        own = [
            slab.own(t) for slab, t in zip(slabs, trees_of(net, params), strict=True)
        ]
    return together(net, [slab.whole(p) for slab, p in zip(slabs, own, strict=True)])


def own_parts(net: Network | Chain, slabs: tuple[Slab, ...], tree: Any) -> Any:
    """What this rank owns of a tree: Params, or a tuple of them."""
    stages = zip(slabs, trees_of(net, tree), strict=True)
    parts = [slab.own(part) for slab, part in stages]
    return tuple(parts) if isinstance(net, Chain) else parts[0]


def _gather(net: Network, comm: TimeComm) -> Gather:
    """Join rows of all ranks, those that all of them hold once.

    If these are all there is, every rank has the whole and no message is needed.
    """
    if not net.control.shared:
        return comm.gather
    if net.opening is None and net.head is None:
        return lambda values: values
    if comm.rank == 0:
        return comm.gather
    n_shared = net.control.n_rows(net.depth)
    return lambda values: comm.gather(values[n_shared:])
