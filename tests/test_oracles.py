"""Oracles, the space of parameters, and training loops of one's own."""

import pickle
import re
from functools import partial

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg
from mgresnet.arrays.trees import tree_map

HOW = mg.MGRITOptions((4,), max_iterations=3, tolerance=0.0)
LOSS = mg.SoftmaxCrossEntropy()
REST = {"forward": HOW, "adjoint": HOW}
ENDS = {"opening": mg.Linear(3, 5), "head": mg.Linear(5, 2)}
RNG = np.random.default_rng(59201)
DATA = mg.Batch(RNG.standard_normal((24, 3)), RNG.integers(0, 2, 24))[:2]
NETS = {
    "free": mg.Network(mg.Dense(5), 37, 2.0, **ENDS),
    "spline": mg.Network(mg.Dense(5), 37, 2.0, control=mg.BSpline(6), **ENDS),
    "spline alone": mg.Network(mg.Dense(3), 37, 2.0, control=mg.BSpline(6)),
    "shared": mg.Network(mg.Dense(5), 37, 2.0, control=mg.Shared(), **ENDS),
    "chain": mg.Chain(
        [
            mg.Network(mg.Dense(5), 24, opening=mg.Linear(3, 5)),
            mg.Network(
                mg.Dense(4), 36, 2.0, mg.Linear(5, 4), mg.Linear(4, 2), mg.BSpline(5)
            ),
        ]
    ),
}
each_net = pytest.mark.parametrize("name", NETS)
each_size = pytest.mark.parametrize("size", [1, 2, 3])


def draw(name, seed):
    """Parameters of a whole network, or a gradient."""
    return NETS[name].init(seed)


def flat(tree):
    """All entries of a tree."""
    if tree is None:
        return np.zeros(0)
    if isinstance(tree, np.ndarray):
        return tree.ravel()
    return np.concatenate([flat(part) for part in tree])


def bits(value):
    """Bytes of all arrays in nested tuples, and all else as it is."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return tuple(map(bits, value)) if isinstance(value, tuple) else value


# --- the space -------------------------------------------------------------


@each_net
def test_dots_are_those_of_whole_vectors(name):
    a, b = draw(name, 11), draw(name, 12)
    space = mg.space(NETS[name])
    assert space.dot(a, b) == pytest.approx(flat(a) @ flat(b), rel=1e-13)
    assert space.norm(a) == pytest.approx(np.linalg.norm(flat(a)), rel=1e-14)
    assert space.dot(a, b) == space.dot(b, a)


@each_net
@pytest.mark.parametrize("size", [2, 3])
def test_dots_have_the_same_bits_on_any_number_of_ranks(name, size):
    """Of what a rank owns, and of whole trees, of which it takes its own part."""
    net, a, b = NETS[name], draw(name, 11), draw(name, 12)

    def found(comm):
        space = mg.space(net, HOW, comm)
        own = [mg.local_slab(net, tree, options=HOW, comm=comm) for tree in (a, b)]
        return space.dot(*own), space.norm(own[0]), space.dot(a, b), space.norm(a)

    space = mg.space(net)
    desired = (space.dot(a, b), space.norm(a)) * 2
    assert run_ranks(found, size) == [desired] * size


def test_dots_of_other_trees_are_refused():
    space = mg.space(NETS["free"])
    with pytest.raises(
        ValueError, match=r"body has shape \(6, 12\), needed \(37, 30\)"
    ):
        space.norm(draw("spline alone", 1))


# --- loops of one's own ----------------------------------------------------


def own_loop(oracle, net, optimiser, batches, comm):
    """Training in ten lines."""
    space = mg.space(net, HOW, comm)
    own = mg.local_slab(net, net.init(7), options=HOW, comm=comm)
    state, memory, found = optimiser.init(own), oracle.init(own), []
    for batch in batches:
        answer = oracle.evaluate(own, batch, memory)
        step, state = optimiser.update(answer.gradient, state, own, space=space)
        own, memory = mg.apply_updates(own, step), answer.memory
        found.append((answer.value, space.norm(answer.gradient)))
    return found, own


@each_net
@each_size
@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_an_own_loop_equals_train_to_the_bit(name, size, tolerance):
    net, optimiser = NETS[name], mg.chain(mg.clip_by_global_norm(0.1), mg.adam(0.02))
    loss = mg.LeastSquares() if name == "spline alone" else LOSS
    data = (DATA[0], DATA[0]) if name == "spline alone" else DATA
    batches = list(mg.batches(data, 10, epochs=2, seed=3))

    def both(comm):
        oracle = mg.layer_parallel(net, loss, comm=comm, **REST)
        if tolerance is not None:
            oracle = mg.accurate(oracle, tolerance, ranks=64)
        found, own = own_loop(oracle, net, optimiser, batches, comm)
        rest = REST | {"gradient_tolerance": tolerance, "ranks": 64, "comm": comm}
        records = mg.train(
            net, net.init(7), batches, optimiser=optimiser, objective=loss, **rest
        )
        *_, last = rows = list(records)
        assert found == [(row.value, row.gradient_norm) for row in rows]
        assert bits(own) == bits(last.params)
        return found

    assert run_ranks(both, size) == [own_loop_alone(name, tolerance)] * size


def own_loop_alone(name, tolerance):
    net, optimiser = NETS[name], mg.chain(mg.clip_by_global_norm(0.1), mg.adam(0.02))
    loss = mg.LeastSquares() if name == "spline alone" else LOSS
    data = (DATA[0], DATA[0]) if name == "spline alone" else DATA
    oracle = mg.layer_parallel(net, loss, **REST)
    if tolerance is not None:
        oracle = mg.accurate(oracle, tolerance, ranks=64)
    batches = mg.batches(data, 10, epochs=2, seed=3)
    return own_loop(oracle, net, optimiser, batches, None)[0]


def test_train_takes_an_oracle():
    net, optimiser = NETS["spline"], mg.adam(0.02)
    plain = mg.layer_parallel(net, LOSS, **REST)

    def work(comm):
        grid = mg.ProcessGrid.split(comm, layer=1, data=2)
        oracle = mg.accurate(mg.over_data(plain, grid.data), 1e-2, ranks=64)
        given = {"optimiser": optimiser, "comm": grid}
        for rest in (
            {"oracle": oracle},
            REST | {"objective": LOSS, "gradient_tolerance": 1e-2, "ranks": 64},
        ):
            records = mg.train(net, net.init(7), [DATA] * 4, **given, **rest)
            yield [r._replace(seconds=None, state=bits(r.params)) for r in records]

    for one, other in run_ranks(lambda comm: list(work(comm)), 2):
        assert one == other
        assert all(0.0 < record.gradient_error <= 1e-2 for record in one)


class Doubled:
    """Somebody's oracle: twice the objective of another one."""

    def __init__(self, inner):
        self.inner, self.options = inner, inner.options
        self.init, self.check = inner.init, inner.check

    def evaluate(self, params, batch, memory):
        found = self.inner.evaluate(params, batch, memory)
        gradient = tree_map(lambda g: 2.0 * g, found.gradient)
        return mg.FirstOrder(2.0 * found.value, gradient, found.memory)

    def value(self, params, batch, memory):
        return 2.0 * self.inner.value(params, batch, memory)


