"""Two oracles in turns of epochs: modules apart, and then all layers together.

The serial-parallel hybrid: some epochs are trained by a method of auxiliary variables,
whose modules march at once, and a correction follows by exact propagation, or by MGRIT.
Stored variables belong to inputs that never change; so images can be augmented in the
correction alone [1]_.

References
----------
.. [1] Q. Sun et al., arXiv:2009.01462, of which the abstract was at hand.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from mgresnet.arrays.checks import integer, provides
from mgresnet.chain import Chain
from mgresnet.learning.auxiliary import Auxiliary
from mgresnet.learning.layer_parallel import LayerParallel
from mgresnet.learning.oracle import (
    EXAMPLE,
    FirstOrder,
    Oracle,
    check_oracle,
    check_same,
)
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.parallel import TimeComm
from mgresnet.solve.stages import slabs_of


class Turns(NamedTuple):
    """Memories of both oracles."""

    parallel: Any
    correction: Any


@dataclass(frozen=True)
class Hybrid:
    """Oracle of `hybrid`."""

    parallel: Auxiliary
    correction: Any  # Oracle
    epochs: tuple[int, int]

    @property
    def net(self) -> Network | Chain:
        """Network, or Chain."""
        return self.parallel.net

    @property
    def options(self) -> MGRITOptions:
        """Those that say which layers a rank owns."""
        return self.parallel.options

    @property
    def comm(self) -> TimeComm:
        """Ranks that share the layers."""
        return self.parallel.comm

    def corrects(self, batch: Any) -> bool:
        """Whether a batch is one of the correction, by its epoch."""
        provides("batch", batch, ("epoch",), "mg.Batch(inputs, targets, epoch)")
        first, second = self.epochs
        return int(batch.epoch) % (first + second) >= first

    def init(self, params: Any) -> Turns:
        """Memories before the first batch."""
        return Turns(self.parallel.init(params), self.correction.init(params))

    def check(self, params: Any, batch: Any) -> Any:
        """The batch as arrays, or an error if it does not fit."""
        return self._of(batch)[1].check(params, batch)

    def evaluate(self, params: Any, batch: Any, memory: Turns) -> FirstOrder:
        """Value and gradient by the oracle whose turn it is."""
        provides("memory", memory, Turns._fields, "oracle.init(params)")
        name, oracle = self._of(batch)
        found: FirstOrder = oracle.evaluate(params, batch, getattr(memory, name))
        return found._replace(memory=memory._replace(**{name: found.memory}))

    def value(self, params: Any, batch: Any, memory: Turns) -> float:
        """Value by the oracle whose turn it is."""
        name, oracle = self._of(batch)
        return float(oracle.value(params, batch, getattr(memory, name)))

    def _of(self, batch: Any) -> tuple[str, Any]:
        """Oracle of a batch, and the name of its memory."""
        if self.corrects(batch):
            return "correction", self.correction
        return "parallel", self.parallel


def hybrid(
    parallel: Auxiliary, correction: Any, epochs: tuple[int, int] = (2, 1)
) -> Hybrid:
    """Oracle that trains modules apart for some epochs, and then all layers together.

    Parameters
    ----------
    parallel : Oracle
        Of `penalty` or `augmented_lagrangian`.
    correction : Oracle
        Of `layer_parallel`, exact or not, of the same network and ranks.
    epochs : tuple of int
        How many by the one, how many by the other, and so on in turns.

    Returns
    -------
    Oracle
        Which one's turn it is follows from `Batch.epoch`, so that a run can go on from
        any step.  Its `corrects(batch)` tells, as for augmented images::

            batches = (
                next(mg.augmented([b], shape)) if oracle.corrects(b) else b
                for b in mg.batches(data.train, 100, epochs=12)
            )

    Raises
    ------
    TypeError, ValueError
        If they are not one of each kind, are of other networks or objectives, or divide
        the layers in another way.
    """
    _check_kinds(parallel, correction)
    check_same(correction, parallel.net, parallel.comm)
    _check_goals(parallel.inner, correction)
    if not isinstance(epochs, tuple | list) or len(epochs) != 2:
        raise ValueError(f"epochs is {epochs!r}, needed two numbers; try (2, 1)")
    first, second = (integer("epochs", n, 1) for n in epochs)
    layers = [
        [slab.layers for slab in slabs_of(one.net, one.options, one.comm)]
        for one in (parallel, correction)
    ]
    if layers[0] != layers[1]:
        raise ValueError(
            f"this rank has layers {layers[0]} of the parallel oracle and {layers[1]} "
            "of the correction; give both the same comm, and the correction "
            "MGRITOptions.serial(), or another coarsening"
        )
    return Hybrid(parallel, correction, (first, second))


def _check_kinds(parallel: Any, correction: Any) -> None:
    """Refuse two oracles of a kind, or the one in the place of the other."""
    if not isinstance(parallel, Auxiliary):
        raise TypeError(
            f"the first oracle is a {type(parallel).__name__}, needed one of "
            "mg.penalty or mg.augmented_lagrangian"
        )
    if isinstance(correction, Auxiliary | Hybrid):
        raise TypeError(
            f"the second oracle is a {type(correction).__name__}, needed one without "
            "auxiliary variables; try mg.layer_parallel(net, objective)"
        )
    check_oracle(correction, Oracle)
    provides("oracle", correction, ("net", "comm"), EXAMPLE)


def _check_goals(inner: LayerParallel, correction: Any) -> None:
    """Refuse oracles that do not minimise the same."""
    while hasattr(correction, "inner"):
        correction = correction.inner
    for name in ("objective", "regularisation"):
        one = getattr(inner, name)
        other = getattr(correction, name, one)
        if one != other:
            raise ValueError(
                f"the {name} of the parallel oracle is {one!r}, of the correction "
                f"{other!r}; give both the same"
            )
