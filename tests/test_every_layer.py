"""One contract for layers of every kind, fused or as docs/write-a-layer.md writes them.

Estimates of the gradient's error are promised for u' = f.  For the gated unit they were
measured (its row of `test_estimated_errors_of_recurrent_networks` keeps them in sight).
"""

from functools import cache, partial

import kinds
import numpy as np
import pytest
import reference as ref
from fakes import run_ranks
from kinds import BATCH, DEPTH, LAYERS, RATES, M, options, problem, reads

import mgresnet as mg

OBJECTIVE = mg.SoftmaxCrossEntropy()
TINY = 1e-40
each_layer = pytest.mark.parametrize("name", LAYERS)
each_rate = pytest.mark.parametrize("name", RATES)
each_sweep = pytest.mark.parametrize(
    ("relaxations", "k"), [(0, 0), (0, 2), (1, 1), (1, 2)]
)
each_size = pytest.mark.parametrize("size", [2, 3, 5])


def gradient(name, how=None, setting=None, **rest):
    """Value, gradient and info; serial by default."""
    how = how or mg.MGRITOptions.serial((M,))
    solvers = {"forward": how, "adjoint": how}
    given = setting or problem(name)
    return mg.value_and_gradient(*given, objective=OBJECTIVE, **solvers, **rest)


def passes(name, how=None, comm=None, depth=DEPTH, **rest):
    """Forward and adjoint solution of a network without maps, for a fixed seed."""
    net, params, inputs, _ = problem(name, maps=False, depth=depth)
    rest |= {"options": how or mg.MGRITOptions.serial((M,)), "comm": comm}
    forward = mg.solve_forward(net, params, inputs, **rest)
    adjoint = mg.solve_adjoint(net, params, forward, seed(net), gradient=True, **rest)
    return forward, adjoint


def seed(net):
    return np.random.default_rng(90213).standard_normal((BATCH, *net.layer.state_shape))


def assert_close(got, needed, tolerance):
    np.testing.assert_allclose(got, needed, rtol=0, atol=tolerance * abs(needed).max())


def assert_same(got, needed):
    """The same bits in all parts that there are."""
    for a, b in zip(got, needed, strict=True):
        if a is not None:
            np.testing.assert_array_equal(a, b)


@each_layer
def test_it_keeps_the_contract(name):
    mg.check_layer(LAYERS[name], np.random.default_rng(90214))


@each_layer
def test_gradients_are_those_of_complex_steps(name):
    setting = net, params, inputs, labels = problem(name, depth=7)
    _, found, _ = gradient(name, setting=setting)
    for part, own in params._asdict().items():
        if own is None:
            assert getattr(found, part) is None
            continue

        def value(theta, part=part):
            return kinds.loss(net, params._replace(**{part: theta}), inputs, labels)

        needed = ref.complex_step(value, own)
        assert_close(getattr(found, part), needed, 1e-13)


@each_layer
@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_gradients_for_inputs_are_those_of_complex_steps(name, keep):
    net, params, inputs, _ = problem(name, maps=False, depth=9)
    forward, adjoint = passes(name, depth=9, keep=keep)
    d_inputs, d_first = mg.input_gradient(net, params, forward, adjoint)
    first, w = kinds.first_state(net, params, inputs), seed(net)

    def value(u, x):
        return np.sum(w * kinds.trajectory(net, params.body, u, x)[-1])

    needed = ref.complex_step(lambda u: value(u, inputs), first)
    assert_close(d_first, needed, 1e-13)
    if reads(name):
        needed = ref.complex_step(lambda x: value(first, x), inputs)
    assert_close(d_inputs, needed, 1e-13)


@each_layer
def test_adjoints_are_adjoint_to_tangents(name):
    """<w_n, v_n> is the same for all n."""
    net, params, inputs, _ = problem(name, maps=False)
    first, direction = kinds.first_state(net, params, inputs), seed(net)[::-1]
    moved = first + TINY * 1j * direction
    v = kinds.trajectory(net, params.body, moved, inputs).imag / TINY
    _, adjoint = passes(name)
    products = np.sum(adjoint.states * v, axis=tuple(range(1, v.ndim)))
    np.testing.assert_allclose(products, products[0], rtol=1e-12)


