"""Two-level theory against explicit matrices, the solver and published numbers."""

from itertools import product

import numpy as np
import pytest
from cases import Scalar, rough_network, smooth_network, states
from marches import forward
from propagators import Recursion

import mgresnet as mg
from mgresnet.accuracy import theory
from mgresnet.accuracy.sampled import interpolate, sample
from mgresnet.accuracy.spectrum import eigenvalues
from mgresnet.arrays.layout import samples_last
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.mgrit.solver import iterate
from mgresnet.solve.slab import Slab
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import march

# phi = 0.95, psi = 0.8, m = 4, 16 intervals: largest error after 1, 2, ... iterations.
GOLDEN = {
    0: "6.997928351e-02 4.381569960e-03 2.296969528e-04 9.737405653e-06 "
    "3.296766217e-07 8.888875245e-09",
    1: "5.647891563e-02 2.674659305e-03 9.106283470e-05 1.962815760e-06 "
    "2.359856829e-08 1.303592262e-10",
}
# h lambda, m: 2-norms of an iteration with 16 and 256 intervals, and the bound.
NORMS = {
    (-0.01, 2): ("0.000882 0.004443 0.005000", "0.000815 0.004351 0.004900"),
    (-0.01, 4): ("0.004727 0.014365 0.014900", "0.004310 0.013796 0.014313"),
    (-0.05, 2): ("0.014885 0.024843 0.025000", "0.012958 0.022420 0.022562"),
    (-0.05, 4): ("0.058761 0.072426 0.072531", "0.046919 0.058990 0.059077"),
    (-0.05, 8): ("0.149711 0.158507 0.158551", "0.098649 0.105156 0.105186"),
    (-0.10, 4): ("0.132431 0.140211 0.140250", "0.086299 0.091992 0.092018"),
    (-0.25, 4): ("0.316406 0.316406 0.316406", "0.100113 0.100113 0.100113"),
    (-0.25, 8): ("10.86 178.9 inf", "1.017 17.84 inf"),
}
FACTORS = (
    (0.95, 0.8),
    (0.7, -0.2),
    (0.9, 1.0),
    (0.9, -1.0),
    (1.02, 1.07),
    (0.5, -3.0),
    (0.3, 0.0),
    (0.9 + 0.2j, 0.5 + 0.9j),
    (0.97j, -0.6j),
)
OPERATORS = tuple(COARSE_OPERATORS)


def numbers(text):
    return [float(word) for word in text.split()]


def digits(text):
    """What the printed number may be rounded from."""
    _, _, decimals = text.partition(".")
    return pytest.approx(float(text), rel=0, abs=0.51 * 10.0 ** -len(decimals))


def iteration(phi, psi, m, n_intervals, relaxations):
    """Matrix of one iteration on the errors at C-points 1..M."""
    points = np.arange(n_intervals)
    power = points[:, None] - points - 1 - relaxations
    gain = (phi**m - psi) * phi ** (m * relaxations)
    return np.where(power < 0, 0.0, gain * psi ** np.maximum(power, 0.0))


# --- Closed forms -----------------------------------------------------------


@pytest.mark.parametrize("relaxations", GOLDEN)
def test_errors_are_the_golden_numbers(relaxations):
    for k, golden in enumerate(numbers(GOLDEN[relaxations]), start=1):
        error = theory.error_after(0.95, 0.8, 4, 16, k, relaxations)
        assert error.max() == pytest.approx(golden, rel=1e-9, abs=0)
    last = 16 // (1 + relaxations)
    assert theory.error_after(0.95, 0.8, 4, 16, last - 1, relaxations).any()
    assert not theory.error_after(0.95, 0.8, 4, 16, last, relaxations).any()


@pytest.mark.parametrize(("phi", "psi"), FACTORS)
@pytest.mark.parametrize("relaxations", [0, 1, 2])
def test_errors_are_powers_of_the_iteration(phi, psi, relaxations):
    matrix = iteration(phi, psi, 3, 20, relaxations)
    error = np.ones(20)
    for k in range(8):
        got = theory.error_after(phi, psi, 3, 20, k, relaxations)
        assert got[0] == 0.0
        scale = abs(error).max()
        np.testing.assert_allclose(got[1:], error, rtol=1e-9, atol=1e-11 * scale)
        error = matrix @ error


