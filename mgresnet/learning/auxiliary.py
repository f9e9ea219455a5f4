r"""Auxiliary variables: modules are trained apart, from starts that are variables, too.

A network in K modules :math:`X_k` has for every sample i the starts
:math:`v_{k,i}` of the modules k = 2, .., K, and defects

.. math:: d_{k,i} = X_{k-1}(v_{k-1,i}) - v_{k,i} .

With multipliers :math:`\lambda` and n samples in a batch

.. math::

    L = J\bigl(X_K(v_K)\bigr) + \frac1n \sum_{k,i} \Bigl( \langle \lambda_{k,i},
        d_{k,i} \rangle + \frac\beta2 \|d_{k,i}\|^2 \Bigr),

a penalty method without multipliers, an augmented Lagrangian with them [1]_.  What a
module hands on has the gradient :math:`\mu = \lambda + \beta d`, in place of an adjoint
from all modules behind; so modules march forth and back at the same time, and
neighbours exchange an end and a gradient.  Weights take the step of the optimiser along
dL/dtheta, starts and multipliers

.. math::

    v \leftarrow v + \frac\eta\beta (\mu - w), \qquad
    \lambda \leftarrow \lambda + \rho \beta d

with w the gradient for a start that its module finds, times n.  At frozen weights
:math:`\lambda`, or :math:`\beta d` of a penalty as beta grows, become the adjoints.

References
----------
.. [1] Q. Sun et al., arXiv:2009.01462 and arXiv:2112.05387, of which the abstracts were
   at hand.
"""

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import as_array, provides
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain, networks_of
from mgresnet.learning.filters import Filter
from mgresnet.learning.interfaces import Rows, Store, checksums
from mgresnet.learning.lagrangian import Lagrangian, lagrangian
from mgresnet.learning.layer_parallel import LayerParallel
from mgresnet.learning.modules import Stretch
from mgresnet.learning.oracle import FirstOrder
from mgresnet.learning.rounds import agreed
from mgresnet.learning.schedules import Rate, check_positive
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm
from mgresnet.parallel.agree import agreement
from mgresnet.solve.ahead import between
from mgresnet.solve.gradient import Info, pose_gradient
from mgresnet.solve.slab import Slab
from mgresnet.solve.stages import slabs_of


class Gap(NamedTuple):
    """What the modules have not agreed on, in the place of a solve's residual."""

    final_residual: float  # 2-norm over interfaces and samples
    status: Status
    relative_residual: float | None = None  # there is no tolerance that it is for
    states: Array = np.zeros((0, 0))
    kept: tuple[int, ...] = ()


