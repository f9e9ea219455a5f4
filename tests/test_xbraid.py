"""Residual histories and solutions of XBraid, number by number.

XBraid is the reference implementation of MGRIT; its numbers, and what they mean, are in
``shared/oracles``.  Its iteration k relaxes, takes the residual and corrects: that is
the residual before correction k + 1 here.  Where it skips the first way down, its
iteration 0 is the ``coarse`` initial guess here.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from propagators import Recursion, iterate_all, peer_factors, peer_relaxations

from mgresnet import MGRITOptions, SerialComm
from mgresnet.mgrit.cycle import CYCLES, Method, relax
from mgresnet.mgrit.level import Level

ORACLE = Path(__file__).parents[2] / "shared" / "oracles" / "xbraid.json"
if not ORACLE.exists():
    pytest.skip(f"needs the numbers of XBraid in {ORACLE}", allow_module_level=True)
NUMBERS = json.loads(ORACLE.read_text())
ROUNDING = 1e-15  # of residual norms that are compared with the stopping tolerance


def names(case):
    """Readable test id."""
    settings = case["settings"].items()
    return "-".join(f"{k}={v}" for k, v in settings if k not in ("T", "guess", "mi"))


def check_close(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=1e-9, atol=1e-12)


def column(t):
    return t[:, None]


def decay_implicit(start, stop, u):
    return u / (1.0 + column(stop - start))


def decay_explicit(start, stop, u):
    return u - column(stop - start) * u


def scalar_nonlinear(start, stop, u):
    return u + column(stop - start) * (np.cos(column(start)) - u**2)


def residual_network(start, stop, u):
    i, t = np.arange(4), start[:, None, None]
    weight = np.cos(0.7 * np.outer(i + 1, i + 2) + (1 + i[:, None]) * t)
    bias = 0.3 * np.cos(column(start) + i)
    z = (weight @ u[..., None])[..., 0] + bias
    return u + column(stop - start) * np.tanh(z)


ONE = np.ones(1)
PROBLEMS = (
    (decay_implicit, ONE),
    (decay_explicit, ONE),
    (scalar_nonlinear, ONE),
    (residual_network, 0.5 * np.cos(1.0 + np.arange(4))),
)


@pytest.fixture(autouse=True)
def _f_cycle_with_two_v_cycles_per_level(monkeypatch):
    monkeypatch.setitem(CYCLES, "F2", ("F2", "V", "V"))


def cycles(settings, n_iterations):
    """Cycle of every iteration.

    The peer asks whether ``iteration != nfmg``: it interrupts its F-cycles by one
    V-cycle, number ``nfmg``, rather than ending them there.
    """
    shape = ("V", "F", "F2")[settings.get("fmg", 0)]
    v_cycle = settings.get("nfmg")
    return ["V" if k == v_cycle else shape for k in range(n_iterations)]


def initial_guess(settings, propagator, initial, factors):
    """What the C-points start from; None if the first way down is skipped."""
    if settings.get("seq") or not factors:
        options = MGRITOptions.serial()
        return iterate_all(propagator, initial, (), options, SerialComm()).points
    if settings["skip"]:
        return None
    value = settings.get("guess", 0.456)
    return np.full((settings["ntime"] + 1, len(initial)), value)


def solve(settings, n_iterations):
    """Coarsening factors, residual norms per iteration and C-point, last solution."""
    n = settings["ntime"]
    step, initial = PROBLEMS[settings["prob"]]
    propagator = Recursion(step, np.arange(n + 1) / n * settings.get("T", n / 2))
    factors = peer_factors(settings, n)
    points = initial_guess(settings, propagator, initial, factors)
    norms = []
    for shape, run in itertools.groupby(cycles(settings, n_iterations)):
        options = MGRITOptions(
            coarsening=factors,
            relaxations=peer_relaxations(settings, len(factors)),
            cycle=shape,
            max_iterations=len(list(run)) - (points is None),
            tolerance=0.0,
            relaxation_weight=settings.get("cwt", 1.0),
        )
        problem = propagator, initial, factors, options, SerialComm()
        result = iterate_all(*problem, guess=points)
        norms += [m.residuals for m in result.measures]
        points = result.points
    return factors, norms, points


def over_time(settings, norms):
    """One norm per iteration: the sum, the 2-norm or the maximum over the C-points."""
    order = {1: 1, 2: 2, 3: np.inf}[settings.get("tnorm", 2)]
    return np.array([np.linalg.norm(n, order) for n in norms])


@pytest.mark.parametrize("case", NUMBERS["cases"], ids=names)
def test_history_and_solution(case):
    settings = case["settings"]
    factors, norms, points = solve(settings, case["niter"])
    assert len(factors) + 1 == case["nlevels"]
    skipped = [norm for norm in case["rnorms"] if norm is None]
    assert len(skipped) == settings["skip"]
    check_close(over_time(settings, norms), case["rnorms"][len(skipped) :])
    if "solution" in case:
        check_close(points, case["solution"])
    else:
        check_close(points[-1], case["solution_last"])


@pytest.mark.parametrize("case", [c for c in NUMBERS["cases"] if c["niter"]], ids=names)
def test_peer_stops_after_the_first_residual_below_the_tolerance(case):
    settings = case["settings"]
    _, norms, _ = solve(settings, case["niter"])
    history = over_time(settings, norms)
    tolerance = settings.get("tol", 1e-13)
    if "rtol" in settings:
        tolerance = settings["rtol"] * history[0]
    assert (history[:-1] >= tolerance - ROUNDING).all()
    assert history[-1] < tolerance + ROUNDING or case["niter"] == settings["mi"]


@pytest.mark.parametrize("case", NUMBERS["detail"], ids=names)
def test_every_c_point_after_every_iteration(case):
    settings = case["settings"]
    for k, desired in enumerate(case["solution_after_iteration"], start=1):
        factors, norms, points = solve(settings, k)
        check_close(points, desired)
        at_start, *c_points = case["cpoint_residual_norms_per_downcycle"][k - 1]
        assert at_start == 0.0
        check_close(norms[-1], c_points)
        check_close(over_time(settings, norms), case["rnorms"][:k])
    assert k == case["niter"]
    assert len(factors) + 1 == case["nlevels"]
    check_close(points, case["solution_final"])


def test_every_case_is_here():
    sizes = {key: len(NUMBERS[key]) for key in ("cases", "detail", "adjoint_cases")}
    assert sizes == {"cases": 85, "detail": 2, "adjoint_cases": 9}


def decay_and_derivative(start, stop, u):
    """Implicit Euler for u' = lambda u and for v = du/dlambda, at lambda = -1."""
    h = (stop - start)[:, None]
    q = 1.0 / (1.0 + h)
    value, derivative = u[:, 0], u[:, 1]
    return np.stack([q * value, q * derivative + h * q**2 * value], axis=1)