def engine_errors(propagator, m, k, relaxations):
    """C-points after k corrections of a problem whose solution is zero."""
    guess = np.zeros((propagator.n_steps + 1, 1))
    guess[m::m] = 1.0
    options = mg.MGRITOptions((m,), relaxations, max_iterations=k, tolerance=0.0)
    args = propagator, np.zeros(1), (m,), options, mg.SerialComm()
    return iterate(*args, guess=guess).points[:, 0]


@pytest.mark.parametrize("relaxations", [0, 1, 2])
@pytest.mark.parametrize("h_lambda", [-0.05, -0.3, 0.02])
def test_errors_are_those_of_the_solver(relaxations, h_lambda):
    def euler(start, stop, u):
        return u + h_lambda * (stop - start)[:, None] * u

    m, n_intervals = 4, 12
    for operator, k in product(("injection", "matched"), range(1, 7)):
        phi = 1.0 + h_lambda
        psi = theory.coarse_factor(h_lambda, m, operator)
        if operator == "injection":
            propagator = Recursion(euler, np.arange(m * n_intervals + 1.0))
        else:
            propagator = Scalar(phi, float(psi), m * n_intervals)
        expected = theory.error_after(phi, psi, m, n_intervals, k, relaxations)
        got = engine_errors(propagator, m, k, relaxations)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("m", [2, 5, 16])
def test_coarse_factors_are_those_of_the_networks_steps(operator, m):
    layer = mg.Dense(1, "identity", "none")
    fine = forward(layer, np.full((m, 1), -1.7), 0.1, operator)
    u = march(fine.coarsen(m), np.ones((1, 1, 1)), 1)
    expected = theory.coarse_factor(-0.17, m, operator)
    assert u[0, 0, 0, 0] == pytest.approx(float(expected), rel=1e-13)


def test_unknown_operators_are_refused():
    with pytest.raises(ValueError, match="injection, mean, matched"):
        theory.coarse_factor(-0.1, 4, "galerkin")


# --- Norms ------------------------------------------------------------------


@pytest.mark.parametrize(("h_lambda", "m"), NORMS)
@pytest.mark.parametrize("relaxations", [0, 1])
def test_norms_are_those_of_the_table(h_lambda, m, relaxations):
    *norms, bound = NORMS[h_lambda, m][relaxations].split()
    phi, psi = 1.0 + h_lambda, theory.coarse_factor(h_lambda, m, "injection")
    for n_intervals, expected in zip((16, 256), norms, strict=True):
        norm = np.linalg.norm(iteration(phi, psi, m, n_intervals, relaxations), 2)
        assert norm == digits(expected)
        low, high = theory.two_sided_bound(phi, psi, m, n_intervals, relaxations)
        assert low * (1 - 1e-12) <= norm <= high * (1 + 1e-12)
    assert theory.convergence_bound(phi, psi, m, relaxations) == digits(bound)


@pytest.mark.parametrize(("phi", "psi"), FACTORS)
@pytest.mark.parametrize("relaxations", [0, 1, 2])
@pytest.mark.parametrize("n_intervals", [1, 2, 3, 4, 5, 16, 60])
def test_bounds_hold_for_any_factor_and_depth(phi, psi, relaxations, n_intervals):
    args = phi, psi, 3, n_intervals, relaxations
    matrix = iteration(*args)
    exact = theory.max_norm(*args)
    for order in (1, np.inf):
        norm = np.linalg.norm(matrix, order)
        assert exact == pytest.approx(norm, rel=1e-9, abs=1e-300)
    low, high = theory.two_sided_bound(*args)
    norm = np.linalg.norm(matrix, 2)
    assert low * (1 - 1e-9) <= norm <= high * (1 + 1e-9)
    bound = theory.convergence_bound(phi, psi, 3, relaxations)
    assert max(norm, exact) <= bound * (1 + 1e-9)
    if abs(psi) < 1:
        assert theory.max_norm(phi, psi, 3, 10**6, relaxations) == pytest.approx(
            float(bound)
        )


