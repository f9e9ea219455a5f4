"""Refining in depth, and nested iteration."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import run_ranks
from test_oracles import DATA, LOSS, NETS, bits

import mgresnet as mg

FREE = replace(NETS["free"], depth=8)
SPLINE = replace(NETS["spline"], depth=8)
CHAIN = mg.Chain([replace(net, depth=6) for net in NETS["chain"].networks])
HOW = mg.MGRITOptions((2,), max_iterations=2, tolerance=0.0)
each_net = pytest.mark.parametrize(
    "net", [FREE, SPLINE, CHAIN], ids=["free", "spline", "chain"]
)
each_rule = pytest.mark.parametrize("rule", ["constant", "linear"])


def oracle_of(comm=None):
    return lambda net: mg.layer_parallel(net, LOSS, forward=HOW, adjoint=HOW, comm=comm)


def smooth(depth):
    """Parameters of layers that vary smoothly over depth."""
    rows = FREE.init(seed=3).body[:2]
    t = (np.arange(depth)[:, None] + 0.5) / depth
    net = replace(FREE, depth=depth)
    return net, FREE.init(seed=3)._replace(body=rows[0] + np.sin(2 * t) * rows[1])


@each_rule
@pytest.mark.parametrize("factor", [2, 3])
def test_outputs_change_by_the_step_and_halve_with_it(rule, factor):
    changes = []
    for depth in (16, 32, 64):
        net, params = smooth(depth)
        before = mg.predict(net, params, DATA[0])
        after = mg.predict(*mg.refine(net, params, factor, rule), DATA[0])
        changes.append(np.abs(after - before).max())
    slopes = np.log2(np.array(changes[:-1]) / changes[1:])
    np.testing.assert_allclose(slopes, 1.0, atol=0.1)


def test_rows_linear_in_depth_stay_so():
    line = np.linspace(1.0, 2.0, 9)[1::2, None] * np.ones((1, 6))
    net = mg.Network(mg.Dense(2), 4)
    _, params = mg.refine(net, mg.Params(None, line, None), 4, "linear")
    steps = np.diff(params.body[:, 0])
    np.testing.assert_allclose(steps, 0.25 / 4, rtol=1e-12)
    np.testing.assert_allclose(params.body.reshape(4, 4, 6).mean(axis=1), line)


def test_constant_rows_are_copies():
    net, params = smooth(8)
    fine, refined = mg.refine(net, params, 3)
    assert (fine.depth, fine.final_time) == (24, net.final_time)
    for i, row in enumerate(refined.body):
        np.testing.assert_array_equal(row, params.body[i // 3])
    np.testing.assert_array_equal(refined.head, params.head)


@each_rule
def test_a_spline_is_evaluated_at_more_layers(rule):
    params = SPLINE.init(seed=3)
    fine, refined = mg.refine(SPLINE, params, 4, rule)
    assert bits(refined) == bits(params)
    assert fine.control.values(refined.body, 32, range(32)).shape[0] == 32


def test_a_factor_of_one_changes_nothing():
    net, params = smooth(8)
    for rule in ("constant", "linear"):
        fine, refined = mg.refine(net, params, 1, rule)
        assert fine == net
        np.testing.assert_allclose(refined.body, params.body, rtol=1e-15)


def flow(optimiser, state, gradient, params, n_steps):
    """Parameters after some steps with a gradient that stays."""
    for _ in range(n_steps):
        step, state = optimiser.update(gradient, state, params)
        params = mg.apply_updates(params, step)
    return params


@pytest.mark.parametrize("optimiser", [mg.sgd(0.3, 0.9), mg.adam(0.1, epsilon=1e-30)])
def test_states_of_optimisers_go_on_as_if_the_network_had_been_fine(optimiser):
    """With constant rows, a gradient of copies is that of the row divided by r.

    Momentum moves r times as slowly then, Adam, which divides it out, as before.
    """
    records = list(
        mg.nested_iteration(
            FREE,
            FREE.init(7),
            [[DATA] * 4, [DATA]],
            optimiser=optimiser,
            oracle=oracle_of(),
        )
    )
    coarse, fine = records[3].state, records[4].state
    _, before = mg.refine(FREE, coarse.params)
    twin = replace(FREE, depth=16)
    found = oracle_of()(twin).evaluate(before, DATA, ())
    trace = coarse.optimiser[0]
    name = "trace" if hasattr(trace, "trace") else "mean"
    past = np.repeat(getattr(trace, name).body, 2, axis=0) / 2
    weights = (0.9, 1.0) if name == "trace" else (0.9, 0.1)
    wanted = weights[0] * past + weights[1] * found.gradient.body
    np.testing.assert_allclose(
        getattr(fine.optimiser[0], name).body, wanted, rtol=1e-12, atol=1e-16
    )


def test_pairs_of_lbfgs_keep_their_products():
    """s . y of copies that are r times as many and y r times as small is the same."""
    rest = {"optimiser": mg.lbfgs(5), "oracle": oracle_of()}
    levels = [[DATA] * 5, [DATA]]
    records = list(mg.nested_iteration(FREE, FREE.init(7), levels, **rest))
    pairs = records[-1].state.optimiser.pairs
    space = mg.space(replace(FREE, depth=16))
    assert len(pairs) >= 4
    for pair in pairs:
        assert space.dot(pair.step, pair.change) == pytest.approx(
            pair.product, rel=1e-12
        )


@each_net
@each_rule
@pytest.mark.parametrize("optimiser", [mg.adam(0.01), mg.lbfgs(3)])
def test_levels_have_the_same_bits_on_any_number_of_ranks(net, rule, optimiser):
    def losses(comm):
        records = mg.nested_iteration(
            net,
            net.init(7),
            [[DATA] * 3, [DATA] * 2, [DATA] * 2],
            optimiser=optimiser,
            oracle=oracle_of(comm),
            rule=rule,
            comm=comm,
        )
        return [(r.step, r.value, r.gradient_norm, r.state.depth) for r in records]

    alone = losses(None)
    assert run_ranks(losses, 3) == [alone] * 3
    assert [row[0] for row in alone] == list(range(7))
    assert alone[-1][3] == tuple(4 * n for n in alone[0][3])
    assert alone[-1][1] < alone[0][1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"factor": 0}, "factor must be at least 1, got 0"),
        ({"factor": 1.5}, "factor must be an integer, got 1.5"),
        ({"rule": "cubic"}, "unknown rule 'cubic'; choose from constant, linear"),
        ({"rule": ["linear"]}, "unknown rule"),
        ({"levels": []}, "levels is empty"),
        ({"levels": 3}, "levels is 3, which has no __iter__"),
        ({"oracle": mg.layer_parallel(FREE, LOSS)}, "needed a function that makes one"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    how = {"optimiser": mg.adam(0.1), "oracle": oracle_of(), "levels": [[DATA]] * 2}
    how |= given
    with pytest.raises((ValueError, TypeError), match=message):
        mg.nested_iteration(FREE, FREE.init(7), **how)


def test_parameters_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"body has shape \(8, 30\), needed \(9, 30\)"):
        mg.refine(replace(FREE, depth=9), FREE.init(7))