@pytest.mark.parametrize("size", [1, 2])
def test_oracles_of_others_are_trained_on(size):
    net = NETS["free"]

    def work(comm):
        plain = mg.layer_parallel(net, LOSS, comm=comm, **REST)
        rest = {"comm": comm, "optimiser": mg.sgd(0.05)}
        doubled = mg.train(net, net.init(7), [DATA] * 3, oracle=Doubled(plain), **rest)
        rest["optimiser"] = mg.sgd(0.1)
        single = mg.train(net, net.init(7), [DATA] * 3, oracle=plain, **rest)
        for two, one in zip(doubled, single, strict=True):
            assert two.value == two.loss == 2.0 * one.value
            assert two.gradient_norm == 2.0 * one.gradient_norm
            assert bits(two.params) == bits(one.params)
            assert two.forward_residual is None
            assert two.status is mg.Status.CONVERGED
        return one.value

    assert run_ranks(work, size) == [run_ranks(work, 1)[0]] * size


# --- values for line searches ---------------------------------------------


@each_net
@each_size
def test_values_are_those_of_evaluations(name, size):
    net = NETS[name]
    loss = mg.LeastSquares() if name == "spline alone" else LOSS
    data = (DATA[0], DATA[0]) if name == "spline alone" else DATA
    penalties = mg.Regularisation(1e-2, 1e-3, 1e-3)

    def work(comm):
        given = REST | {"comm": comm, "regularisation": penalties}
        plain = mg.layer_parallel(net, loss, **given)
        for oracle in (plain, mg.accurate(plain, 0.5, ranks=64)):
            params = net.init(7)
            memory = oracle.init(params)
            found = oracle.evaluate(params, data, memory)
            assert oracle.value(params, data, memory) == found.value
        return found.value

    assert len(set(run_ranks(work, size))) == 1


