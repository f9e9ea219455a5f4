r"""Gradients with noise in states and adjoints, to see what inexactness does.

.. math:: \tilde u_n = u_n + \delta_n, \quad
          \tilde w_n = \tilde w_n^{exact}(\tilde u) + \epsilon_n, \quad
          d_n = \Bigl(\frac{\partial \Phi_n}{\partial \theta_n}(\tilde u_n)\Bigr)^T
                \tilde w_{n+1}

The noise is added to what was solved, and loss, adjoints and gradient see it.  What is
drawn follows from a seed, the number of the evaluation and that of the layer: it is the
same on any number of ranks.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import choose, integer, provides, real
from mgresnet.arrays.layout import Array, absent
from mgresnet.arrays.trees import tree_map
from mgresnet.chain import Chain
from mgresnet.learning.ladder import SERIAL
from mgresnet.learning.layer_parallel import LayerParallel
from mgresnet.learning.oracle import Both, FirstOrder
from mgresnet.learning.rounds import agreed
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.parallel import TimeComm
from mgresnet.solve.from_solutions import parameter_gradient
from mgresnet.solve.gradient import Info
from mgresnet.solve.propagation import solve_adjoint, solve_forward
from mgresnet.solve.reading import close, read
from mgresnet.solve.slab import Slab, span
from mgresnet.solve.solution import Solution
from mgresnet.solve.stages import slabs_of

DIRECTIONS = ("random", "error")
Size = float | MGRITOptions | None


class Draws(NamedTuple):
    """Number of evaluations so far."""

    drawn: int = 0


@dataclass(frozen=True)
class Noise:
    """Oracle of `noise`, with checked arguments."""

    inner: LayerParallel
    sizes: Both
    direction: str
    seed: int

    @property
    def net(self) -> Any:
        """Network."""
        return self.inner.net

    @property
    def options(self) -> MGRITOptions:
        """Of the forward solve."""
        return self.inner.options

    @property
    def comm(self) -> TimeComm:
        """Ranks that share the layers."""
        return self.inner.comm

    def init(self, params: Any) -> Draws:
        """Nothing is drawn yet."""
        return Draws()

    def check(self, params: Any, batch: Any) -> Any:
        """The batch as arrays, or an error if it does not fit."""
        return self.inner.check(params, batch)

    def value(self, params: Any, batch: Any, memory: Draws) -> float:
        """Value without noise."""
        return self.inner.value(params, batch, ())

    @np.errstate(over="ignore", invalid="ignore")  # shows in the value
    def evaluate(self, params: Any, batch: Any, memory: Draws) -> FirstOrder:
        """Value and gradient at noisy states and adjoints."""
        started = time.perf_counter()
        provides("memory", memory, Draws._fields, "oracle.init(params)")
        batch = agreed(self, self.comm, params, batch)
        inner, given = self.inner, (self.net, params)
        slab = slabs_of(self.net, self.options, self.comm)[0]
        ways: Any = {"options": inner.options, "comm": self.comm}
        forward = solve_forward(*given, batch.inputs, **ways)
        other = self._other(self.sizes.forward)
        if other is not None:
            other = solve_forward(*given, batch.inputs, options=other, comm=self.comm)
        u = self._noisy(forward, other, Draw(self.seed, memory.drawn, 0, 0))
        seen = read(slab, u.states)
        far = slab, forward.own, seen, batch.targets, inner.objective
        loss, d_head, seed = close(*far)
        ways["options"] = inner.adjoint
        adjoint = solve_adjoint(*given, u, seed, **ways)
        other = self._other(self.sizes.adjoint)
        if other is not None:
            other = solve_adjoint(*given, u, seed, options=other, comm=self.comm)
        end = slab.net.depth
        w = self._noisy(adjoint, other, Draw(self.seed, memory.drawn, 1, end))
        gradient = parameter_gradient(*given, u, w, comm=self.comm)
        value, gradient = _penalised(
            inner, slab, forward.own, loss, gradient._replace(head=d_head)
        )
        spent = {"noise": time.perf_counter() - started}
        return FirstOrder(
            value,
            gradient,
            memory=Draws(memory.drawn + 1),
            info=Info(u, w, loss, spent),
            iterations=Both(SERIAL, SERIAL),
            seconds=spent,
        )

    def _other(self, size: Size) -> MGRITOptions | None:
        """Options of a solve whose error is wanted."""
        return size if isinstance(size, MGRITOptions) else None

    def _noisy(self, exact: Solution, other: Solution | None, draw: "Draw") -> Solution:
        """A solution with noise, or with another one's error."""
        size = self.sizes[draw.way]
        if size is None:
            return exact
        if other is not None and self.direction == "error":
            states = other.states
        else:
            states = exact.states.copy()
            for i, n in enumerate(range(exact.slab.start, exact.slab.stop + 1)):
                error = None if other is None else other.states[i] - exact.states[i]
                states[i] += draw.at(n, exact.states[i], size, error)
        layers = exact.layers
        if layers is not None:  # its tape is that of the states without noise
            layers = layers._replace(tape=absent(states.dtype))
        return replace(exact, states=states, layers=layers)


