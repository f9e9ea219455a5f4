"""Splines over depth, their transpose, and networks whose parameters they are."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg
from mgresnet.control import add_over_ranks
from mgresnet.kernels.combine import combine_transposed

SHAPES = [(1, 0), (5, 0), (2, 1), (7, 1), (3, 2), (9, 2), (4, 3), (12, 3), (9, 5)]
shapes = pytest.mark.parametrize(("n_coefficients", "degree"), SHAPES)


def values(spline, coefficients, depth=37):
    return spline.values(np.asarray(coefficients), depth, range(depth))


def middles(depth=37):
    return (np.arange(depth) + 0.5) / depth


@shapes
def test_splines_are_a_partition_of_unity(n_coefficients, degree):
    spline = mg.BSpline(n_coefficients, degree)
    basis = values(spline, np.eye(n_coefficients))
    assert (basis >= 0.0).all()
    np.testing.assert_allclose(basis.sum(axis=1), 1.0, rtol=0, atol=1e-15)
    constant = values(spline, np.full((n_coefficients, 2), 0.7))
    np.testing.assert_allclose(constant, 0.7, rtol=1e-15)


@shapes
def test_every_layer_depends_on_degree_plus_one_neighbours(n_coefficients, degree):
    n_pieces = n_coefficients - degree
    basis = values(mg.BSpline(n_coefficients, degree), np.eye(n_coefficients))
    for t, row in zip(middles(), basis, strict=True):
        first = int(t * n_pieces)
        support = range(first, first + degree + 1)
        assert set(np.flatnonzero(row)) <= set(support)
        assert row[support].sum() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_greville_abscissae_give_the_middles_of_the_layers(degree):
    n = 8
    inner = np.linspace(0.0, 1.0, n - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)])
    greville = [knots[k + 1 : k + degree + 1].mean() for k in range(n)]
    found = values(mg.BSpline(n, degree), np.array(greville)[:, None])[:, 0]
    np.testing.assert_allclose(found, middles(), rtol=0, atol=3e-16)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_polynomials_of_the_degree_are_splines_and_higher_ones_are_not(degree):
    n = degree + 4
    basis = values(mg.BSpline(n, degree), np.eye(n))
    for power in range(degree + 2):
        wanted = middles() ** power
        fit = np.linalg.lstsq(basis, wanted, rcond=None)[0]
        distance = np.abs(basis @ fit - wanted).max()
        assert distance < 1e-14 if power <= degree else distance > 1e-4


def test_degree_zero_repeats_coefficients():
    coefficients = np.arange(8.0).reshape(4, 2)
    found = values(mg.BSpline(4, 0), coefficients, depth=12)
    np.testing.assert_array_equal(found, np.repeat(coefficients, 3, axis=0))


@shapes
def test_pull_back_is_the_transpose(n_coefficients, degree):
    rng = np.random.default_rng(6401)
    spline = mg.BSpline(n_coefficients, degree)
    c, g = rng.standard_normal((n_coefficients, 5)), rng.standard_normal((37, 5))
    back = combine_transposed(spline.basis(37), g)
    size = np.linalg.norm(values(spline, c)) * np.linalg.norm(g)
    assert abs(np.sum(values(spline, c) * g) - np.sum(c * back)) <= 1e-15 * size


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("cuts", [(0, 37), (0, 1, 37), (0, 16, 32, 37), range(38)])
def test_slab_by_slab_is_bitwise_the_whole(cuts, dtype):
    rng = np.random.default_rng(6402)
    spline = mg.BSpline(9)
    c = rng.standard_normal((9, 5)).astype(dtype)
    slabs = [range(a, b) for a, b in pairwise(cuts)]
    parts = [spline.values(c, 37, slab) for slab in slabs]
    np.testing.assert_array_equal(np.concatenate(parts), values(spline, c), strict=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block", [1, 2, 7, 16, 37, 50])
@pytest.mark.parametrize(("n_coefficients", "degree"), [(6, 2), (9, 3), (1, 0), (4, 3)])
def test_condensed_rows_add_up_to_the_gradient(n_coefficients, degree, block, dtype):
    g = np.random.default_rng(6403).standard_normal((37, 5)).astype(dtype)
    spline = mg.BSpline(n_coefficients, degree)
    rows, factors = spline.condense(g, 37, range(37), block)
    assert len(rows) == len(factors) <= 37
    found, desired = factors.T @ rows, values(spline, np.eye(n_coefficients)).T @ g
    atol = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, desired, rtol=0, atol=atol)


@pytest.mark.parametrize("cuts", [(0, 37), (0, 8, 37), (0, 16, 24, 37), (0, 32, 37)])
def test_rows_of_slabs_are_bitwise_those_of_the_whole(cuts):
    g = np.random.default_rng(6404).standard_normal((37, 5))
    spline = mg.BSpline(9)
    whole, factors = spline.condense(g, 37, range(37), 8)
    assert len(whole) < 37
    parts = []
    for start, stop in pairwise(cuts):
        rows, same = spline.condense(g[start:stop], 37, range(start, stop), 8)
        parts.append(rows)
        np.testing.assert_array_equal(same, factors)
    np.testing.assert_array_equal(np.concatenate(parts), whole, strict=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_rows_add_up_to_the_same_bits_on_any_number_of_ranks(size):
    rng = np.random.default_rng(6406)
    rows, factors = rng.standard_normal((20, 11)), rng.standard_normal((20, 4))
    whole = add_over_ranks(rows, factors, mg.SerialComm())
    np.testing.assert_allclose(whole, factors.T @ rows, rtol=0, atol=1e-14)
    ends = [20 * rank // size for rank in range(size + 1)]

    def add(comm):
        own = rows[ends[comm.rank] : ends[comm.rank + 1]]
        return add_over_ranks(own, factors, comm)

    for found in run_ranks(add, size):
        np.testing.assert_array_equal(found, whole, strict=True)


def problem(depth=24, dtype=np.float64, **options):
    """Network with a control and both ends, its coefficients, inputs, labels."""
    rng = np.random.default_rng(6405)
    ends = {"opening": mg.Linear(2, 4, "tanh"), "head": mg.Linear(4, 3)}
    options = {"control": mg.BSpline(6)} | ends | options
    net = mg.Network(mg.Dense(4), depth, 3.0, **options)
    params = mg.Params(*(part.astype(dtype) for part in net.init(seed=6406)))
    x = rng.standard_normal((11, 2)).astype(dtype)
    return net, params, x, rng.integers(0, 3, 11)


PENALTY = mg.Regularisation(tikhonov=0.03, smoothness=0.002, head=0.01)
MGRIT = mg.MGRITOptions((4,), max_iterations=2, tolerance=0.0)


def gradient(net, params, x, labels, **options):
    options = {
        "objective": mg.SoftmaxCrossEntropy(),
        "regularisation": PENALTY,
    } | options
    return mg.value_and_gradient(net, params, x, labels, **options)[:2]


@pytest.mark.parametrize("degree", [0, 2, 3])
def test_gradient_for_coefficients_is_that_of_differences(degree):
    net, params, x, labels = problem(control=mg.BSpline(6, degree))
    _, exact = gradient(net, params, x, labels)
    rng = np.random.default_rng(6407)
    for name in ("opening", "body", "head"):
        theta = getattr(params, name)
        direction = rng.standard_normal(theta.shape)

        def value(t, name=name, theta=theta, direction=direction):
            moved = params._replace(**{name: theta + t * direction})
            return gradient(net, moved, x, labels)[0]

        # Central differences of steps 2 d, d, d / 2, extrapolated to order 6.
        d2, d1, d0 = ((value(t) - value(-t)) / (2 * t) for t in (8e-3, 4e-3, 2e-3))
        a, b = (4 * d1 - d2) / 3, (4 * d0 - d1) / 3
        desired = (16 * b - a) / 15
        found = np.sum(getattr(exact, name) * direction)
        assert found == pytest.approx(desired, rel=1e-9)


@pytest.mark.parametrize("options", [None, MGRIT])
def test_control_is_the_free_network_between_the_spline_and_its_transpose(options):
    """So penalties act on layers, and inexact solves see nothing of the control."""
    net, params, x, labels = problem()
    free = replace(net, control=mg.Free())
    rows = params._replace(body=net.control.values(params.body, 24, range(24)))
    solvers = {"forward": options, "adjoint": options}
    value, found = gradient(net, params, x, labels, **solvers)
    free_value, desired = gradient(free, rows, x, labels, **solvers)
    assert value == free_value
    np.testing.assert_array_equal(found.opening, desired.opening)
    np.testing.assert_array_equal(found.head, desired.head)
    basis = values(net.control, np.eye(6), depth=24)
    np.testing.assert_allclose(found.body, basis.T @ desired.body, rtol=0, atol=1e-14)


def test_penalties_are_those_of_the_layers():
    net, params, x, labels = problem()
    rows = net.control.values(params.body, 24, range(24))
    bare = gradient(net, params, x, labels, regularisation=None)[0]
    squares = np.sum(params.opening**2) + np.sum(rows**2)
    jumps = np.sum((np.diff(rows, axis=0) / net.step) ** 2)
    penalty = 0.5 * (0.03 * squares + 0.002 * jumps + 0.01 * np.sum(params.head**2))
    value = gradient(net, params, x, labels)[0]
    assert value - bare == pytest.approx(penalty, rel=1e-13)


def test_smooth_start_is_the_spline_start_layer_by_layer():
    net, params, *_ = problem()
    free = replace(net, control=mg.Free())
    smooth = free.init(seed=6406, smooth=6)
    desired = net.control.values(params.body, 24, range(24))
    np.testing.assert_array_equal(smooth.body, desired)
    np.testing.assert_array_equal(smooth.opening, params.opening)
    np.testing.assert_array_equal(smooth.head, params.head)
    np.testing.assert_array_equal(net.init(seed=6406, smooth=9).body, params.body)
    steps = np.abs(np.diff(smooth.body, axis=0)).max()
    assert steps < 0.3 * np.abs(np.diff(free.init(seed=6406).body, axis=0)).max()


def solve_in_parts(net, params, x, seed, comm):
    """Forward, adjoint and gradient one after the other, on the own part."""
    local = mg.local_slab(net, params, options=MGRIT, comm=comm)
    forward = mg.solve_forward(net, local, x, options=MGRIT, comm=comm)
    adjoint = mg.solve_adjoint(net, local, forward, seed, options=MGRIT, comm=comm)
    found = mg.parameter_gradient(net, local, forward, adjoint, comm=comm)
    return forward, adjoint, found


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_three_passes_on_several_ranks_are_bitwise_serial(size):
    net, params, x, _ = problem(depth=26)
    seed = np.random.default_rng(6408).standard_normal((11, 4))
    *whole, desired = solve_in_parts(net, params, x, seed, None)
    parts = run_ranks(lambda comm: solve_in_parts(net, params, x, seed, comm), size)
    for *solutions, found in parts:
        for part, solution in zip(solutions, whole, strict=True):
            points = solution.states[part.slab.start : part.slab.stop + 1]
            np.testing.assert_array_equal(part.states, points)
        np.testing.assert_array_equal(found.body, desired.body)
    np.testing.assert_array_equal(parts[0][2].opening, desired.opening)
    assert all(found.opening is None for *_, found in parts[1:])


def training(net, params, x, labels, comm=None):
    """Records of training with clipping that bites."""
    optimiser = mg.chain(mg.clip_by_global_norm(0.1), mg.adam(2e-2))
    return list(
        mg.train(
            net,
            params,
            [(x, labels)] * 6,
            optimiser=optimiser,
            objective=mg.SoftmaxCrossEntropy(),
            forward=MGRIT,
            adjoint=MGRIT,
            regularisation=PENALTY,
            comm=comm,
        )
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_training_on_several_ranks_is_bitwise_serial(size, dtype):
    setting = problem(depth=26, dtype=dtype)
    serial = training(*setting)
    assert min(record.gradient_norm for record in serial) > 0.1
    assert serial[-1].value < serial[0].value
    ranks = run_ranks(lambda comm: training(*setting, comm), size)
    for records in ranks:
        for found, desired in zip(records, serial, strict=True):
            same = {"seconds": None, "state": None}
            assert found._replace(**same) == desired._replace(**same)
            np.testing.assert_array_equal(found.params.body, desired.params.body)
    np.testing.assert_array_equal(
        ranks[0][-1].params.opening, serial[-1].params.opening
    )
    np.testing.assert_array_equal(ranks[-1][-1].params.head, serial[-1].params.head)
    for left, right in pairwise(ranks):
        assert left[-1].params.head is right[-1].params.opening is None


def test_single_precision_stays_and_is_as_good_as_it_gets():
    net, params, x, labels = problem(dtype=np.float32)
    wide = mg.Params(*(part.astype(np.float64) for part in params))
    _, desired = gradient(net, wide, x.astype(np.float64), labels)
    _, found = gradient(net, params, x, labels)
    for part, exact in zip(found, desired, strict=True):
        assert part.dtype == np.float32
        assert np.linalg.norm(part - exact) < 3e-6 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((6.0,), TypeError, "n_coefficients must be an integer, got 6.0"),
        (("6",), TypeError, "n_coefficients must be an integer, got '6'"),
        ((True, 0), TypeError, "n_coefficients must be an integer, got True"),
        ((6, "3"), TypeError, "degree must be an integer, got '3'"),
        ((6, -1), ValueError, "degree must be at least 0, got -1"),
        ((3,), ValueError, "n_coefficients is 3, needed at least 4 (degree + 1)"),
        ((0, 0), ValueError, "n_coefficients is 0, needed at least 1 (degree + 1)"),
    ],
)
def test_bad_splines_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        mg.BSpline(*arguments)


def test_no_control_is_a_row_for_every_layer():
    net = mg.Network(mg.Dense(4), 12, control=None)
    assert net == mg.Network(mg.Dense(4), 12)
    assert net.control == mg.Free()
    assert net.init().body.shape == (12, net.layer.n_params)


@pytest.mark.parametrize("shape", [(24, 20), (6, 21), (6,), (5, 20)])
def test_layers_in_place_of_coefficients_are_refused(shape):
    net, params, x, labels = problem()
    wrong = params._replace(body=np.zeros(shape))
    message = f"body has shape {shape}, needed (6, 20): the rows of the BSpline control"
    for call in (
        lambda: mg.solve_forward(net, wrong, x),
        lambda: mg.local_slab(net, wrong, options=MGRIT),
        lambda: gradient(net, wrong, x, labels),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
    with pytest.raises(TypeError, match="body has dtype int64"):
        mg.solve_forward(net, params._replace(body=np.zeros((6, 20), np.int64)), x)
