r"""How fast a solve will converge, predicted from a few samples and intervals.

The solver's own cycle, with the levels, relaxations and first approximation of the
options, runs on the model of `mgresnet.accuracy.sampled`: exact coarse steps, and what
they miss measured on some of the intervals only.  For linear layers its error obeys the
recursion of `mgresnet.accuracy.theory`, with phi and psi that vary over depth.
Weights smooth in depth need few intervals; weights that have nothing to do with their
neighbours need all of them, but still few samples.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mgresnet.accuracy.sampled import SampledIntervals, sample, transpose
from mgresnet.accuracy.spectrum import eigenvalues
from mgresnet.accuracy.theory import coarse_factor, is_stable
from mgresnet.arrays.checks import check_finite, check_states, integer
from mgresnet.arrays.layout import Array, samples_last
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Result, solve_c_points
from mgresnet.network import Network, Params, check_network
from mgresnet.parallel import SerialComm
from mgresnet.solve.slab import Slab
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import Forward

FEWEST_INTERVALS = 9  # that a defect is measured on
SAMPLING_ERROR = 0.3  # of a defect predicted from half as many intervals
GOOD_FACTOR = 0.1  # one digit per iteration
POINTS, SAMPLES = 9, 2  # at which a level is linearised


@dataclass(frozen=True)
class LevelGrowth:
    """Growth on one coarse level.

    Parameters
    ----------
    m : int
        Number of layers in one step of the level.
    largest : float
        Largest modulus of a factor psi of a coarse step.
    stable : bool
        Whether coarse steps grow no more than the layers allow, over the whole depth;
        see `mgresnet.accuracy.theory.is_stable`.
    """

    m: int
    largest: float
    stable: bool


@dataclass(frozen=True)
class Prediction:
    """Expected convergence of a solve; prints as a table.

    Parameters
    ----------
    factor, adjoint_factor : float
        By which an iteration reduces the residual: geometric mean over the iterations
        that the options allow, up to rounding.  Infinite if a solve will overflow.
    residuals, adjoint_residuals : tuple of float
        Expected residual before every correction, relative to the first.
    levels : tuple of LevelGrowth
        Coarse levels, finest first.
    recommended : tuple of int
        Suggested coarsening with two levels; empty if layers are better propagated one
        after the other.
    n_sampled : int
        Number of intervals of the finest level that were evaluated.
    """

    factor: float
    adjoint_factor: float
    residuals: tuple[float, ...]
    adjoint_residuals: tuple[float, ...]
    levels: tuple[LevelGrowth, ...]
    recommended: tuple[int, ...]
    n_sampled: int

    def __str__(self) -> str:
        rows = ["residual per iteration", f"  forward  x {self.factor:.1e}"]
        rows += [f"  adjoint  x {self.adjoint_factor:.1e}"]
        rows += ["layers per step  largest |psi|  stable"] if self.levels else []
        rows += [
            f"{level.m:15d}  {level.largest:13.3f}  {'yes' if level.stable else 'no'}"
            for level in self.levels
        ]
        coarsening = self.recommended or "none, propagate serially"
        return "\n".join([*rows, f"recommended coarsening: {coarsening}"])


def predict_convergence(
    net: Network,
    params: Params,
    inputs: Array,
    options: MGRITOptions | None = None,
    *,
    n_samples: int = 8,
    seed: int = 7,
) -> Prediction:
    """Estimate how fast `solve_forward` and `solve_adjoint` will converge.

    Parameters
    ----------
    net : Network
    params : Params
        Of the whole network.
    inputs : ndarray, shape (batch, n_features)
        Some samples, as for `solve_forward`.
    options : MGRITOptions, optional
    n_samples : int
        How many of the samples are propagated.
    seed : int
        Of the choice of samples, and of the adjoint's random first value.

    Returns
    -------
    Prediction

    Notes
    -----
    Against batches of 32 random samples and networks of width 8, over 216 combinations
    of depth 256 to 1024, m, final time, coarse operator, relaxation and weights,
    factors were predicted to within 1.4 forward and 1.9 for the adjoint where weights
    are smooth in depth, 1.3 and 1.4 where they are independent; of depth 2048 and 4096,
    where a sixth of the intervals was evaluated, to within 1.7.  Least certain are
    factors so small that rounding leaves one or two iterations to average: that is most
    of "third_order", predicted to within 4 only.  Data unlike the samples given, and
    remainders behind the last C-point, are not seen.

    A coarsening (m,) is recommended if both residuals fall to a tenth with the first
    correction and the level is stable.  Of these m, powers of two, it is the largest
    that still shortens an iteration with one rank per interval, (1 + r) m layers and
    N / m coarse steps of c evaluations each: m**2 <= 2 c N / (1 + r).

    References
    ----------
    .. [1] M. J. Gander and S. Vandewalle, "Analysis of the parareal time-parallel
       time-integration method", SIAM J. Sci. Comput. 29(2), 2007.
    .. [2] B. S. Southworth, "Necessary conditions and tight two-level convergence
       bounds for parareal and multigrid reduction in time", SIAM J. Matrix Anal.
       Appl. 40(2), 2019.
    """
    integer("n_samples", n_samples, 1)
    integer("seed", seed, 0)
    options = MGRITOptions() if options is None else options
    check_network(net)
    if net.layer.input_shape is not None:
        raise ValueError(
            "no convergence is predicted for layers that take inputs in every step; "
            "look at the residuals of solve_forward for some samples"
        )
    Slab.of(net, options, None)  # checks them
    options = replace(options, tolerance=0.0)
    if options.initial_guess == "serial":
        options = replace(options, initial_guess="coarse")
    slab = Slab.of(net, options, None)
    grid, rng = slab.grid, np.random.default_rng(seed)
    fine = slab.propagator(slab.theta(slab.own(params)))
    first = _first_states(net, params, inputs, fine.dtype, n_samples, rng)
    last = rng.standard_normal(first.shape).astype(first.dtype)
    recommended = _recommend(fine, first, last, options)
    if not grid.factors:
        return Prediction(0.0, 0.0, (), (), (), recommended, 0)
    with np.errstate(over="ignore", invalid="ignore"):  # shows in the factor
        model = sample(fine, grid.factors[0], first, FEWEST_INTERVALS, SAMPLING_ERROR)
        forward, adjoint = _run(model, first, last, grid.factors, options)
        levels = tuple(_growth(model.coarse, forward.points, grid.factors, options))
    factor, residuals = _reduction(forward)
    adjoint_factor, adjoint_residuals = _reduction(adjoint)
    return Prediction(
        factor,
        adjoint_factor,
        residuals,
        adjoint_residuals,
        levels,
        recommended,
        len(model.chosen),
    )


def _run(
    model: SampledIntervals,
    first: Array,
    last: Array,
    factors: tuple[int, ...],
    options: MGRITOptions,
) -> tuple[Result, Result]:
    """Solve forward and adjoint on the model, whose finest level is its intervals."""
    options = replace(options, max_iterations=max(options.max_iterations, 2))
    how = (1, *factors[1:]), options, SerialComm()
    forward = solve_c_points(model, first, *how).sweep(None, SerialComm())
    adjoint = solve_c_points(transpose(model, forward.points), last, *how)
    return forward, adjoint.sweep(None, SerialComm())


def _reduction(result: Result) -> tuple[float, tuple[float, ...]]:
    """Mean reduction of the residual above rounding, and its relative history."""
    residuals = [m.residual for m in result.measures]
    if not all(map(math.isfinite, residuals)):
        return math.inf, tuple(residuals)
    if residuals[0] == 0.0:
        return 0.0, (0.0,)
    rounding = 500.0 * float(np.finfo(result.points.dtype).eps)
    floors = [rounding * m.state for m in result.measures]
    k = 1
    while k + 1 < len(residuals) and residuals[k + 1] > floors[k + 1]:
        k += 1
    history = tuple(r / residuals[0] for r in residuals[: k + 1])
    return history[-1] ** (1.0 / k), history


def _recommend(
    fine: Forward, first: Array, last: Array, options: MGRITOptions
) -> tuple[int, ...]:
    """Largest worthwhile m, a power of two, that converges well."""
    sweeps = options.sweeps(1)[0] if options.coarsening else 0
    options = replace(
        options, coarsening=(2,), relaxations=sweeps, initial_guess="coarse"
    )
    options = replace(options, max_iterations=2)
    evaluations = len(fine.part(0, 2).coarsen(2).steps.scheme.b)
    most = 2.0 * evaluations * fine.n_steps / (1 + sweeps)
    m = 2 ** int(math.log2(max(1.0, math.sqrt(most))))
    while m > 1:
        if fine.n_steps >= 4 * m and _is_good(fine, m, first, last, options):
            return (m,)
        m //= 2
    return ()


@np.errstate(over="ignore", invalid="ignore")
def _is_good(
    fine: Forward, m: int, first: Array, last: Array, options: MGRITOptions
) -> bool:
    """Whether two levels are stable and the first correction gains a digit."""
    model = sample(fine, m, first, FEWEST_INTERVALS, SAMPLING_ERROR)
    forward, adjoint = _run(model, first, last, (m,), options)
    level = next(_growth(model.coarse, forward.points, (m,), options))
    factors = (_reduction(forward)[0], _reduction(adjoint)[0])
    return level.stable and max(factors) <= GOOD_FACTOR


def _growth(
    coarse: Forward, points: Array, factors: tuple[int, ...], options: MGRITOptions
) -> Iterator[LevelGrowth]:
    """Growth on every coarse level, linearised at its points (n_steps + 1, *state)."""
    for i, m in enumerate(factors):
        if i:
            n = coarse.n_steps // m
            coarse, points = coarse.part(0, n * m).coarsen(m), points[: n * m + 1 : m]
        some = np.unique(np.linspace(0, coarse.n_steps - 1, POINTS).astype(np.intp))
        states = np.ascontiguousarray(points[some, ..., :SAMPLES])
        if not np.isfinite(states).all():
            yield LevelGrowth(coarse.steps.span, math.inf, False)
            continue
        layers, span = coarse.steps.take(some), coarse.steps.span
        layers = layers._replace(span=1, scheme=coarse.layer.scheme)
        h_lambda = eigenvalues(Adjoint(coarse.with_steps(layers), states))
        operator, n_steps = options.coarse_operator, coarse.n_steps
        psi = coarse_factor(h_lambda, span, operator)
        stable = is_stable(h_lambda, span, operator, n_intervals=n_steps)
        yield LevelGrowth(span, float(np.abs(psi).max()), bool(stable.all()))


def _first_states(
    net: Network,
    params: Params,
    inputs: Array,
    dtype: np.dtype[Any],
    n_samples: int,
    rng: np.random.Generator,
) -> Array:
    """First states of randomly chosen samples, samples last."""
    inputs = check_states(inputs, "inputs", net.input_shape, dtype)
    check_finite(inputs, "inputs")
    some = rng.choice(len(inputs), min(n_samples, len(inputs)), replace=False)
    states = net.open(params, inputs[np.sort(some)])
    return samples_last(states, len(net.layer.state_shape))
