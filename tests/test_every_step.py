"""Losses at every step: gradients by complex steps, weights of steps, any ranks."""

import itertools

import numpy as np
import pytest
from fakes import run_ranks
from kinds import page

import mgresnet as mg

DEPTH, M, BATCH, HIDDEN, OUT = 26, 4, 5, 3, 2
SERIAL = mg.MGRITOptions.serial((M,))
EXACT = mg.MGRITOptions((M,), max_iterations=7, tolerance=0.0, coarse_operator="mean")
SOLVERS = {
    "serial": SERIAL,
    "converged": EXACT,
    "inexact": mg.MGRITOptions((2, 2), 0, "V", 1, 0.0, coarse_operator="mean"),
}
WEIGHTED = mg.EveryStep(mg.Weighted(mg.LeastSquares()), DEPTH)


def problem(head=True):
    """Network, parameters, inputs, targets with weights."""
    rng = np.random.default_rng(61701)
    cell = page().GRU(2, HIDDEN)
    maps = {"head": mg.Linear(HIDDEN, OUT)} if head else {}
    control = mg.Shared()
    net = mg.Network(
        mg.Stepwise(cell), DEPTH, float(DEPTH), control=control, read="every", **maps
    )
    inputs = rng.standard_normal((BATCH, DEPTH, 2))
    targets = rng.standard_normal((BATCH, DEPTH, net.n_outputs + 1))
    targets[:, :, -1] = rng.integers(0, 2, (BATCH, DEPTH))
    return net, net.init(seed=61702), inputs, targets


def by_definition(net, params, inputs, targets):
    """Weighted squares of all steps, in whatever numbers the parameters are."""
    u, total = np.zeros((BATCH, HIDDEN), params.body.dtype), 0.0
    for t in range(DEPTH):
        u = net.layer.written.step(params.body[0], u, 1.0, inputs[:, t])
        y = u
        if net.head is not None:
            weight = params.head[: OUT * HIDDEN].reshape(OUT, HIDDEN)
            y = u @ weight.T + params.head[OUT * HIDDEN :]
        squares = 0.5 * ((y - targets[:, t, :-1]) ** 2).sum(axis=1)
        total = total + (targets[:, t, -1] * squares).sum()
    return total / (BATCH * DEPTH)


@pytest.mark.parametrize("solver", ["serial", "converged"])
@pytest.mark.parametrize("head", [True, False])
def test_gradients_are_those_of_the_definition(solver, head):
    net, params, x, targets = problem(head)
    ways = {"forward": SOLVERS[solver], "adjoint": SOLVERS[solver]}
    value, gradient, _info = mg.value_and_gradient(
        net, params, x, targets, objective=WEIGHTED, **ways
    )
    rtol = 1e-13 if solver == "serial" else 1e-11
    assert value == pytest.approx(by_definition(net, params, x, targets), rel=rtol)
    rng, step = np.random.default_rng(61703), 1e-30
    for part in ("body", "head") if head else ("body",):
        at, found = getattr(params, part), getattr(gradient, part)
        for _ in range(5):
            direction = rng.standard_normal(at.shape)
            moved = params._replace(**{part: at + 1j * step * direction})
            needed = by_definition(net, moved, x, targets).imag / step
            assert np.sum(found * direction) == pytest.approx(needed, rel=rtol)


def test_the_adjoint_sums_what_all_later_steps_add():
    net, params, x, targets = problem(head=False)
    _, _, info = mg.value_and_gradient(net, params, x, targets, objective=WEIGHTED)
    states = info.forward.states[1:]
    weights = np.moveaxis(targets[:, :, -1:], 1, 0) / (BATCH * DEPTH)
    defects = weights * (states - np.moveaxis(targets[:, :, :-1], 1, 0))
    plain = mg.solve_forward(net, params, x)
    adjoint = mg.solve_adjoint(net, params, plain, np.ascontiguousarray(defects))
    np.testing.assert_allclose(
        info.adjoint.states, adjoint.states, rtol=1e-13, atol=1e-16
    )


def test_steps_of_weight_zero_do_not_count():
    net, params, x, targets = problem()
    changed = targets.copy()
    changed[targets[:, :, -1] == 0.0, :-1] = 1e3
    one, two = (
        mg.value_and_gradient(net, params, x, t, objective=WEIGHTED)[:2]
        for t in (targets, changed)
    )
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1].body, two[1].body)
    np.testing.assert_array_equal(one[1].head, two[1].head)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_same_bits_on_any_number_of_ranks(solver, size):
    net, params, x, targets = problem()
    ways = {"forward": SOLVERS[solver], "adjoint": SOLVERS[solver]}

    def run(comm):
        value, gradient, info = mg.value_and_gradient(
            net, params, x, targets, objective=WEIGHTED, comm=comm, **ways
        )
        how = {"options": SOLVERS[solver], "comm": comm}
        score = mg.evaluate(net, params, x, targets, objective=WEIGHTED, **how)
        outputs = mg.predict(net, params, x, **how)
        return value, gradient, score, outputs, info.adjoint.states

    alone, ranks = run(None), run_ranks(run, size)
    states = np.concatenate([ranks[0][4], *(rank[4][1:] for rank in ranks[1:])])
    np.testing.assert_array_equal(states, alone[4])
    np.testing.assert_array_equal(ranks[-1][1].head, alone[1].head)
    for value, gradient, score, outputs, _ in ranks:
        assert (value, score) == (alone[0], alone[2])
        np.testing.assert_array_equal(gradient.body, alone[1].body)
        np.testing.assert_array_equal(outputs, alone[3])