def armijo(gradient, state, params, *, space=None, value=None):
    """Go down the gradient until the objective falls as it promises."""
    square, now, rate = space.dot(gradient, gradient), value(params), 64.0
    while True:
        step = tree_map(partial(np.multiply, -rate), gradient)
        if value(mg.apply_updates(params, step)) <= now - 0.1 * rate * square:
            return step, (*state, rate)
        rate /= 2.0


@each_size
def test_a_line_search_of_one_s_own(size):
    net, search = NETS["spline"], mg.Transform(lambda params: (), armijo)

    def work(comm):
        records = mg.train(
            net,
            net.init(7),
            [DATA] * 6,
            optimiser=search,
            objective=LOSS,
            comm=comm,
            **REST,
        )
        *_, last = rows = list(records)
        return [row.value for row in rows], last.state.optimiser

    values, rates = run_ranks(work, size)[0]
    assert (np.diff(values) < 0.0).all()
    assert len(set(rates)) > 1
    assert (values, rates) == run_ranks(work, 1)[0]


# --- what is wrong is refused ---------------------------------------------


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"inputs": DATA[0][:, :2]}, r"an oracle's evaluation fails on some ranks"),
        (
            {"inputs": DATA[0][:20], "targets": DATA[1][:20]},
            "do not agree in an oracle",
        ),
        ({"targets": DATA[1] + 7}, "targets run from"),
    ],
)
def test_batches_that_differ_are_errors_on_all_ranks(odd, message):
    net = NETS["spline"]

    def work(comm):
        oracle = mg.layer_parallel(net, LOSS, comm=comm, **REST)
        batch = mg.Batch(*DATA)._replace(**odd if comm.rank == 1 else {})
        params = net.init(7)
        with pytest.raises(ValueError, match=r"."):
            oracle.evaluate(params, batch, oracle.init(params))
        try:
            oracle.evaluate(params, batch, ())
        except ValueError as error:
            return str(error)

    assert any(message.replace("\\", "") in text for text in run_ranks(work, 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"oracle": 3}, r"oracle .*layer_parallel"),
        ({"objective": LOSS}, r"objective is given beside an oracle"),
        ({"check_every": 2}, r"check_every is given beside an oracle"),
        ({"keep": "all"}, r"keep is given beside an oracle"),
        ({"oracle": None}, r"objective .*LeastSquares"),
        ({"optimiser": mg.Transform(tuple, lambda g, s, p, gather: (g, s))}, "gather"),
    ],
)
def test_arguments_that_do_not_go_together(given, message):
    net = NETS["free"]
    rest = {"oracle": mg.layer_parallel(net, LOSS), "optimiser": mg.sgd(0.1)} | given
    with pytest.raises((ValueError, TypeError), match=message):
        mg.train(net, net.init(7), [DATA], **rest)


@pytest.mark.parametrize("oracle", [3, Doubled(mg.layer_parallel(NETS["free"], LOSS))])
def test_what_cannot_be_made_accurate(oracle):
    with pytest.raises(TypeError, match=r"oracle .*has no .*solve"):
        mg.accurate(oracle, 1e-2)
    with pytest.raises(TypeError, match=r"oracle .*has no .*solve"):
        mg.over_data(oracle, None)


# --- records that travel ---------------------------------------------------


@pytest.mark.parametrize(
    "optimiser",
    [
        mg.sgd(mg.step_decay(0.1, 0.5, 3)),
        mg.sgd(mg.warm_up(mg.cosine(0.1, 9), 3), 0.9, nesterov=True),
        mg.adam(mg.joined([0.1, mg.inverse(0.1)], [2])),
        mg.adamw(0.1, mask=mg.weights_only(NETS["free"])),
        mg.chain(mg.clip_by_global_norm(1.0), mg.trace(0.9), mg.scale_by_adam()),
    ],
    ids=["sgd", "nesterov", "adam", "adamw", "chain"],
)
def test_optimisers_oracles_and_states_can_be_pickled(optimiser):
    net, batches = NETS["free"], [DATA] * 4
    oracle = mg.accurate(mg.layer_parallel(net, LOSS, **REST), 1e-2, ranks=64)
    again, same_oracle = pickle.loads(pickle.dumps((optimiser, oracle)))
    one, other = (
        list(mg.train(net, net.init(7), batches, optimiser=one, oracle=two))
        for one, two in ((optimiser, oracle), (again, same_oracle))
    )
    assert bits(tuple(one[-1].state)) == bits(tuple(other[-1].state))
    assert bits(pickle.loads(pickle.dumps(one[-1].state))) == bits(one[-1].state)


RNG = np.random.default_rng(80119)
X, Y = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3))
SOLVER = mg.MGRITOptions((2,), max_iterations=2)


