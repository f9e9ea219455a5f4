"""The estimated error of inexact gradients against the true one.

Estimates are meant to be right within a factor of 3.  They need the coarse level to say
something about the fine one: with weights that differ from layer to layer, injection,
and a final time of 5 the coarse level knows next to nothing, MGRIT diverges at first,
and an estimate of 200 % may stand for an error of 100 %; that is tested for size only.
Errors near rounding (below 1e-12 of the gradient) are not resolved either.
"""

import itertools
from functools import cache

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg
from mgresnet.arrays.trees import tree_map

WIDTH = 5
CORRECTIONS = [(0, 0), (1, 1), (2, 1), (1, 0), (0, 2)]
# Behind the last interval are 0, 0, 2, 5 and 15 layers.
GRIDS = [((16,), 96), ((4, 4), 96), ((7,), 100), ((4, 4), 101), ((4, 4), 47)]
PENALTY = mg.Regularisation(tikhonov=1e-3, smoothness=1e-4)


def problem(weights, depth, ends=True, activation="tanh", batch=16, dtype=float):
    """Network, parameters, inputs, targets and objective."""
    rng = np.random.default_rng(6501)
    layer = mg.Dense(WIDTH, activation)
    control = mg.BSpline(8) if weights == "control" else mg.Free()
    both = (mg.Linear(2, WIDTH, activation), mg.Linear(WIDTH, 3))
    net = mg.Network(layer, depth, 5.0, *(both if ends else (None, None)), control)
    params = net.init(seed=6502, smooth=8 if weights == "smooth" else None)
    params = mg.Params(*(p if p is None else p.astype(dtype) for p in params))
    inputs = rng.standard_normal((batch, 2 if ends else WIDTH)).astype(dtype)
    if ends:
        return net, params, inputs, rng.integers(0, 3, batch), mg.SoftmaxCrossEntropy()
    targets = rng.standard_normal((batch, WIDTH)).astype(dtype)
    return net, params, inputs, targets, mg.LeastSquares()


def solver(iterations, coarsening=(16,), operator="matched"):
    """Options of a number of corrections, None for serial propagation."""
    if iterations is None:
        return mg.MGRITOptions.serial(coarsening)
    return mg.MGRITOptions(
        coarsening,
        max_iterations=iterations,
        tolerance=0.0,
        coarse_operator=operator,
    )


def estimate(setting, forward, adjoint, comm=None, penalty=None):
    """Inexact gradient, and its estimated error."""
    net, params, inputs, targets, objective = setting
    _, gradient, info = mg.value_and_gradient(
        net,
        params,
        inputs,
        targets,
        objective=objective,
        forward=forward,
        adjoint=adjoint,
        comm=comm,
        regularisation=penalty,
    )
    found = mg.estimate_gradient_error(
        net,
        params,
        info.forward,
        info.adjoint,
        targets,
        objective=objective,
        options=forward,
        adjoint_options=adjoint,
        comm=comm,
    )
    return gradient, found


def norm(tree):
    return mg.global_norm(tree, lambda rows: rows)


def true_error(setting, gradient, penalty=None):
    """Distance from the exact gradient."""
    *given, objective = setting
    options = {"objective": objective, "regularisation": penalty}
    exact = mg.value_and_gradient(*given, **options)[1]
    return norm(tree_map(np.subtract, gradient, exact))


def ratio(setting, forward, adjoint, penalty=None):
    """Estimated over true error, where there is one to speak of."""
    gradient, found = estimate(setting, forward, adjoint, penalty=penalty)
    true = true_error(setting, gradient, penalty)
    assert true > 1e-7 * norm(gradient)
    return found.total / true


@cache
def ratios(weights, ends, operator):
    """For all grids and numbers of corrections."""
    found = []
    for coarsening, depth in GRIDS:
        setting = problem(weights, depth, ends)
        for k in CORRECTIONS:
            options = (solver(i, coarsening, operator) for i in k)
            found.append(ratio(setting, *options))
    return np.array(found)


SMOOTH = list(itertools.product(["control", "smooth"], [True, False]))
CASES = [(*c, op) for c in SMOOTH for op in ("matched", "mean", "injection")]
CASES += [("rough", e, op) for e in (True, False) for op in ("matched", "mean")]


@pytest.mark.parametrize(("weights", "ends", "operator"), CASES)
def test_estimates_are_within_a_factor_of_3(weights, ends, operator):
    found = ratios(weights, ends, operator)
    assert found.min() > 1 / 3
    assert found.max() < 3.0


def test_most_estimates_are_within_30_per_cent():
    found = np.concatenate([ratios(*case) for case in CASES])
    assert np.mean((found > 1 / 1.3) & (found < 1.3)) > 0.83
    assert 0.9 < np.median(found) < 1.1


@pytest.mark.parametrize("ends", [True, False])
def test_where_the_coarse_level_knows_nothing_estimates_are_large(ends):
    """Rough weights and injection: bounds are wide, and errors really are large."""
    for coarsening, depth in GRIDS[:3]:
        setting = problem("rough", depth, ends)
        options = solver(0, coarsening, "injection")
        gradient, found = estimate(setting, options, options)
        assert true_error(setting, gradient) > 0.3 * norm(gradient)
        assert found.total > 0.3 * norm(gradient)


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("activation", ["tanh", "smooth_relu"])
@pytest.mark.parametrize("penalty", [None, PENALTY])
def test_activations_batches_and_penalties_make_no_difference(
    batch, activation, penalty
):
    setting = problem("smooth", 100, activation=activation, batch=batch)
    for k in ((0, 0), (1, 1), (1, 0), (0, 1)):
        found = ratio(setting, *map(solver, k), penalty=penalty)
        assert 0.6 < found < 1.7