def test_published_bounds_for_one_example():
    low, high = theory.two_sided_bound(0.95, 0.8, 4, 16)
    assert float(low) == pytest.approx(0.0545015, abs=5e-8)
    assert float(high) == pytest.approx(0.0682767, abs=5e-8)
    assert float(theory.convergence_bound(0.95, 0.8, 4)) == pytest.approx(
        0.0725312, abs=1e-7
    )


def test_what_bounds_say_without_decay():
    bound = theory.convergence_bound
    assert bound(0.9, 1.0, 4) == bound(0.9, -1.5, 4) == np.inf
    assert bound(1.1, 1.1**3, 3) == 0.0  # the coarse step is exact
    assert np.isnan(bound(0.9, np.nan, 4))
    assert theory.max_norm(1.1, 1.1**3, 3, 10) == 0.0
    assert theory.error_after(0.5, -3.0, 8, 10**4, 1).max() == np.inf
    growing = theory.two_sided_bound(1.0125, 1.05, 4, [16, 256])
    norms = [np.linalg.norm(iteration(1.0125, 1.05, 4, n, 0), 2) for n in (16, 256)]
    assert norms == [pytest.approx(0.0127, abs=5e-5), pytest.approx(2.5e3, rel=0.02)]
    assert (growing[0] <= norms).all()
    assert (norms <= growing[1]).all()


def test_arrays_broadcast():
    phi, psi = np.array([f[0] for f in FACTORS]), np.array([f[1] for f in FACTORS])
    m, sizes = np.array([2, 3])[:, None], np.array([4, 9])[:, None]
    errors = theory.error_after(phi, psi, m, 9, 2, 1)
    norms = theory.max_norm(phi, psi, m, sizes, 1)
    low, high = theory.two_sided_bound(phi, psi, m, sizes, 1)
    bounds = theory.convergence_bound(phi, psi, m, 1)
    for i, j in product(range(2), range(len(FACTORS))):
        one = phi[j], psi[j], m[i, 0]
        size = sizes[i, 0]
        np.testing.assert_allclose(errors[i, j], theory.error_after(*one, 9, 2, 1))
        np.testing.assert_allclose(norms[i, j], theory.max_norm(*one, size, 1))
        np.testing.assert_allclose(bounds[i, j], theory.convergence_bound(*one, 1))
        pair = theory.two_sided_bound(*one, size, 1)
        np.testing.assert_allclose([low[i, j], high[i, j]], pair)


# --- Stability --------------------------------------------------------------


def test_every_level_must_be_stable():
    stable = theory.is_stable
    assert stable(-0.25, [2, 4, 8, 16], "injection").tolist() == [
        True,
        True,
        False,  # psi = -1
        False,
    ]
    assert not stable(-0.5, 8, "injection")  # psi = -3
    assert stable(-0.25, 8, "matched")  # psi = 0.75
    assert not stable(-0.5, 8, "matched")  # psi = 4
    assert stable([0.0, 0.0125, 0.5], 8, "matched").all()  # growth that layers have
    assert stable([0.0, 0.0125, 0.5], 8, "injection").all()


def test_slow_oscillations_are_harmless_at_finite_depth():
    assert not theory.is_stable(0.02j, 8, "injection")
    depths = [16, 64, 512]
    stable = theory.is_stable(0.02j, 8, "injection", n_intervals=depths)
    assert stable.tolist() == [True, True, False]
    assert not theory.is_stable(0.2j, 8, "injection", n_intervals=2)  # not resolved


def decay(h_lambda, depth=64, width=3):
    """Linear network whose layers all multiply by 1 + h_lambda."""
    layer = mg.Dense(width, "identity", "none")
    weight = np.broadcast_to(h_lambda * np.eye(width), (depth, width, width))
    net = mg.Network(layer, depth, float(depth))
    return net, mg.Params(None, layer.pack(weight.copy()), None)