@dataclass(frozen=True)
class Auxiliary:
    """Oracle of `penalty` and `augmented_lagrangian`, with checked arguments."""

    inner: LayerParallel
    points: tuple[tuple[int, ...], ...]  # where modules begin, of every stage
    filters: tuple[Filter, ...]  # of every stage
    samples: int
    beta: Rate
    step: float  # eta
    pace: float  # rho; 0 is a penalty method
    sweeps: int
    store: Store

    @property
    def net(self) -> Network | Chain:
        """Network, or Chain."""
        return self.inner.net

    @property
    def options(self) -> MGRITOptions:
        """Exact propagation."""
        return self.inner.options

    @property
    def comm(self) -> TimeComm:
        """Ranks that share the modules."""
        return self.inner.comm

    @property
    def bytes_sent(self) -> int:
        """Bytes that pass all interfaces for a sample in a sweep, both ways."""
        return 2 * self._numbers(1)

    @property
    def bytes_kept(self) -> int:
        """Bytes that there is room for: variables of all samples, on all ranks."""
        return self._numbers(self._n_kinds) * self.samples * self.store.copies

    @property
    def _n_kinds(self) -> int:
        """Starts, and multipliers if there are any."""
        return 2 if self.pace else 1

    @property
    def _about(self) -> str:
        """What variables there are; those of a state have to be the same."""
        kinds = "starts and multipliers" if self.pace else "starts"
        layers, kept = (", ".join(map(str, of)) for of in (self.points, self.filters))
        return f"{kinds} of {self.samples} samples at layers {layers}, kept as {kept}"

    def init(self, params: Any) -> Any:
        """Room for the variables of all samples at this rank's interfaces."""
        slabs = slabs_of(self.net, self.options, self.comm)
        stretches = self._stretches(slabs, [params] * len(slabs))
        return self.store.init(stretches, self.samples, self._n_kinds, self._about)

    def check(self, params: Any, batch: Any) -> Any:
        """The batch as arrays, if it fits and has numbers of its samples."""
        batch = self.inner.check(params, batch)
        if batch.rows is None:
            raise ValueError(
                "auxiliary variables go by the numbers of samples, got a batch without "
                "rows; try mg.batches, or mg.Batch(inputs, targets, epoch, rows)"
            )
        return batch._replace(rows=self._checked_rows(batch.rows, len(batch.inputs)))

    def _checked_rows(self, given: Any, n: int) -> Rows:
        """Numbers of n samples, or what is wrong with them."""
        rows = as_array("rows", given, f"integers, shape ({n},)")
        if rows.shape != (n,) or rows.dtype.kind not in "iu":
            raise ValueError(
                f"rows have dtype {rows.dtype}, shape {rows.shape}, needed integers, "
                f"shape ({n},): a number for each sample of the batch"
            )
        if rows.min() < 0 or rows.max() >= self.samples:
            raise ValueError(
                f"rows go from {rows.min()} to {rows.max()}, needed numbers of samples "
                f"below {self.samples}; give samples= the number of all samples"
            )
        numbers, counts = np.unique(rows, return_counts=True)
        if len(numbers) < n:
            raise ValueError(
                f"rows have the number {numbers[counts.argmax()]} {counts.max()} "
                "times, needed another one for each sample of a batch, as variables "
                "are its own; try mg.batches"
            )
        return rows

    def _numbers(self, variables: int) -> int:
        """Bytes of so many variables of a sample at all interfaces."""
        stages = zip(self.points, self.filters, strict=True)
        return variables * sum(len(points) * kept.bytes for points, kept in stages)

    def value(self, params: Any, batch: Any, memory: Any) -> float:
        """Value after as many sweeps."""
        return self.evaluate(params, batch, memory).value

    @np.errstate(over="ignore", invalid="ignore")  # shows in the status
    def evaluate(self, params: Any, batch: Any, memory: Any) -> FirstOrder:
        """Value and gradient at the variables of the batch, which then take a step."""
        began = time.perf_counter()
        self._check_memory(memory)
        batch = agreed(self, self.comm, params, batch)
        loss = batch.targets, self.inner.objective, self.inner.regularisation
        given = self.net, params, batch.inputs, *loss, None, None
        problem = pose_gradient(*given, comm=self.comm)
        stretches = self._stretches(problem.slabs, problem.owned)
        beta, memory = self._beta(memory.step), self._noted(memory, batch)
        variables = self._variables(stretches, batch, memory)
        starts = [each[:, :, 0] for each in variables]
        multipliers = [np.zeros_like(v) for v in starts]
        if self.pace:
            multipliers = [each[:, :, 1] for each in variables]
        for _ in range(self.sweeps):
            found = lagrangian(problem, stretches, starts, multipliers, beta)
            starts = _moved(starts, self.step / beta, found.pulls)
        kept = [starts]
        if self.pace:
            kept.append(_moved(multipliers, self.pace * beta, found.defects))
        values = [np.stack(each, axis=2) for each in zip(*kept, strict=True)]
        memory = self.store.write(memory, stretches, batch.rows, values)
        spent = {"modules": time.perf_counter() - began}
        info = _info(stretches, found, spent)
        return FirstOrder(found.value, found.gradient, memory, info, seconds=spent)

    def _check_memory(self, memory: Any) -> None:
        """Refuse variables of other modules, or kept in another way."""
        provides("memory", memory, self.store.fields, "oracle.init(params)")
        if memory.about != self._about:
            raise ValueError(
                f"the state has {memory.about}, the oracle needs {self._about}; give "
                "the oracle of the training that the state comes from, or start the "
                "variables anew with state._replace(memory=oracle.init(state.params))"
            )

    def _noted(self, memory: Any, batch: Any) -> Any:
        """Memory with checksums of a batch's inputs, if variables are not of others."""
        if networks_of(self.net)[0].layer.input_shape is not None:
            return memory  # a rank may have the inputs of its own layers alone
        known, inputs = self.store.known(memory, batch.rows), memory.inputs.copy()
        sums = checksums(batch.inputs)
        others = batch.rows[known & (inputs[batch.rows] != sums)]
        if len(others):
            raise ValueError(
                f"{len(others)} sample(s), such as {others[0]}, have other inputs than "
                "those that their variables belong to, needed the same whenever they "
                "come; augment images in the correction of mg.hybrid alone"
            )
        inputs[batch.rows] = sums
        return memory._replace(inputs=inputs)

    def _stretches(self, slabs: list[Slab], owned: list[Params]) -> list[Stretch]:
        """What this rank has of every stage."""
        stages = zip(slabs, owned, self.points, self.filters, strict=True)
        return [
            Stretch(slab, own, _points_here(slab, points), filter_)
            for slab, own, points, filter_ in stages
        ]

    def _variables(
        self, stretches: list[Stretch], batch: Any, memory: Any
    ) -> list[Array]:
        """Those of the samples of a batch; exact starts of those that have none."""
        rows, found, n = batch.rows, list[Array](), self._n_kinds
        known = self.store.known(memory, rows)
        kept, x = self.store.read(memory, stretches, rows[known]), batch.inputs[~known]
        for stretch, some in zip(stretches, kept, strict=True):
            shape = len(stretch.points), len(rows), n, stretch.filter.size
            found.append(np.zeros(shape, stretch.filter.dtype))
            found[-1][:, known] = some
            if not known.all():
                x = between(stretch.slab, x) if found[1:] else x
                found[-1][:, ~known, 0], x = stretch.exact_starts(x)
        return found

    def _beta(self, step: int) -> float:
        """Weight of the defects in an evaluation."""
        if not callable(self.beta):
            return self.beta
        with agreement(self.comm, f"evaluation {step} of auxiliary variables", {}) as f:
            f["beta"] = beta = self.beta(step)
            check_positive(f"beta of evaluation {step}", beta, "try 1.0")
        return beta