def test_penalties_change_no_estimate():
    setting = problem("control", 96)
    plain, penalised = (
        estimate(setting, solver(1), solver(1), penalty=p) for p in (None, PENALTY)
    )
    assert plain[1] == penalised[1]
    assert norm(plain[0]) != norm(penalised[0])


@pytest.mark.parametrize(
    ("forward", "adjoint"),
    [((16,), (8,)), ((16,), (7,)), ((4, 4), (16,)), ((16,), (4, 4)), ((), (16,))],
)
def test_the_two_solves_may_have_other_c_points(forward, adjoint):
    for weights in ("smooth", "rough"):
        options = solver(1 if forward else None, forward), solver(0, adjoint)
        assert 0.7 < ratio(problem(weights, 100, ends=False), *options) < 1.4


@pytest.mark.parametrize(
    ("coarsening", "depth"), [((4, 4), 31), ((4, 4), 47), ((8, 4), 63), ((2, 8), 31)]
)
def test_long_remainders_and_inner_levels_count(coarsening, depth):
    """One or two intervals, and up to half of the layers behind them."""
    setting = problem("smooth", depth, ends=False)
    for k in (*CORRECTIONS[:3], (None, 0), (None, 1), (0, None)):
        found = ratio(setting, *(solver(i, coarsening) for i in k))
        assert 0.85 < found < 1.6


@pytest.mark.parametrize("weights", ["control", "rough"])
@pytest.mark.parametrize("depth", [96, 101])
def test_an_exact_solve_has_no_part_in_the_error(weights, depth):
    setting = problem(weights, depth)
    _, found = estimate(setting, solver(None), solver(0))
    assert found.forward == 0.0
    assert found.total == found.adjoint > 0.0
    _, found = estimate(setting, solver(0), solver(None))
    assert found.adjoint == 0.0
    assert found.total == found.forward > 0.0
    _, found = estimate(setting, solver(None), solver(None))
    assert found == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("weights", ["smooth", "rough"])
@pytest.mark.parametrize("coarsening", [(16,), (4, 4)])
def test_the_parts_are_those_of_the_two_solves(weights, coarsening):
    """The adjoint part against the exact adjoint for the same states."""
    setting = problem(weights, 101)
    forward, adjoint = solver(0, coarsening), solver(0, coarsening)
    gradient, found = estimate(setting, forward, adjoint)
    half, _ = estimate(setting, forward, solver(None, coarsening))
    assert 0.7 < found.adjoint / norm(tree_map(np.subtract, gradient, half)) < 1.4
    assert 0.7 < found.forward / true_error(setting, half) < 1.4


def test_many_corrections_make_the_solution_exact_and_the_estimate_vanish():
    setting = problem("smooth", 96)
    gradient, found = estimate(setting, solver(6), solver(6))
    assert true_error(setting, gradient) < 1e-15 + 1e-13 * norm(gradient)
    assert found.total < 1e-13 * norm(gradient)


def test_single_precision_estimates_down_to_its_rounding():
    setting = problem("smooth", 100, dtype=np.float32)
    wide = problem("smooth", 100)
    for k in (0, 1):
        _, found = estimate(setting, solver(k), solver(k))
        _, desired = estimate(wide, solver(k), solver(k))
        assert found.total == pytest.approx(desired.total, rel=3e-3)
    gradient, found = estimate(setting, solver(6), solver(6))
    assert found.total < 3e-6 * norm(gradient)


@pytest.mark.parametrize("weights", ["control", "rough"])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize(("coarsening", "depth"), [((16,), 101), ((4, 2), 45)])
def test_ranks_change_no_bit(weights, ends, coarsening, depth):
    """Five or six intervals: slabs on 2, 3 and 5 ranks are uneven, with a remainder."""
    setting = problem(weights, depth, ends)
    options = solver(1, coarsening), solver(0, coarsening)
    _, desired = estimate(setting, *options)
    assert min(desired) > 0.0
    for size in (2, 3, 5):
        parts = run_ranks(lambda comm: estimate(setting, *options, comm)[1], size)
        assert parts == [desired] * size


@pytest.mark.parametrize("task", ["peaks", "peaks-regression"])
@pytest.mark.parametrize("weights", ["control", "rough"])
def test_estimates_hold_through_training(task, weights):
    """From the first step, on fresh batches; true errors go through two decades."""
    split = mg.load_problem(task, n_train=120, n_validation=5, seed=6503).train
    n_outputs, objective = 1, mg.LeastSquares()
    if task == "peaks":
        n_outputs, objective = 5, mg.SoftmaxCrossEntropy()
    control = mg.BSpline(8) if weights == "control" else mg.Free()
    ends = mg.Linear(2, WIDTH, "tanh"), mg.Linear(WIDTH, n_outputs)
    net = mg.Network(mg.Dense(WIDTH), 128, 5.0, *ends, control)
    params, found = net.init(seed=6504), []
    batches = list(mg.batches(split, 40, epochs=14, seed=6505))
    for record, batch in zip(
        mg.train(
            net,
            params,
            batches,
            optimiser=mg.adam(2e-2),
            objective=objective,
            forward=solver(1),
            adjoint=solver(1),
            check_every=1,
        ),
        batches,
        strict=True,
    ):
        setting = (net, params, batch.inputs, batch.targets, objective)
        gradient, estimated = estimate(setting, solver(1), solver(1))
        assert estimated.total / norm(gradient) == record.gradient_error
        found.append(estimated.total / true_error(setting, gradient))
        params = record.params
    found = np.array(found)
    assert np.mean((found > 1 / 3) & (found < 3.0)) >= 0.95
    assert 0.8 < np.median(found) < 1.25