def pickled():
    """A record of every public kind."""
    net = mg.Network(mg.Dense(3), 8)
    params = net.init(1)
    forward = mg.solve_forward(net, params, X, options=SOLVER)
    adjoint = mg.solve_adjoint(net, params, forward, Y, options=SOLVER, gradient=True)
    oracle = mg.layer_parallel(net, LOSS, forward=SOLVER, adjoint=SOLVER)
    images = mg.Network(mg.Conv2d((2, 4, 4)), 4)
    yield from (net, params, forward, adjoint, SOLVER, images, mg.Batch(X, Y))
    yield mg.Chain((net, net))
    yield from (mg.Free(), mg.Shared(), mg.BSpline(5), mg.Linear(2, 3), mg.Widen(2, 3))
    yield from (mg.one_shot(oracle), mg.noise(oracle, forward=0.1), mg.lbfgs())
    yield from (mg.Machine("m", 1e-6, 1e9, "s"), mg.SerialComm(), mg.Huber())
    yield from (mg.Weighted(mg.LeastSquares()), mg.Regularisation(1e-3))
    yield mg.predict_convergence(net, params, X, options=SOLVER)
    yield mg.load_problem("peaks", n_train=5, n_validation=2)
    yield next(
        mg.train(
            net,
            params,
            [(X, Y)],
            optimiser=mg.adam(0.1),
            objective=mg.LeastSquares(),
            gradient_tolerance=0.1,
        )
    )


def test_all_public_records_can_be_handed_to_other_processes():
    for record in pickled():
        again = pickle.loads(pickle.dumps(record))
        assert type(again) is type(record)
        assert _plain(again) == _plain(record)


def _plain(record):
    """What a record says, without addresses."""
    return re.sub(r"0x[0-9a-f]+", "", repr(record))


# --- decay, warm-up --------------------------------------------------------


@each_net
def test_a_mask_spares_the_biases(name):
    net, params = NETS[name], draw(name, 5)
    zero = tree_map(np.zeros_like, params)
    decay = mg.add_decayed_weights(0.5, mg.weights_only(net))
    step, _ = decay.update(zero, decay.init(params), params)
    networks = net.networks if name == "chain" else [net]
    trees = zip(params, step, strict=True) if name == "chain" else [(params, step)]
    for one, (before, change) in zip(networks, trees, strict=True):
        parts = (one.opening, one.layer, one.head)
        for part, theta, d_theta in zip(parts, before, change, strict=True):
            if part is not None:
                weight, _ = part.unpack(theta)
                d_weight, d_bias = part.unpack(d_theta)
                np.testing.assert_array_equal(d_weight, 0.5 * weight)
                assert not d_bias.any()


def test_layers_that_cannot_tell_weights_from_biases_say_so():
    class Rate:
        state_shape, n_params = (2,), 2
        init = rate = pull_back = None

    net = mg.Network(mg.Explicit(Rate()), 4)
    with pytest.raises(TypeError, match=r"Explicit .*unpack.*mask by hand"):
        mg.weights_only(net)


def test_warm_up_and_joined_schedules():
    schedule = mg.warm_up(mg.cosine(0.8, 4), 3)
    found = [schedule(k) for k in range(9)]
    cosine = [mg.cosine(0.8, 4)(k) for k in range(6)]
    assert found == pytest.approx([0.2, 0.4, 0.6, *cosine])
    both = mg.joined([0.3, mg.step_decay(0.4, 0.5, 2)], [2])
    assert [both(k) for k in range(7)] == pytest.approx(
        [0.3] * 2 + [0.4] * 2 + [0.2] * 2 + [0.1]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mg.warm_up(0.1, 0), r"n_steps = 0: need a whole number"),
        (lambda: mg.joined([0.1], [3]), r"1 rates with 1 ends: need an end for all"),
        (lambda: mg.joined([0.1, 0.2, 0.3], [5, 5]), r"ends = \[5, 5\]: need growing"),
        (lambda: mg.sgd(mg.joined([0.1, -0.2], [5])), r"learning rate = -0.2"),
    ],
)
def test_bad_schedules_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("bad", [-0.1, float("nan")])
def test_a_schedule_that_goes_wrong_is_an_error_in_its_step(bad):
    net = NETS["free"]
    optimiser = mg.sgd(lambda step: 0.1 if step < 2 else bad)
    records = mg.train(
        net, net.init(7), [DATA] * 4, optimiser=optimiser, objective=LOSS
    )
    with pytest.raises(ValueError, match=r"learning rate of step 2 = "):
        list(records)