@each_layer
def test_states_converge_with_order_one(name):
    """One row of parameters, and the same input in every step."""

    def last(depth):
        net = mg.Network(LAYERS[name], depth, 1.0, control=mg.Shared())
        inputs = np.random.default_rng(90215).standard_normal((4, *net.input_shape))
        if reads(name):
            inputs = np.repeat(inputs[:, None], depth, axis=1)
        return mg.solve_forward(net, net.init(seed=90216), inputs).final

    a, b, c = (last(depth) for depth in (40, 80, 160))
    order = np.log2(np.linalg.norm(a - b) / np.linalg.norm(b - c))
    assert order == pytest.approx(1.0, abs=0.06)


def assert_exact_up_to(last, found, exact):
    """Points in the order of propagation; the next one is not."""
    differences = abs(found - exact) / abs(exact).max()
    worst = differences.reshape(len(differences), -1).max(axis=1)
    assert worst[: last + 1].max() < 1e-13
    assert worst[last + 1] > 1e-9


@each_layer
@each_sweep
def test_iterations_make_interval_after_interval_exact(name, relaxations, k):
    how = options(name, k, relaxations=relaxations)
    found, exact = (passes(name, one)[0].states for one in (how, None))
    assert_exact_up_to((relaxations + 1) * k * M + M - 1, found, exact)


@each_layer
@each_sweep
def test_so_do_those_of_adjoints(name, relaxations, k):
    net, params, *_ = problem(name, maps=False)
    forward, exact = passes(name)
    how = options(name, k, relaxations=relaxations)
    found = mg.solve_adjoint(net, params, forward, seed(net), options=how)
    last = DEPTH % M + (relaxations + 1) * k * M + M - 1  # the remainder comes first
    assert_exact_up_to(last, found.states[::-1], exact.states[::-1])


@each_layer
@pytest.mark.parametrize("coarsening", [(M,), (3, 2)])
def test_converged_it_is_the_serial_run(name, coarsening):
    how = options(name, 20, coarsening, 1e-13)
    value, found, info = gradient(name, how)
    exact, needed, serial = gradient(name)
    assert info.forward.converged
    assert info.adjoint.converged
    assert value == pytest.approx(exact, rel=1e-12)
    for got, wanted in zip(info[:2], serial[:2], strict=True):
        assert_close(got.states, wanted.states, 1e-11)
    for got, wanted in zip(found, needed, strict=True):
        if wanted is not None:
            assert_close(got, wanted, 1e-11)


@each_layer
@pytest.mark.parametrize("k", [None, 1])
@pytest.mark.parametrize("maps", [True, False])
def test_what_is_kept_changes_no_bit(name, k, maps):
    how = None if k is None else options(name, k)
    if maps:
        value, needed, whole = gradient(name, how, keep="all")
    else:
        whole = passes(name, how, keep="all")
    for keep in ("c-points", "auto"):
        if maps:
            other, found, some = gradient(name, how, keep=keep)
            assert other == value
            assert_same(found, needed)
        else:
            some = passes(name, how, keep=keep)
            np.testing.assert_array_equal(some[1].gradient, whole[1].gradient)
        for got, wanted in zip(some[:2], whole[:2], strict=True):
            states = wanted.states[np.searchsorted(wanted.kept, got.kept)]
            np.testing.assert_array_equal(got.states, states)


@cache
def alone(name, coarsening, keep, dtype):
    how, setting = options(name, 2, coarsening), problem(name, dtype=dtype)
    return gradient(name, how, setting, keep=keep)


def assert_parts_of(parts, whole, shared):
    """Gradients and states of ranks in order are those of one rank."""
    value, needed, info = whole
    assert {part[0] for part in parts} == {value}
    bodies = [part[1].body for part in parts]
    if shared:
        assert_same(bodies, [needed.body] * len(parts))
    else:
        np.testing.assert_array_equal(np.concatenate(bodies), needed.body)
    assert_same(parts[0][1][:1] + parts[-1][1][2:], needed[::2])
    for part in parts:
        for got, wanted in zip(part[2][:2], info[:2], strict=True):
            points = np.searchsorted(wanted.kept, got.slab.start + got.kept)
            np.testing.assert_array_equal(got.states, wanted.states[points])
            np.testing.assert_array_equal(got.residuals, wanted.residuals)