def test_prediction_finds_the_unstable_level():
    net, params = decay(-0.25)
    options = mg.MGRITOptions((2, 4), coarse_operator="injection", tolerance=0.0)
    got = mg.predict_convergence(net, params, np.ones((2, 3)), options)
    assert [(level.m, level.stable) for level in got.levels] == [(2, True), (8, False)]
    assert [level.largest for level in got.levels] == [
        pytest.approx(0.5),
        pytest.approx(1.0),
    ]
    measured = mg.solve_forward(net, params, np.ones((2, 3)), options=options)
    assert measured.residuals[1] > measured.residuals[0]
    assert got.residuals[1] > 1.0
    matched = mg.MGRITOptions((2, 4), coarse_operator="matched")
    got = mg.predict_convergence(net, params, np.ones((2, 3)), matched)
    assert all(level.stable for level in got.levels)


@pytest.mark.parametrize("relaxations", [0, 1, 2])
def test_prediction_of_a_linear_network_is_the_closed_form(relaxations):
    net, params = decay(-0.05, depth=4 * 256)
    options = mg.MGRITOptions(
        (4,), relaxations, max_iterations=5, coarse_operator="injection"
    )
    got = mg.predict_convergence(net, params, np.ones((2, 3)), options)
    fine, coarse = 0.95, 0.8
    start = coarse ** np.arange(257.0) - fine ** (4 * np.arange(257.0))
    matrix = iteration(fine, coarse, 4, 256, relaxations)
    relax = np.linalg.matrix_power(np.eye(256, k=-1) * fine**4, 1 + relaxations)
    before = np.linalg.matrix_power(np.eye(256, k=-1) * fine**4, relaxations)
    residuals, error = [], start[1:]
    for _ in range(5):
        residuals.append(np.linalg.norm((relax - before) @ error))
        error = matrix @ error
    expected = np.array(residuals) / residuals[0]
    np.testing.assert_allclose(got.residuals, expected[: len(got.residuals)], rtol=0.1)


# --- Eigenvalues and sampling -----------------------------------------------


@pytest.mark.parametrize("width", [1, 4, 12])
def test_eigenvalues_are_those_of_the_jacobian(width):
    net, params = rough_network(5, 1.0, width)
    u = np.random.default_rng(1).standard_normal((5, width, 3))
    fine = forward(net.layer, params.body, net.step, "mean")
    got = eigenvalues(Adjoint(fine, u))[::-1]
    weight, bias = net.layer.unpack(params.body)
    slope = 1.0 - np.tanh(weight @ u + bias[..., None]) ** 2  # (5, width, 3)
    jacobian = net.step * slope.transpose(0, 2, 1)[..., None] * weight[:, None]
    expected = np.linalg.eigvals(jacobian)
    for a, b in zip(got.reshape(-1, width), expected.reshape(-1, width), strict=True):
        np.testing.assert_allclose(np.poly(a), np.poly(b), rtol=1e-9, atol=1e-12)


def test_ritz_values_of_wide_layers_reach_the_largest():
    layer = mg.Dense(60, "identity", "none")
    weight = np.diag(np.r_[-9.0, np.linspace(-1.0, 1.0, 58), 5.0])[None]
    fine = forward(layer, layer.pack(weight), 0.1, "mean")
    got = eigenvalues(Adjoint(fine, np.ones((1, 60, 1))))
    assert got.shape == (1, 1, 24)
    assert got.real.min() == pytest.approx(-0.9, rel=1e-10)
    assert got.real.max() == pytest.approx(0.5, rel=1e-10)


def test_interpolation_is_linear_and_keeps_what_is_known():
    at = np.array([0, 3, 7, 9])
    values = np.array([1.0, 4.0, -2.0, 0.0])[:, None] * np.ones(2)
    got = interpolate(values, at, 10)
    np.testing.assert_allclose(got[:, 1], np.interp(np.arange(10), at, values[:, 0]))
    np.testing.assert_array_equal(got[at], values)


# --- Prediction against measurement -----------------------------------------