def _moved(values: list[Array], rate: float, along: list[Array]) -> list[Array]:
    """Variables after a step, as they are kept."""
    pairs = zip(values, along, strict=True)
    return [(v + rate * d).astype(v.dtype) for v, d in pairs]


def _info(
    stretches: list[Stretch], found: Lagrangian, seconds: dict[str, float]
) -> Info:
    """Norms over all interfaces and samples: of defects, and of starts' gradients."""
    gaps, loss = [], found.loss if math.isfinite(found.value) else found.value
    for parts in (found.defects, found.pulls):
        rows = [
            stretch.slab.comm.gather(np.array([np.sum(d * d) for d in part], float))
            for stretch, part in zip(stretches, parts, strict=True)
        ]
        norm = math.sqrt(np.sum(np.concatenate(rows)))
        fine = math.isfinite(norm) and math.isfinite(found.value)
        gaps.append(Gap(norm, Status.MAX_ITERATIONS if fine else Status.NON_FINITE))
    return Info(gaps[0], gaps[1], loss, seconds)


def _points_here(slab: Slab, points: tuple[int, ...]) -> tuple[int, ...]:
    """Where modules begin on a rank, from its first layer."""
    start, stop = slab.layers.start, slab.layers.stop
    here = range(start, stop + 1 if slab.is_last else stop)
    return tuple(n - start for n in points if n in here)