class Draw(NamedTuple):
    """What decides the noise of an evaluation; `exact` is the point without any."""

    seed: int
    drawn: int
    way: int  # 0 forward, 1 back
    exact: int

    def at(self, n: int, state: Array, size: Any, error: Array | None) -> Array:
        """Gaussian noise at point n, as large as the error or a part of the state."""
        length = size * _norm(state) if error is None else _norm(error)
        if n == self.exact:
            return np.zeros_like(state)
        rng = np.random.default_rng((self.seed, self.drawn, self.way, n))
        direction = rng.standard_normal(state.shape)
        return (length / _norm(direction) * direction).astype(state.dtype)


def _norm(values: Array) -> float:
    """2-norm, with the same bits wherever the values lie."""
    return math.sqrt(float(np.sum(np.square(values, dtype=np.float64, order="C"))))


def _penalised(
    inner: LayerParallel, slab: Slab, own: Any, loss: float, gradient: Any
) -> tuple[float, Any]:
    """Value and gradient with penalties."""
    if inner.regularisation is None:
        return loss, gradient
    penalty, d_penalty = inner.regularisation.of_slab(slab, own)
    rows = d_penalty._replace(body=slab.pull_back(d_penalty.body))
    return loss + penalty, tree_map(np.add, gradient, rows)


def noise(
    oracle: LayerParallel,
    *,
    forward: Size = None,
    backward: Size = None,
    direction: str = "random",
    seed: int = 7,
) -> Noise:
    """Add noise to the states or to the adjoints that an oracle's gradients come from.

    Parameters
    ----------
    oracle : Oracle
        Of `layer_parallel` for a `Network`; exact unless its options say otherwise.
    forward, backward : float or MGRITOptions, optional
        Of states, and of adjoints.  A number is the 2-norm of Gaussian noise relative
        to that of each state.  With options, the norm is that of the error of such a
        solve, state by state.  By default there is no noise.
    direction : {"random", "error"}
        Of noise as large as an error: Gaussian, or that of the error itself, for which
        the gradient is the one of these options.
    seed : int

    Returns
    -------
    Oracle
        It remembers how often noise was drawn.  Values for line searches have none.

    Raises
    ------
    ValueError, TypeError
        If a size is negative or not finite, or options give this rank other layers.

    Examples
    --------
    >>> from mgresnet import Dense, LeastSquares, Network, layer_parallel
    >>> net = Network(Dense(2), 8)
    >>> plain, params = layer_parallel(net, LeastSquares()), net.init(seed=1)
    >>> batch = np.ones((3, 2)), np.zeros((3, 2))
    >>> exact, noisy = plain, noise(plain, backward=0.1)
    >>> found = [o.evaluate(params, batch, o.init(params)) for o in (exact, noisy)]
    >>> found[0].value == found[1].value
    True
    >>> bool(np.allclose(found[0].gradient.body, found[1].gradient.body))
    False
    """
    needed = ("net", "objective", "options", "adjoint", "comm", "regularisation")
    provides("oracle", oracle, needed, "layer_parallel(net, LeastSquares())")
    if isinstance(oracle.net, Chain):
        raise TypeError("the oracle is one of a Chain, needed one of a Network")
    choose("direction", direction, DIRECTIONS)
    for name, size in (("forward", forward), ("backward", backward)):
        _check_size(name, size, oracle)
    seed = integer("seed", seed, 0)
    return Noise(oracle, Both(forward, backward), direction, seed)


def _check_size(name: str, size: Size, oracle: LayerParallel) -> None:
    """Refuse what is no size of noise."""
    if isinstance(size, MGRITOptions):
        ours, theirs = (
            slabs_of(oracle.net, options, oracle.comm)[0].layers
            for options in (oracle.options, size)
        )
        if ours != theirs:
            raise ValueError(
                f"{name} gives this rank layers {span(theirs)}, the oracle "
                f"{span(ours)}; give the oracle MGRITOptions.serial({size.coarsening})"
            )
    elif size is not None and not 0.0 <= real(name, size, 0.01) < math.inf:
        raise ValueError(f"{name} is {size}, needed a finite number >= 0, or options")