def measured_factor(solution, m):
    """Geometric mean of the reductions that rounding does not spoil."""
    residuals = solution.residuals
    floor = 1e-13 * np.linalg.norm(solution.states[::m])
    k = max(int(np.argmin(np.append(residuals, 0.0) > floor)) - 1, 1)
    return (residuals[k] / residuals[0]) ** (1.0 / k)


def ratios(network, inputs, options):
    """Predicted over measured factor, forward and adjoint."""
    net, params = network
    forward = mg.solve_forward(net, params, inputs, options=options)
    seed = states(net, len(inputs), seed=9118)
    adjoint = mg.solve_adjoint(net, params, forward, seed, options=options)
    got = mg.predict_convergence(net, params, inputs, options)
    m = options.coarsening[0]
    return (
        got.factor / measured_factor(forward, m),
        got.adjoint_factor / measured_factor(adjoint, m),
    )


@pytest.mark.parametrize("depth", [256, 512, 1024])
@pytest.mark.parametrize("m", [8, 16, 32])
@pytest.mark.parametrize("final_time", [1.0, 5.0])
def test_smooth_networks_converge_as_foretold(depth, m, final_time):
    """Within the factor 2 that is asked for; none of the 216 cases is exempt."""
    operators = ("injection", "mean", "matched")
    for seed, operator, sweeps in product((11, 12), operators, (0, 1)):
        network = smooth_network(depth, final_time, 8, seed)
        options = mg.MGRITOptions((m,), sweeps, tolerance=0.0, coarse_operator=operator)
        inputs = states(network[0], 32, seed)
        forward, adjoint = ratios(network, inputs, options)
        assert 1 / 2 < forward < 2, (operator, sweeps, seed)
        assert 1 / 2 < adjoint < 2, (operator, sweeps, seed)


@pytest.mark.parametrize(("depth", "m"), [(256, 32), (512, 64)])
def test_third_order_is_foretold_while_iterations_are_left(depth, m):
    """Long steps: short ones leave too few iterations above rounding to compare."""
    for seed in (11, 12):
        network = smooth_network(depth, 5.0, 8, seed)
        options = mg.MGRITOptions((m,), tolerance=0.0, coarse_operator="third_order")
        forward, adjoint = ratios(network, states(network[0], 32, seed), options)
        assert 1 / 2 < forward < 2, seed
        assert 1 / 2 < adjoint < 2, seed


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("coarsening", [(16,), (8, 4), (4, 4, 4)])
def test_rough_networks_converge_as_foretold(operator, coarsening):
    network = rough_network(500, 5.0, 8)
    for cycle in ("V", "W", "F") if len(coarsening) > 1 else ("V",):
        options = mg.MGRITOptions(
            coarsening, 0, cycle, tolerance=0.0, coarse_operator=operator
        )
        forward, adjoint = ratios(network, states(network[0], 32), options)
        assert 1 / 2 < forward < 2
        assert 1 / 2 < adjoint < 2


def test_smooth_weights_need_few_intervals():
    for network, most in ((smooth_network(4096), 65), (rough_network(4096), 512)):
        net, params = network
        options = mg.MGRITOptions((8,))
        got = mg.predict_convergence(net, params, states(net), options)
        assert got.n_sampled <= most
    assert got.n_sampled == 512


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_few_intervals_foretell_convergence(operator):
    network = smooth_network(4096, 5.0, 8)
    options = mg.MGRITOptions((8,), tolerance=0.0, coarse_operator=operator)
    forward, adjoint = ratios(network, states(network[0], 32), options)
    assert 1 / 2 < forward < 2
    assert 1 / 2 < adjoint < 2


# --- Recommendation and what prints -----------------------------------------


