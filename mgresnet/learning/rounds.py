"""Steps of training that all ranks take together, or none of them takes."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain, networks_of
from mgresnet.data import Batch
from mgresnet.network import Network, Params
from mgresnet.parallel.agree import CALL, agreement
from mgresnet.parallel.grid import ProcessGrid
from mgresnet.parallel.roll import leave
from mgresnet.solve.stages import common_inputs, trees_of

END = object()  # of the batches


def common_batches(
    net: Network | Chain,
    batches: Iterable[Any],
    grid: ProcessGrid,
    check: Callable[[Any, Any], Array],
) -> Iterator[Batch]:
    """Batches of the same shape on all ranks, as long as all ranks have one.

    Parameters
    ----------
    net : Network or Chain
    batches : iterable of Batch or of (inputs, targets)
    grid : ProcessGrid
    check : callable
        Returns inputs as an array, or raises if they or the targets do not fit, which
        on one rank is an error on all of them.

    Notes
    -----
    A rank that closes the iterator tells the others, for which that is an error unless
    they do the same in this step.
    """
    source = iter(batches)
    for step in itertools.count():
        with agreement(grid, f"step {step} of train", {}) as facts:
            given: Any = next(source, END)
            if given is END:
                facts[CALL] = f"the end of its batches after {step} step(s)"
            else:
                inputs, targets, epoch = _as_batch(given)
                facts |= {"inputs": common_inputs(net, inputs), "targets": targets}
                inputs = check(inputs, targets)
        if given is END:
            return
        try:
            yield Batch(inputs, targets, epoch)
        except GeneratorExit:
            leave(grid, step + 1)
            raise


def known_facts(net: Network | Chain, params: Any, batches: Any) -> dict[str, Any]:
    """What a rank may know: values of the whole network, and how many batches come."""
    length = len(batches) if hasattr(batches, "__len__") else None
    trees = zip(networks_of(net), trees_of(net, params), strict=True)
    digests = [_digest(one, tree) for one, tree in trees]
    whole = None if None in digests else " ".join(map(str, digests))
    return {"parameter values": whole, "number of batches": length}


def _digest(net: Network, params: Params) -> str | None:
    """Short name for the values of whole parameters."""
    maps = (net.opening, params.opening), (net.head, params.head)
    rows = net.control.n_rows(net.depth)
    if len(params.body) < rows or any(m and theta is None for m, theta in maps):
        return None
    found = blake2b(digest_size=4)
    for values in params:
        found.update(b"" if values is None else np.ascontiguousarray(values).data)
    return found.hexdigest()


def _as_batch(batch: Any) -> Batch:
    """Inputs and targets, whichever way they come."""
    if isinstance(batch, tuple | list) and len(batch) in (2, 3):
        return Batch(*batch)
    raise TypeError(
        f"batches made a {type(batch).__name__}, needed Batch(inputs, targets) each "
        "time; for one batch of all samples give [(inputs, targets)]"
    )
