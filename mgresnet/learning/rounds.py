"""Steps of training that all ranks take together, or none of them takes."""

import itertools
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from mgresnet.chain import Chain, networks_of
from mgresnet.data import Batch
from mgresnet.network import Network, Params
from mgresnet.parallel.agree import CALL, agreement
from mgresnet.parallel.roll import Roll, leave
from mgresnet.solve.stages import common_inputs, trees_of

END = object()  # of the batches


class AgreedBatch(NamedTuple):
    """A batch that was checked, and has the same shape on all ranks; see `Batch`."""

    inputs: Any
    targets: Any
    epoch: int = 0
    rows: Any = None


def common_batches(
    oracle: Any, net: Network | Chain, params: Any, batches: Iterable[Any], grid: Roll
) -> Iterator[AgreedBatch]:
    """Batches of the same shape on all ranks, as long as all ranks have one.

    Parameters
    ----------
    oracle : Oracle
        Checks every batch.  If one does not fit, that is an error on all ranks.
    net : Network or Chain
    params : Params, or a tuple of them
        Of any step; what a batch has to fit is the same for all.
    batches : iterable of Batch or of (inputs, targets)
    grid : ProcessGrid or TimeComm

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
                given = _as_batch(given)
                facts |= _facts(net, given)
                given = oracle.check(params, given)
        if given is END:
            return
        try:
            yield AgreedBatch(*given)
        except GeneratorExit:
            leave(grid, step + 1)
            raise


def agreed(oracle: Any, comm: Roll, params: Any, batch: Any) -> AgreedBatch:
    """A batch that ranks have compared, now unless it was before.

    Parameters
    ----------
    oracle : Oracle
        With a network, on whose behalf this is asked.
    comm : ProcessGrid or TimeComm
        All of its ranks come here.
    params : Params, or a tuple of them
    batch : Batch or (inputs, targets)
    """
    if isinstance(batch, AgreedBatch):
        return batch
    with agreement(comm, "an oracle's evaluation", {"oracle": oracle}) as facts:
        batch = _as_batch(batch)
        facts |= _facts(oracle.net, batch)
        return AgreedBatch(*oracle.check(params, batch))


def _facts(net: Network | Chain, batch: Batch) -> dict[str, Any]:
    """What all ranks have in common of a batch."""
    inputs = common_inputs(net, batch.inputs)
    return {"inputs": inputs, "targets": batch.targets, "rows": _short(batch.rows)}


def _short(rows: Any) -> str:
    """Text for the numbers of samples: the first of them, and a digest of all."""
    if rows is None:
        return "none"
    numbers = np.asarray(rows).ravel()
    digest = blake2b(numbers.tobytes(), digest_size=4).hexdigest()
    return f"{numbers[:3].tolist()} and on ({digest})"


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
    named = getattr(batch, "_fields", ())[:2] == Batch._fields[:2]
    if named or (isinstance(batch, tuple | list) and len(batch) == 2):
        return Batch(*batch)
    entries = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    raise TypeError(
        f"batches made a {type(batch).__name__}{entries}, needed (inputs, targets) or "
        "Batch(inputs, targets, epoch, rows) each time; for one batch of all samples "
        "give [(inputs, targets)]"
    )
