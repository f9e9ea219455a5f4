"""L-BFGS: its direction, its line search, and the same bits on any number of ranks."""

from itertools import pairwise

import numpy as np
import pytest
from fakes import run_ranks
from test_oracles import DATA, HOW, LOSS, NETS, REST, bits

import mgresnet as mg

each_size = pytest.mark.parametrize("size", [2, 3])


def tree(values):
    return mg.Params(None, np.array([values], np.float64), None)


def descend(optimiser, value, gradient, start, n_steps):
    """All iterates, and the last state."""
    state, path = optimiser.init(tree(start)), [tree(start)]
    for _ in range(n_steps):
        here = path[-1]
        d = tree(gradient(here.body[0]))
        step, state = optimiser.update(d, state, here, value=lambda p: value(p.body[0]))
        path.append(mg.apply_updates(here, step))
    return [params.body[0] for params in path], state


def rosenbrock(x):
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def rosenbrock_gradient(x):
    d = np.zeros_like(x)
    d[1:] = 200 * (x[1:] - x[:-1] ** 2)
    d[:-1] += -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    return d


def inverse_hessian(steps, changes):
    """H of BFGS by its definition, from the multiple of the identity."""
    identity = np.eye(len(steps[0]))
    matrix = identity * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for s, y in zip(steps, changes, strict=True):
        left = identity - np.outer(s, y) / (s @ y)
        matrix = left @ matrix @ left.T + np.outer(s, s) / (s @ y)
    return matrix


@pytest.mark.parametrize("memory", [1, 3, 20])
def test_directions_are_those_of_the_matrix(memory):
    start = [-1.2, 1.0, 0.7, -0.3]
    optimiser = mg.lbfgs(memory)
    path, _ = descend(optimiser, rosenbrock, rosenbrock_gradient, start, 12)
    d = [rosenbrock_gradient(x) for x in path]
    steps, changes = np.diff(path, axis=0), np.diff(d, axis=0)
    for k in range(1, 12):
        some = [
            j
            for j in range(k)
            if steps[j] @ changes[j]
            > 1e-10 * np.linalg.norm(steps[j]) * np.linalg.norm(changes[j])
        ][-memory:]
        direction = -inverse_hessian(steps[some], changes[some]) @ d[k]
        halvings = np.log2(np.linalg.norm(direction) / np.linalg.norm(steps[k]))
        assert halvings == pytest.approx(round(halvings), abs=1e-8)
        found = steps[k] * 2.0 ** round(halvings)
        np.testing.assert_allclose(found, direction, rtol=1e-8, atol=1e-10)


def test_the_valley_of_rosenbrock_is_left_at_its_minimum():
    start = np.tile([-1.2, 1.0], 5)
    path, _ = descend(mg.lbfgs(), rosenbrock, rosenbrock_gradient, start, 90)
    np.testing.assert_allclose(path[-1], 1.0, atol=1e-9)
    values = [rosenbrock(x) for x in path]
    assert all(after <= before for before, after in pairwise(values))


def test_no_step_leads_uphill_where_the_curvature_is_negative():
    """cos x from near its maximum; without the check H would turn the direction."""

    def value(x):
        return float(np.sum(np.cos(x)))

    path, state = descend(mg.lbfgs(), value, lambda x: -np.sin(x), [0.01, -0.02], 30)
    values = [value(x) for x in path]
    assert all(after <= before for before, after in pairwise(values))
    np.testing.assert_allclose(np.abs(path[-1]), np.pi, atol=1e-8)
    assert all(pair.product > 0.0 for pair in state.pairs)


def test_steps_are_shortened_where_values_are_not_finite():
    """-log x has no value for x <= 0, to where the whole first step leads."""
    with np.errstate(invalid="ignore"):
        path, _ = descend(
            mg.lbfgs(),
            lambda x: float(np.sum(0.5 * x**2 - 9.0 * np.log(x))),
            lambda x: x - 9.0 / x,
            [30.0],
            12,
        )
    assert all(x[0] > 0.0 for x in path)
    assert path[-1][0] == pytest.approx(3.0, rel=1e-9)


def test_nothing_is_stepped_and_remembered_where_nothing_helps():
    gradient, params = tree([1.0, 2.0]), tree([0.0, 0.0])
    optimiser = mg.lbfgs(trials=5)
    pair = descend(optimiser, rosenbrock, rosenbrock_gradient, [0.0, 0.0], 3)[1].pairs
    state = optimiser.init(params)._replace(pairs=pair)
    asked = []

    def value(p):
        asked.append(p.body.copy())
        return float(len(asked))  # ever larger

    step, state = optimiser.update(gradient, state, params, value=value)
    assert not step.body.any()
    assert state.pairs == ()
    assert len(asked) == 1 + 5


@pytest.mark.parametrize("name", NETS)
@each_size
def test_training_has_the_same_bits_on_any_number_of_ranks(name, size):
    net = NETS[name]
    data = (DATA[0], DATA[0]) if name == "spline alone" else DATA
    loss = mg.LeastSquares() if name == "spline alone" else LOSS

    def losses(comm):
        how = {"optimiser": mg.lbfgs(3), "objective": loss, "comm": comm, **REST}
        return [r.value for r in mg.train(net, net.init(7), [data] * 6, **how)]

    alone = losses(None)
    assert run_ranks(losses, size) == [alone] * size
    assert alone[-1] < 0.95 * alone[0]


def test_a_run_goes_on_from_a_checkpoint_on_other_ranks(tmp_path):
    net = NETS["free"]
    how = {"optimiser": mg.lbfgs(3), "objective": LOSS, **REST}
    *_, first = mg.train(net, net.init(7), [DATA] * 5, **how)
    *_, whole = mg.train(net, net.init(7), [DATA] * 9, **how)
    mg.save_checkpoint(tmp_path, first.state)

    def rest(comm):
        state = mg.load_checkpoint(tmp_path, net, options=HOW, comm=comm)
        *_, last = mg.train(net, None, [DATA] * 4, state=state, comm=comm, **how)
        return last.value, mg.whole_params(net, last.params, options=HOW, comm=comm)

    for value, params in run_ranks(rest, 3):
        assert value == whole.value
        assert bits(params) == bits(whole.params)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory": 0}, "memory must be at least 1, got 0"),
        ({"memory": "3"}, "memory must be an integer, got '3'; try 3"),
        ({"trials": -1}, "trials must be at least 1"),
        ({"shrink": 1.0}, "shrink is 1.0, needed a number between 0 and 1"),
        ({"decrease": float("nan")}, "decrease is nan"),
        ({"curvature": "no"}, "curvature must be a real number, got 'no'"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        mg.lbfgs(**given)


def test_without_values_there_is_no_line_search():
    optimiser, params = mg.lbfgs(), tree([1.0])
    with pytest.raises(ValueError, match="lbfgs got no value="):
        optimiser.update(params, optimiser.init(params), params)
