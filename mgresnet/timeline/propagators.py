"""Forward propagation over a run of layers, and over its coarse versions."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.arrays.layout import Array, absent
from mgresnet.arrays.memory import empty, rows
from mgresnet.layers.coarse import CoarseOperator
from mgresnet.layers.protocol import Layer
from mgresnet.layers.steps import Steps
from mgresnet.parallel.comm import TimeComm


class Forward(NamedTuple):
    """Steps ``u[n+1] = G(theta_n, u[n]) + g[n+1]`` through consecutive layers.

    Parameters
    ----------
    layer : Layer
    steps : Steps
        With moments of the parameters, as coarser levels are made from.
    operator : CoarseOperator, or None
        How coarser versions of this propagator are made; None if there are none.
    tape : ndarray, shape (n_steps, *tape_shape, batch), or of size zero
        Where to note what the layer wants to know for the adjoint.
    made : dict
        What has been made of these steps, by this and other propagators with them: the
        adjoint solve needs what the forward one does.
    """

    layer: Layer
    steps: Steps
    operator: CoarseOperator | None
    tape: Array
    made: dict[Any, Any]

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.steps.n

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of parameters and states."""
        return self.steps.theta.dtype

    @property
    def sample_block(self) -> int:
        """Samples that stay together; see `Layer`."""
        return self.layer.sample_block

    @property
    def tape_shape(self) -> tuple[int, ...]:
        """Shape of what a step notes for one sample."""
        return self.layer.tape_shape(self.steps.scheme)

    @property
    def prepared(self) -> Steps:
        """What marches are given."""
        made: Steps = self._once("prepared", lambda: self.layer.prepare(self.steps))
        return made

    def with_steps(self, steps: Steps) -> Self:
        """Other steps of the same layer, without a tape."""
        none = absent(self.dtype)
        return type(self)(self.layer, steps, self.operator, none, {})

    def propagate(self, starts: Array, u: Array, forcing: Array) -> None:
        """Fill every block with what follows its start; u is modified in place.

        Parameters
        ----------
        starts : ndarray, shape (n_blocks, *state)
        u : ndarray, shape (n_blocks, k, *state)
            Each column is ``n_steps / (n_blocks * k)`` steps behind the one before.
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state), or of size zero
        """
        self.layer.march(self.prepared, starts, u, forcing, self.tape)

    def noting(self, batch: int) -> Self:
        """The same steps, with a new tape for so many samples."""
        shape = (self.n_steps, *self.tape_shape, batch)
        tape = rows(shape, self.dtype)
        return type(self)(self.layer, self.steps, self.operator, tape, self.made)

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""
        steps, nothing = self.n_steps, self.part(0, 0)
        n = steps - steps % m
        behind = self.part(n, steps) if n < steps else nothing
        return nothing, self.part(0, n), behind

    def coarsen(self, m: int) -> Self:
        """One step for every m, for propagators without remainder."""
        operator = self.operator
        if operator is None:
            raise ValueError(
                f"{self.layer!r} has no coarse operator of the name that the options "
                "have, but coarse steps are needed, also to estimate errors in stages "
                "that are solved serially; give coarse_operator= of the layer, there "
                'with initial_guess="serial"'
            )

        def make() -> Forward:
            return self.with_steps(self.steps.coarsen(m, operator))

        made: Self = self._once(("coarse", m), make)
        return made

    def whole(self, comm: TimeComm) -> "ForwardOfAll":
        """Steps of all ranks."""

        def make() -> Forward:
            return self.with_steps(self.steps.of_all(comm))

        return ForwardOfAll(self._once(("whole", comm.rank, comm.size), make), comm)

    def for_samples(self, samples: slice) -> Self:
        """The same steps for some samples; nothing can be known before a start."""
        some, tape = self.steps.for_samples(samples), self.tape
        made = self.made if some is self.steps else {}
        tape = tape[..., samples] if tape.size else tape
        return type(self)(self.layer, some, self.operator, tape, made)

    def part(self, start: int, stop: int) -> Self:
        """Keep the steps start..stop-1."""
        if (start, stop) == (0, self.n_steps):
            return self

        def make() -> Forward:
            return self.with_steps(self.steps.part(start, stop))

        made: Self = self._once((start, stop), make)
        return made._replace(tape=self.tape[start:stop]) if self.tape.size else made

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Make something, unless it is there."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]


class ForwardOfAll(NamedTuple):
    """Steps of all ranks; their inputs are handed over where they are needed."""

    forward: Forward  # of all ranks, with the inputs of this one
    comm: TimeComm

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def share(self, samples: slice) -> Forward:
        """Keep this rank's share of some samples."""
        f = self.forward
        some = f.steps.with_share(samples, self.comm, f.sample_block)
        return f if some is f.steps else f.with_steps(some)


def march(propagator: Any, starts: Array, k: int) -> Array:
    """What follows in blocks (n_blocks, k, *state) of k steps from their starts."""
    u = empty((len(starts), k, *starts.shape[1:]), starts.dtype)
    propagator.propagate(np.ascontiguousarray(starts), u, absent(u.dtype))
    return u
