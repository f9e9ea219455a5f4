"""Layers that a user writes: three ways to the same numbers, whatever is kept."""

from functools import partial

import numpy as np
import pytest
import reference as ref
from fakes import run_ranks

import mgresnet as mg

DEPTH, WIDTH, BATCH, M = 37, 3, 11, 4
LAYERS = {
    "by hand": ref.HandWritten(WIDTH),
    "rate": mg.Explicit(ref.Tanh(WIDTH)),
    "fused": mg.Dense(WIDTH, "tanh", "scalar"),
}
SOLVERS = {
    "serial": mg.MGRITOptions.serial((M,)),
    "no iteration": mg.MGRITOptions((M,), max_iterations=0),
    "two levels": mg.MGRITOptions((M,), 1, max_iterations=2, tolerance=0.0),
    "three levels": mg.MGRITOptions((M, 2), max_iterations=1, tolerance=0.0),
}
each_layer = pytest.mark.parametrize("name", LAYERS)
each_solver = pytest.mark.parametrize("solver", SOLVERS)


def network(name, ends=True):
    maps = (mg.Linear(2, WIDTH, "tanh"), mg.Linear(WIDTH, 4)) if ends else ()
    return mg.Network(LAYERS[name], DEPTH, 2.0, *maps)


def problem(ends=True):
    """Parameters, inputs and labels; the rows of theta are alike for all layers."""
    rng = np.random.default_rng(71203)
    params = network("fused", ends).init(seed=71204)
    body = params.body + 0.1 * rng.standard_normal(params.body.shape)
    inputs = rng.standard_normal((BATCH, 2 if ends else WIDTH))
    return params._replace(body=body), inputs, rng.integers(0, 3, BATCH)


def gradient(name, solver, keep, comm=None, ends=True):
    options = SOLVERS[solver]
    return mg.value_and_gradient(
        network(name, ends),
        *problem(ends),
        objective=mg.SoftmaxCrossEntropy(),
        forward=options,
        adjoint=options,
        keep=keep,
        comm=comm,
    )


def assert_same(got, needed):
    for a, b in zip(got, needed, strict=True):
        np.testing.assert_array_equal(a, b)


@each_layer
def test_they_keep_the_contract(name):
    mg.check_layer(LAYERS[name], np.random.default_rng(71205))


@each_solver
@each_layer
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_they_agree_with_the_fused_layer(name, solver, ends, keep):
    value, found, info = gradient(name, solver, keep, ends=ends)
    needed, exact, twin = gradient("fused", solver, "all", ends=ends)
    assert value == pytest.approx(needed, rel=1e-13)
    for got, wanted in zip(found, exact, strict=True):
        if wanted is not None:
            atol = 1e-12 * abs(wanted).max()
            np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)
    for got, wanted in zip(info[:2], twin[:2], strict=True):
        atol = 1e-12 * abs(wanted.states).max()
        needed = wanted.states[got.kept]
        np.testing.assert_allclose(got.states, needed, rtol=0, atol=atol)


@each_solver
@each_layer
def test_what_is_kept_changes_no_bit(name, solver):
    value, needed, whole = gradient(name, solver, "all")
    for keep in ("c-points", "auto"):
        other, found, info = gradient(name, solver, keep)
        assert other == value
        assert_same(found, needed)
        for got, wanted in zip(info[:2], whole[:2], strict=True):
            np.testing.assert_array_equal(got.states, wanted.states[got.kept])


@each_solver
@each_layer
@pytest.mark.parametrize("keep", ["all", "c-points"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_they_have_the_same_bits_on_any_number_of_ranks(name, solver, keep, size):
    value, needed, _ = gradient(name, solver, keep)
    parts = run_ranks(partial(gradient, name, solver, keep), size)
    assert {part[0] for part in parts} == {value}
    body = np.concatenate([part[1].body for part in parts])
    np.testing.assert_array_equal(body, needed.body)
    np.testing.assert_array_equal(parts[0][1].opening, needed.opening)
    np.testing.assert_array_equal(parts[-1][1].head, needed.head)


@each_layer
def test_they_can_be_trained(name):
    params, *batch = problem()
    records = list(
        mg.train(
            network(name),
            params,
            [batch] * 5,
            optimiser=mg.adam(0.02),
            objective=mg.SoftmaxCrossEntropy(),
            forward=SOLVERS["two levels"],
            adjoint=SOLVERS["two levels"],
            gradient_tolerance=1e-2,
            ranks=16,
        )
    )
    assert records[-1].loss < records[0].loss
    assert all(record.gradient_error <= 1e-2 for record in records)