class Iteration:
    """One MGRIT iteration as an affine map of the C-points, and what it passes through.

    `advance` gives the points after the cycle, `relaxed` those before its correction.
    """

    def __init__(self, settings):
        n = settings["ntime"]
        self.times = 0.5 * np.arange(n + 1)
        self.factors = peer_factors(settings, n)
        self.options = MGRITOptions(
            coarsening=self.factors,
            relaxations=settings["nu"],
            max_iterations=1,
            tolerance=0.0,
        )

    def advance(self, step, guess):
        arguments = Recursion(step, self.times), guess[0], self.factors, self.options
        result = iterate_all(*arguments, SerialComm(), guess=guess)
        return result.points, result.measures[0].residual

    def relaxed(self, step, guess):
        comm, layers = SerialComm(), Recursion(step, self.times)
        finest = Level.of(layers, self.factors, guess[0], guess[:0])
        finest.set_points(guess)
        finest.sweep()
        sweeps = self.options.sweeps(len(self.factors))
        relax(finest, comm, Method("V", sweeps, 1.0))
        points = np.empty_like(guess)
        finest.sweep_into(points)
        return finest.settle(points)


def piggyback(settings, n_iterations):
    """Rows of residual, adjoint increment and objective; the last gradient.

    With x the C-points, H x + b those after an iteration and S x + c all points before
    its correction, J(x) = |S x + c|^2 / N is differentiated along with the iteration:

        dJ/dlambda = w . d(H x + b)/dlambda + (2 / N) (S x + c) . d(S x + c)/dlambda
        w <- H^T w + (2 / N) S^T (S x + c),   x <- H x + b
    """
    n, iteration = settings["ntime"], Iteration(settings)
    c_points = np.arange(0, n + 1, iteration.factors[0])[1:]
    unit = np.zeros((n + 1, len(c_points)))
    unit[c_points] = np.eye(len(c_points))
    advance = iteration.advance(decay_implicit, unit)[0][c_points]
    spread = iteration.relaxed(decay_implicit, unit)
    x = np.full((n + 1, 2, 1), 0.456)
    x[0] = 1.0
    w, rows = np.zeros(len(c_points)), []
    for _ in range(n_iterations):
        x[:, 1] = 0.0
        seen, d_seen = iteration.relaxed(decay_and_derivative, x)[..., 0].T
        _, residual = iteration.advance(decay_implicit, x[:, 0])
        x, _ = iteration.advance(decay_and_derivative, x)
        gradient = 2.0 / n * seen @ d_seen + w @ x[c_points, 1, 0]
        w_new = advance.T @ w + 2.0 / n * spread.T @ seen
        rows.append([residual, np.linalg.norm(w_new - w), seen @ seen / n])
        w = w_new
    return np.array(rows), gradient


ADJOINT = [c for c in NUMBERS["adjoint_cases"] if c["settings"]["ml"] > 1]
ADJOINT_SERIAL = [c for c in NUMBERS["adjoint_cases"] if c["settings"]["ml"] == 1]


@pytest.mark.parametrize("case", ADJOINT, ids=names)
def test_adjoint_is_the_reverse_mode_of_the_iteration(case):
    desired = np.array(case["history_rnorm_radj_objective"])
    rows, gradient = piggyback(case["settings"], len(desired))
    check_close(rows, desired)
    check_close(rows[-1, 2], case["objective"])
    assert abs(gradient - case["gradient_dJ_dlambda"]) < 1e-15


@pytest.mark.parametrize("case", ADJOINT_SERIAL, ids=names)
def test_serial_objective_and_gradient(case):
    n = case["settings"]["ntime"]
    assert peer_factors(case["settings"], n) == ()
    propagator = Recursion(decay_and_derivative, 0.5 * np.arange(n + 1))
    initial, options = np.array([1.0, 0.0])[:, None], MGRITOptions.serial()
    points = iterate_all(propagator, initial, (), options, SerialComm()).points
    value, derivative = points[..., 0].T
    q = 1.0 / 1.5
    check_close(case["objective"], (1.0 - q ** (2 * n + 2)) / (1.0 - q**2) / n)
    check_close(value @ value / n, case["objective"])
    check_close(2.0 / n * value @ derivative, case["gradient_dJ_dlambda"])
