"""The loop of docs/training-loop.md, on any number of ranks, and its gradients."""

from functools import cache

import numpy as np
import pytest
from fakes import run_ranks
from pages import run

import mgresnet as mg


@cache
def page():
    """Names that the code blocks of the page define."""
    return run("docs/training-loop.md")


def on_ranks(function, size):
    """What all ranks return; one rank is serial."""
    if size == 1:
        return [function(mg.SerialComm())]
    return run_ranks(function, size)


def assert_same(found, needed):
    """Of two trees, None where the other has None."""
    for x, y in zip(found, needed, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y)


def gradients(comm):
    """Of the loop and of the package."""
    p = page()
    own = mg.local_slab(p.net, p.net.init(seed=7), options=p.options, comm=comm)
    rest = {"objective": p.objective, "forward": p.options, "adjoint": p.options}
    needed = mg.value_and_gradient(p.net, own, *p.batch, **rest, comm=comm)
    return p.loss_and_gradient(own, *p.batch, comm), needed[:2]


@pytest.mark.parametrize("size", [1, 3])
def test_gradient_is_that_of_value_and_gradient(size):
    for (loss, found), (value, needed) in on_ranks(gradients, size):
        assert loss == value
        assert_same(found, needed)


@pytest.mark.parametrize("name", ["loss_and_gradient", "penalised"])
def test_ranks_learn_what_one_learns(name):
    p = page()
    find = getattr(p, name)
    losses, whole = p.learn(find, [p.batch] * 3)
    parts = on_ranks(lambda comm: p.learn(find, [p.batch] * 3, comm), 3)
    for found, _ in parts:
        np.testing.assert_allclose(found, losses, rtol=1e-14)
    owned = [own for _, own in parts]
    body = np.concatenate([own.body for own in owned])
    assert_same((owned[0].opening, body, owned[-1].head), whole)


@pytest.mark.parametrize("size", [1, 3])
def test_losses_at_several_depths(size):
    """Gradients with exact solves are those of differences."""
    p = page()
    params, rng = p.net.init(seed=7), np.random.default_rng(27182)
    way = mg.Params(*(rng.standard_normal(x.shape) for x in params))

    def found(comm, t=0.0):
        moved = mg.Params(*(x + t * d for x, d in zip(params, way, strict=True)))
        own = mg.local_slab(p.net, moved, options=p.options, comm=comm)
        pulls = mg.local_slab(p.net, way, options=p.options, comm=comm)
        loss, gradient = p.penalised(own, *p.batch, comm)
        pairs = zip(gradient, pulls, strict=True)
        return loss, sum(np.sum(g * d) for g, d in pairs if g is not None)

    exact = mg.MGRITOptions((4,), max_iterations=8, tolerance=0.0)
    inexact = p.penalised.__globals__["options"]
    p.penalised.__globals__["options"] = exact
    try:
        slope = sum(one for _, one in on_ranks(found, size))
        h, comm = 1e-4, mg.SerialComm()
        needed = (found(comm, h)[0] - found(comm, -h)[0]) / (2 * h)
    finally:
        p.penalised.__globals__["options"] = inexact
    assert slope == pytest.approx(needed, rel=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_optimisers_fit_into_the_loop(size):
    p = page()
    optimiser = mg.chain(mg.clip_by_global_norm(0.1), mg.adam(0.01))
    solvers = {"forward": p.options, "adjoint": p.options}

    def both(comm):
        own = mg.local_slab(p.net, p.net.init(seed=7), options=p.options, comm=comm)
        rest = {"optimiser": optimiser, "objective": p.objective, "comm": comm}
        *_, record = mg.train(p.net, own, [p.batch] * 2, **rest, **solvers)
        space, state = mg.space(p.net, p.options, comm), optimiser.init(own)
        for _ in range(2):
            _, gradient = p.loss_and_gradient(own, *p.batch, comm)
            step, state = optimiser.update(gradient, state, own, space=space)
            own = mg.apply_updates(own, step)
        return own, record.params

    for own, needed in on_ranks(both, size):
        assert_same(own, needed)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_loop_of_oracles_is_that_of_train(size):
    p = page()
    rest = {"forward": p.options, "adjoint": p.options, "objective": p.objective}
    rest["optimiser"] = mg.chain(mg.clip_by_global_norm(0.1), mg.adam(0.01))

    def both(comm):
        given = p.spline, p.spline.init(seed=7), [p.batch] * 10
        records = mg.train(*given, **rest, comm=comm, ranks=16, gradient_tolerance=1e-2)
        *_, last = rows = list(records)
        values, own = p.learn_spline([p.batch] * 10, comm)
        return values, [row.value for row in rows], own, last.params

    for values, needed, own, params in on_ranks(both, size):
        assert values == needed
        assert_same(own, params)
        assert values == p.values


def test_losses_fall():
    assert page().losses[-1] < 0.9 * page().losses[0]
    assert page().penalised_losses[-1] < 0.9 * page().penalised_losses[0]
