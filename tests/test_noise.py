"""Noise in states and adjoints: its size, its place, and the error of MGRIT itself."""

import numpy as np
import pytest
from fakes import run_ranks
from test_oracles import DATA, LOSS, NETS, bits

import mgresnet as mg

HOW = mg.MGRITOptions((4,), max_iterations=1, tolerance=0.0, coarse_operator="mean")
PENALTIES = mg.Regularisation(1e-2, 1e-3, 1e-3)
SERIAL = mg.MGRITOptions.serial((4,))
each_net = pytest.mark.parametrize("name", ["free", "spline", "shared", "spline alone"])
KINDS = {
    "forward": {"forward": 0.05},
    "backward": {"backward": 0.05},
    "both": {"forward": 0.05, "backward": 0.02},
    "as large as an error": {"forward": HOW, "backward": HOW},
    "an error": {"forward": HOW, "backward": HOW, "direction": "error"},
}


def data_of(name):
    alone = name == "spline alone"
    return (mg.LeastSquares(), (DATA[0], DATA[0])) if alone else (LOSS, DATA)


def plain(name, comm=None, **options):
    loss, _ = data_of(name)
    how = {"forward": SERIAL, "adjoint": SERIAL} | options
    return mg.layer_parallel(
        NETS[name], loss, comm=comm, regularisation=PENALTIES, **how
    )


def found(oracle, name):
    params = NETS[name].init(7)
    return oracle.evaluate(params, data_of(name)[1], oracle.init(params))


def distance(name, a, b):
    space = mg.space(NETS[name])
    size = space.dot(a, a) - 2 * space.dot(a, b) + space.dot(b, b)
    return np.sqrt(max(size, 0.0)) / space.norm(b)


@each_net
def test_no_noise_is_the_oracle_without(name):
    exact, none = (found(o, name) for o in (plain(name), mg.noise(plain(name))))
    assert none.value == exact.value
    np.testing.assert_allclose(none.gradient.body, exact.gradient.body, atol=1e-14)
    zero = found(mg.noise(plain(name), forward=0.0, backward=0.0), name)
    assert zero.value == exact.value
    np.testing.assert_allclose(zero.gradient.body, exact.gradient.body, atol=1e-14)


@each_net
@pytest.mark.parametrize("ways", [("forward",), ("adjoint",), ("forward", "adjoint")])
def test_the_error_itself_makes_the_gradient_of_these_options(name, ways):
    """Also in one way only: the other is then exact."""
    theirs = {"forward": "forward", "adjoint": "backward"}
    inexact = found(plain(name, **dict.fromkeys(ways, HOW)), name)
    sizes = {theirs[way]: HOW for way in ways}
    noisy = found(mg.noise(plain(name), **sizes, direction="error"), name)
    exact = found(plain(name), name)
    assert noisy.value == pytest.approx(inexact.value, rel=1e-13)
    for ours, other in zip(noisy.gradient, inexact.gradient, strict=True):
        if other is not None:
            np.testing.assert_allclose(ours, other, rtol=1e-9, atol=1e-13)
    assert distance(name, inexact.gradient, exact.gradient) > 1e-6


@pytest.mark.parametrize("size", [0.3, HOW])
def test_noise_has_the_norm_that_is_asked_for(size):
    name = "free"
    net, params = NETS[name], NETS[name].init(7)
    noisy = found(mg.noise(plain(name), forward=size), name).info.forward.states
    exact = mg.solve_forward(net, params, DATA[0]).states
    error = 0.3 * exact
    if size is HOW:
        error = mg.solve_forward(net, params, DATA[0], options=HOW).states - exact
    norms = np.linalg.norm((noisy - exact).reshape(len(exact), -1), axis=1)
    wanted = np.linalg.norm(error.reshape(len(exact), -1), axis=1)
    assert norms[0] == 0.0
    np.testing.assert_allclose(norms[1:], wanted[1:], rtol=1e-9, atol=1e-15)


def test_noise_on_the_way_back_leaves_the_value_and_the_head_alone():
    exact, noisy = (found(o, "free") for o in (plain("free"), oracle_of("backward")))
    assert noisy.value == exact.value
    assert bits(noisy.gradient.head) == bits(exact.gradient.head)
    assert distance("free", noisy.gradient, exact.gradient) > 1e-3


def test_the_mean_over_draws_of_adjoints_is_the_exact_gradient():
    """The gradient is linear in the adjoints, so noise there has no bias."""
    oracle, params = oracle_of("backward"), NETS["free"].init(7)
    exact, memory, draws = found(plain("free"), "free"), oracle.init(params), []
    for _ in range(64):
        one = oracle.evaluate(params, DATA, memory)
        memory = one.memory
        draws.append(one.gradient.body - exact.gradient.body)
    alone = np.mean([np.linalg.norm(d) for d in draws])
    assert np.linalg.norm(np.mean(draws, axis=0)) < 2.0 * alone / np.sqrt(64)


def oracle_of(kind, name="free", comm=None):
    return mg.noise(plain(name, comm), **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["free", "spline"])
def test_noise_has_the_same_bits_on_any_number_of_ranks(kind, name):
    def losses(comm):
        oracle = oracle_of(kind, name, comm)
        how = {"oracle": oracle, "optimiser": mg.adam(1e-2), "comm": comm}
        records = mg.train(NETS[name], NETS[name].init(7), [DATA] * 4, **how)
        return [(record.value, record.gradient_norm) for record in records]

    alone = losses(None)
    assert run_ranks(losses, 3) == [alone] * 3


def test_draws_go_on_from_a_checkpoint(tmp_path):
    net, how = NETS["free"], {"optimiser": mg.adam(1e-2)}
    how["oracle"] = oracle_of("both")
    whole = [r.value for r in mg.train(net, net.init(7), [DATA] * 5, **how)]
    *_, record = mg.train(net, net.init(7), [DATA] * 3, **how)
    mg.save_checkpoint(tmp_path, record.state)
    state = mg.load_checkpoint(tmp_path, net)
    rest = [r.value for r in mg.train(net, None, [DATA] * 2, state=state, **how)]
    assert rest == whole[3:]
    assert len(set(whole)) == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"forward": -0.1}, "forward is -0.1, needed a finite number >= 0, or options"),
        ({"backward": float("nan")}, "backward is nan"),
        ({"forward": "0.1"}, "forward must be a real number, got '0.1'"),
        ({"direction": "left"}, "unknown direction 'left'; choose from random, error"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        mg.noise(plain("free"), **given)


def test_other_oracles_and_other_layers_are_refused():
    loss = mg.layer_parallel(NETS["chain"], LOSS)
    with pytest.raises(TypeError, match="one of a Chain, needed one of a Network"):
        mg.noise(loss)
    with pytest.raises(TypeError, match="which has no objective"):
        mg.noise(mg.one_shot(plain("free")))

    def work(comm):
        with pytest.raises(ValueError, match=r"give the oracle MGRITOptions\.serial"):
            mg.noise(plain("free", comm), forward=mg.MGRITOptions((10,)))

    run_ranks(work, 2)