@each_layer
@each_size
@pytest.mark.parametrize(
    ("coarsening", "keep", "dtype"),
    [
        ((M,), "all", np.float64),
        ((M,), "c-points", np.float32),
        ((2, 3), "c-points", np.float64),
    ],
)
def test_ranks_change_no_bit(name, size, coarsening, keep, dtype):
    whole = alone(name, coarsening, keep, dtype)
    assert whole[1].body.dtype == whole[2].forward.states.dtype == dtype
    how, setting = options(name, 2, coarsening), problem(name, dtype=dtype)
    call = partial(gradient, name, how, setting, keep=keep)
    assert_parts_of(run_ranks(lambda comm: call(comm=comm), size), whole, reads(name))


def training(name, comm=None, setting=None, **rest):
    net, params, *batch = setting or problem(name, depth=22)
    how = options(name, 1)
    rest |= {"forward": how, "adjoint": how, "comm": comm, "objective": OBJECTIVE}
    steps = mg.chain(mg.clip_by_global_norm(0.5), mg.adam(0.02))
    return list(mg.train(net, params, [batch] * 5, optimiser=steps, **rest))


training_alone = cache(training)


def numbers(records):
    return [record._replace(seconds=None, state=None) for record in records]


@each_layer
@each_size
def test_training_is_the_same_on_any_number_of_ranks(name, size):
    serial = training_alone(name)
    assert serial[-1].loss < serial[0].loss
    for records in run_ranks(partial(training, name), size):
        assert numbers(records) == numbers(serial)


def test_a_recurrent_network_may_have_an_opening_on_one_rank():
    net = mg.Network(
        LAYERS["gated"], 7, 7.0, mg.Linear(3, 2), mg.Linear(3, 3), mg.Shared()
    )
    params, rng = net.init(seed=90217), np.random.default_rng(90218)
    x, labels = rng.standard_normal((BATCH, 7, 3)), rng.integers(0, 3, BATCH)
    _, found, _ = gradient(None, setting=(net, params, x, labels))

    def value(theta):
        opened = x @ theta[:6].reshape(2, 3).T + theta[6:]
        return kinds.loss(net, params, opened, labels)

    assert_close(found.opening, ref.complex_step(value, params.opening), 1e-13)


def test_outputs_without_a_head_are_the_features_of_the_last_state():
    net, params, x, _ = problem("convolution", maps=False, depth=8)
    objective, how = mg.LeastSquares(), mg.MGRITOptions.serial((4,))
    targets = np.random.default_rng(90219).standard_normal((BATCH, 50))
    last = mg.solve_forward(net, params, x).final
    assert net.n_outputs == 50

    def found(comm=None):
        rest = {"objective": objective, "options": how, "comm": comm}
        outputs = mg.predict(net, params, x, options=how, comm=comm)
        return outputs, mg.evaluate(net, params, x, targets, **rest)

    for outputs, evaluation in (found(), *run_ranks(found, 2)):
        np.testing.assert_array_equal(outputs, last.reshape(BATCH, 50))
        needed = ref.least_squares(outputs, targets)
        assert evaluation.loss == pytest.approx(needed, rel=1e-14)
    _, exact, info = mg.value_and_gradient(
        net, params, x, targets, objective=objective, forward=how, adjoint=how
    )
    defect = (last.reshape(BATCH, 50) - targets) / BATCH
    np.testing.assert_array_equal(info.adjoint.final.reshape(BATCH, 50), defect)
    assert np.isfinite(exact.body).all()
    with pytest.raises(
        ValueError, match=r"targets has shape \(5, 5\), needed \(5, 50\)"
    ):
        mg.evaluate(net, params, x, targets[:, :5], objective=objective)