@pytest.mark.parametrize("size", [1, 3])
def test_training_and_evaluation_agree(size):
    net, params, x, _ = problem()
    labels = (np.cumsum(x[:, :, 0], axis=1) > 0).astype(np.int64)
    objective = mg.EveryStep(mg.SoftmaxCrossEntropy(), DEPTH)
    how = {"objective": objective, "forward": SERIAL, "optimiser": mg.adam(0.05)}
    batches = [(x, labels)] * 60

    def run(comm):
        records = list(mg.train(net, params, batches, comm=comm, **how))
        last = mg.whole_params(net, records[-1].params, options=SERIAL, comm=comm)
        found = mg.evaluate(net, last, x, labels, objective=objective)
        return records[0].loss, found

    for first, found in run_ranks(run, size):
        assert found.loss < 0.6 * first
        outputs = mg.predict(net, params, x)
        assert outputs.shape == (BATCH, DEPTH, OUT)
        assert found.score > 0.8


def test_the_objective_keeps_its_contract_and_is_a_mean_of_steps():
    rng = np.random.default_rng(61704)
    outputs = rng.standard_normal((4, 6, 3))
    labels = rng.integers(0, 3, (4, 6))
    plain, every = mg.SoftmaxCrossEntropy(), mg.EveryStep(mg.SoftmaxCrossEntropy(), 6)
    value, seed = every.value_and_seed(outputs, labels)
    steps = [plain.value_and_seed(outputs[:, t], labels[:, t]) for t in range(6)]
    assert value == pytest.approx(np.mean([each[0] for each in steps]), rel=1e-14)
    for t, (_, each) in enumerate(steps):
        np.testing.assert_allclose(seed[:, t], each / 6, rtol=0, atol=1e-16)
    scores = [plain.score(outputs[:, t], labels[:, t]) for t in range(6)]
    assert every.score(outputs, labels) == pytest.approx(np.mean(scores))


def test_saved_networks_read_what_they_read(tmp_path):
    net = mg.Network(mg.Dense(3), 4, read="every")
    params = net.init()
    mg.save(tmp_path / "net.mgresnet", net, params)
    again, _ = mg.load(tmp_path / "net.mgresnet")
    assert again == net


def refusals():
    """What does not fit together, and what is said."""
    net, _params, _x, targets = problem()
    last = mg.Network(
        net.layer, DEPTH, float(DEPTH), head=net.head, control=mg.Shared()
    )
    yield last, WEIGHTED, targets, "reads 'last'"
    yield net, mg.LeastSquares(), targets[:, 0, :-1], r"needed EveryStep\(LeastSquares"
    short = mg.EveryStep(mg.Weighted(mg.LeastSquares()), 5)
    yield net, short, targets[:, :5], "for 5 steps, the network has 26"
    yield net, WEIGHTED, targets[:, :5], r"targets have shape \(5, 5, 3\)"
    hole = targets.copy()
    hole[2, 5, 0] = np.nan
    yield net, WEIGHTED, hole, "targets has NaN .* first in sample 2, step 5"
    halves = targets[:, :, 0]
    labels = mg.EveryStep(mg.SoftmaxCrossEntropy(), DEPTH - 1)
    yield net, labels, halves, "for 25 steps, the network has 26"
    labels = mg.EveryStep(mg.SoftmaxCrossEntropy(), DEPTH)
    yield last, labels, halves, "reads 'last'"


@pytest.mark.parametrize("k", range(7))
def test_networks_and_objectives_fit(k):
    net, objective, targets, match = next(itertools.islice(refusals(), k, None))
    _, params, x, _ = problem()
    with pytest.raises(ValueError, match=match):
        mg.value_and_gradient(net, params, x, targets, objective=objective)


def test_steps_are_not_nested():
    with pytest.raises(ValueError, match=r"give SoftmaxCrossEntropy\(\.\.\) itself"):
        mg.EveryStep(mg.EveryStep(mg.SoftmaxCrossEntropy(), DEPTH), DEPTH)


@pytest.mark.parametrize("ranks", [None, 4, 64])
@pytest.mark.parametrize("tolerance", [0.1, np.inf])
def test_errors_of_gradients_are_refused_before_a_step(ranks, tolerance):
    net, params, x, targets = problem()
    how = {"gradient_tolerance": tolerance, "ranks": ranks, "optimiser": mg.adam(0.1)}
    with pytest.raises(ValueError, match="leave gradient_tolerance and check_every"):
        mg.train(net, params, [(x, targets)], objective=WEIGHTED, **how)


def test_what_there_is_not():
    net, params, x, targets = problem()
    with pytest.raises(ValueError, match="unknown read 'all'; choose from last, every"):
        mg.Network(mg.Dense(3), 4, read="all")
    with pytest.raises(ValueError, match=r"network 0 of 2 reads 'every' state"):
        mg.Chain([mg.Network(mg.Dense(3), 4, read="every"), mg.Network(mg.Dense(3), 4)])
    ways = {"forward": SOLVERS["inexact"], "adjoint": SOLVERS["inexact"]}
    _, _, info = mg.value_and_gradient(
        net, params, x, targets, objective=WEIGHTED, **ways
    )
    with pytest.raises(ValueError, match="compare with an exact gradient"):
        mg.estimate_gradient_error(
            net,
            params,
            info.forward,
            info.adjoint,
            targets,
            objective=WEIGHTED,
            options=SOLVERS["inexact"],
        )