@pytest.mark.parametrize("network", [smooth_network, rough_network])
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("final_time", [1.0, 5.0])
def test_recommended_coarsening_gains_a_digit(network, operator, final_time):
    net, params = network(512, final_time, 8)
    inputs = states(net, 32)
    options = mg.MGRITOptions((4,), coarse_operator=operator, tolerance=0.0)
    got = mg.predict_convergence(net, params, inputs, options)
    largest = 32  # m**2 <= 2 c N, with c = 1 or 2
    if not got.recommended:
        assert (network, operator, final_time) == (rough_network, "injection", 5.0)
        return
    (m,) = got.recommended
    assert 2 <= m <= largest
    for size, good in ((m, True), (2 * m, False)):
        method = mg.MGRITOptions(
            (size,), coarse_operator=operator, tolerance=0.0, max_iterations=2
        )
        solution = mg.solve_forward(net, params, inputs, options=method)
        factor = solution.residuals[1] / solution.residuals[0]
        if good:
            assert factor < 0.12
        elif 2 * m <= largest:
            assert factor > 0.08


def test_no_coarsening_is_recommended_where_none_is_stable():
    net, params = decay(-1.5)
    options = mg.MGRITOptions(coarse_operator="injection")
    got = mg.predict_convergence(net, params, np.ones((2, 3)), options)
    assert got.recommended == ()
    assert "propagate serially" in str(got)


def test_prints_as_a_table():
    net, params = smooth_network(256, 5.0, 4)
    got = mg.predict_convergence(net, params, states(net), mg.MGRITOptions((4, 4)))
    lines = str(got).splitlines()
    assert lines[0] == "residual per iteration"
    assert lines[3].split() == "layers per step largest |psi| stable".split()
    assert [line.split()[0] for line in lines[4:6]] == ["4", "16"]
    assert lines[-1] == f"recommended coarsening: {got.recommended}"


def test_serial_and_shallow_solves_need_no_iteration():
    net, params = smooth_network(12)
    for options in (mg.MGRITOptions.serial(), mg.MGRITOptions((16,))):
        got = mg.predict_convergence(net, params, states(net), options)
        assert (got.factor, got.adjoint_factor, got.levels) == (0.0, 0.0, ())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_openings_and_controls_and_precisions(dtype):
    net = mg.Network(
        mg.Dense(6),
        256,
        2.0,
        opening=mg.Linear(3, 6),
        head=mg.Linear(6, 2),
        control=mg.BSpline(8),
    )
    params = mg.Params(*(part.astype(dtype) for part in net.init()))
    inputs = np.random.default_rng(3).standard_normal((20, 3)).astype(dtype)
    got = mg.predict_convergence(net, params, inputs)
    assert 0.0 < got.factor < 1e-2
    assert got == mg.predict_convergence(net, params, inputs)


def test_overflow_is_an_infinite_factor():
    net, params = decay(1e30, depth=64)
    options = mg.MGRITOptions((4,), coarse_operator="injection")
    got = mg.predict_convergence(net, params, np.ones((2, 3)), options)
    assert got.factor == np.inf
    assert got.recommended == ()


def test_bad_inputs_are_refused():
    net, params = smooth_network(64)
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        mg.predict_convergence(net, params, states(net), n_samples=0)
    with pytest.raises(ValueError, match="inputs has shape"):
        mg.predict_convergence(net, params, np.ones((3, 7)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_that_do_nothing_have_eigenvalues_zero(dtype):
    """Their Krylov space is exhausted at once; float32 has no square of 1e-30."""
    layer = mg.Dense(3, "relu")
    dead = np.repeat([[0.0, -1.0]], 16, axis=0).repeat([9, 3], axis=1).astype(dtype)
    net = mg.Network(layer, 16, 1.6)
    slab = Slab.of(net, None, None)
    fine = slab.propagator(dead)
    got = eigenvalues(Adjoint(fine, np.ones((16, 3, 2), dtype)))
    assert abs(got).max() < 1e-6


def test_all_intervals_sampled_are_the_layers_themselves():
    net, params = rough_network(60)
    fine = forward(net.layer, params.body, net.step, "matched")
    first = samples_last(states(net))
    model = sample(fine, 5, first, 9, 0.3)
    assert len(model.chosen) == model.n_steps == 12
    exact = np.concatenate([first[None], march(fine, first[None], 60)[0, 4::5]])
    ends = march(model, exact[:-1], 1)[:, 0]
    np.testing.assert_allclose(ends, exact[1:], rtol=0, atol=1e-13)
