"""Choosing iterations: the rules alone, and training whose gradients stay accurate."""

import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg
from mgresnet.arrays.trees import tree_map
from mgresnet.learning import controller
from mgresnet.learning.accurate import Accurate, Memory
from mgresnet.learning.controller import MARGIN, SERIAL, Adaptive, Fixed, Plan
from mgresnet.learning.oracle import Both
from mgresnet.learning.watch import Watch

MGRIT = mg.MGRITOptions((16,), max_iterations=10, tolerance=0.0)
LOSS = mg.LeastSquares()
norm = partial(mg.global_norm, gather=lambda rows: rows)


def solution(*residuals):
    """As much of a Solution as the rules look at; the last residual is final."""
    return SimpleNamespace(residuals=residuals[:-1], final_residual=residuals[-1])


def test_fixed_does_what_the_options_say():
    rule, plan = Fixed(MGRIT), Plan(10)
    assert rule.start() == rule.more(plan) == rule.give_up() == plan
    assert rule.next(plan, 0.0, solution(1.0, 0.0)) == plan
    assert all(rule.accepts(error) for error in (0.0, 5.0, np.inf, np.nan))


def test_adaptive_starts_with_one_iteration_if_that_is_affordable():
    starts = {n: Adaptive(MGRIT, 1e-2, n).start().iterations for n in (SERIAL, 0, 1, 4)}
    assert starts == {SERIAL: SERIAL, 0: 0, 1: 1, 4: 1}


def test_adaptive_accepts_errors_up_to_its_tolerance():
    errors = (0.0, 1e-2, np.nextafter(1e-2, 1.0), np.inf, np.nan)
    accepted = map(Adaptive(MGRIT, 1e-2, 4).accepts, errors)
    assert list(accepted) == [True, True, False, False, False]


def test_counts_rise_one_by_one_and_then_the_solve_is_serial():
    rule = Adaptive(MGRIT, 1e-2, largest=3, patience=7)
    plan, seen = rule.start(), []
    while plan.iterations != SERIAL:
        seen.append(plan)
        plan = rule.more(plan)
    assert seen == [Plan(1), Plan(2), Plan(3)]
    assert plan == rule.give_up() == Plan(SERIAL, 7)


def test_serial_steps_end_after_patience_and_iterating_is_tried_again():
    rule = Adaptive(MGRIT, 1e-2, largest=3, patience=4)
    plan, n_serial = rule.give_up(), 0
    while plan.iterations == SERIAL:
        n_serial += 1
        plan = rule.next(plan, 0.0, solution(0.0))
    assert (n_serial, plan) == (4, Plan(3))
    for plan in (Plan(SERIAL), Plan(SERIAL, 1)):
        never = replace(rule, largest=SERIAL)
        assert never.next(plan, 0.0, solution(0.0)).iterations == SERIAL


def test_counts_fall_when_one_less_would_have_been_well_enough():
    rule = Adaptive(MGRIT, tolerance=1e-2, largest=5)
    reduced_by_ten = solution(8.0, 1.0, 0.1)
    enough = 0.1 * MARGIN * 1e-2
    assert rule.next(Plan(2), 0.99 * enough, reduced_by_ten) == Plan(1)
    assert rule.next(Plan(2), 1.01 * enough, reduced_by_ten) == Plan(2)
    # No iterations to do without, none to learn from, no error left, no number.
    assert rule.next(Plan(0), 0.0, solution(0.1)) == Plan(0)
    assert rule.next(Plan(2), enough, solution(0.1)) == Plan(2)
    assert rule.next(Plan(2), 0.0, solution(1.0, 0.0)) == Plan(1)
    assert rule.next(Plan(2), np.nan, reduced_by_ten) == Plan(2)


def test_plans_become_options():
    found = [controller.planned_options(MGRIT, Plan(4), done) for done in (0, 3)]
    assert found == [replace(MGRIT, max_iterations=n) for n in (4, 1)]
    serial = controller.planned_options(MGRIT, Plan(SERIAL, 9), done=3)
    assert serial == mg.MGRITOptions.serial((16,))


@pytest.mark.parametrize("interval", [1, 2, 3, 4, 16, 64, 1024])
def test_largest_affordable_is_the_last_count_cheaper_than_marching(interval):
    options = replace(MGRIT, max_iterations=600)
    found = []
    for ranks in (1, 2, 3, 4, 16, 1000):
        one = Fraction(1, ranks) * (1 + Fraction(2, interval))
        cheaper = [k for k in range(-1, 601) if (k + 1) * one < 1]
        found.append(controller.largest_affordable(options, interval, ranks))
        assert found[-1] == max(cheaper)
    assert found[0] == SERIAL
    assert found == sorted(found)
    assert controller.largest_affordable(MGRIT, interval, 1000) == min(10, found[-1])


def problem(depth=160, control=None):
    """Peaks; without a control the layers have nothing to do with each other."""
    split = mg.load_problem("peaks-regression", n_train=60, seed=6601).train
    ends = mg.Linear(2, 5, "tanh"), mg.Linear(5, 1)
    net = mg.Network(mg.Dense(5), depth, 5.0, *ends, control or mg.Free())
    batches = mg.batches(split, 20, epochs=16, seed=6603)
    return net, net.init(seed=6602), [batch[:2] for batch in batches]


def train(setting, optimiser=None, forward=MGRIT, adjoint=MGRIT, **options):
    options = {"gradient_tolerance": 1e-2, "ranks": 1000, "objective": LOSS} | options
    solvers = {"forward": forward, "adjoint": adjoint}
    return mg.train(
        *setting, optimiser=optimiser or mg.adam(3e-2), **solvers, **options
    )


def training(*arguments, **options):
    return list(train(*arguments, **options))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
@pytest.mark.parametrize("ranks", [16, 1000])
def test_gradients_stay_within_the_tolerance(tolerance, ranks):
    """The estimated error always, the true one within a factor of 2."""
    setting, seen, errors = problem(), [], []

    def watch(gradient, state, params, **unused):
        seen.append((gradient, params))
        return gradient, state

    optimiser = mg.chain(mg.Transform(lambda p: (), watch), mg.adam(3e-2))
    found = training(setting, optimiser, gradient_tolerance=tolerance, ranks=ranks)
    for (gradient, params), batch in zip(seen, setting[2], strict=True):
        given = (setting[0], params, *batch)
        exact = mg.value_and_gradient(*given, objective=LOSS)[1]
        errors.append(norm(tree_map(np.subtract, gradient, exact)) / norm(exact))
    assert max(record.gradient_error for record in found) <= tolerance
    assert max(errors) <= 2.0 * tolerance
    # No more is done than needed: counts differ, errors are not far below.
    for solve in ("forward_iterations", "adjoint_iterations"):
        assert len({getattr(record, solve) for record in found}) >= 3
    assert max(errors) > 0.2 * tolerance


def mean_iterations(records):
    """Of the forward and of the adjoint solves."""
    counts = [(r.forward_iterations, r.adjoint_iterations) for r in records]
    assert np.min(counts) >= 0
    return np.mean(counts, axis=0)


def test_each_solve_gets_what_it_needs():
    """The one with the worse coarse operator iterates more, the other stays."""
    setting = problem(control=mg.BSpline(6))
    poor = replace(MGRIT, coarse_operator="injection")
    both = mean_iterations(training(setting, gradient_tolerance=1e-3))
    forward = mean_iterations(training(setting, forward=poor, gradient_tolerance=1e-3))
    adjoint = mean_iterations(training(setting, adjoint=poor, gradient_tolerance=1e-3))
    assert forward[0] > both[0] + 1.0
    assert adjoint[1] > both[1] + 1.0
    assert abs(forward[1] - both[1]) < 0.5
    assert abs(adjoint[0] - both[0]) < 0.5
    tighter = mean_iterations(training(setting, gradient_tolerance=1e-6))
    assert (tighter > both + 0.9).all()


def same_numbers(found, desired, **but):
    """Whether records are equal to the last bit, apart from some fields."""
    but = {"seconds": None, "state": None} | but
    for a, b in zip(found, desired, strict=True):
        assert a._replace(**but) == b._replace(**but)


def test_one_rank_marches_and_that_is_serial_training():
    setting = problem()
    found = training(setting, ranks=1)
    assert {(r.forward_iterations, r.adjoint_iterations) for r in found} == {(-1, -1)}
    assert {r.gradient_error for r in found} == {0.0}
    serial = {"forward": None, "adjoint": None, "check_every": 1}
    exact = training(setting, gradient_tolerance=None, **serial)
    same_numbers(found, exact, forward_iterations=0, adjoint_iterations=0)
    np.testing.assert_array_equal(found[-1].params.body, exact[-1].params.body)


def test_no_tolerance_means_as_the_options_say():
    options = replace(MGRIT, max_iterations=2)
    given = problem(), None, options, options
    seen = training(*given, gradient_tolerance=None, check_every=1)
    assert {(r.forward_iterations, r.adjoint_iterations) for r in seen} == {(2, 2)}
    assert max(r.gradient_error for r in seen) > 2e-3
    plain = training(*given, gradient_tolerance=None)
    assert {r.gradient_error for r in plain} == {None}
    assert not any("estimate" in record.seconds for record in plain)
    errors = {"gradient_error": 0, "forward_error": 0, "adjoint_error": 0}
    same_numbers(plain, seen, **errors)


def find(setting, rules, plans, step=0, objective=LOSS, watch=None):
    """Answer of an oracle with these rules, on one batch."""
    net, params, batches = setting
    ways = {"forward": rules.forward.options, "adjoint": rules.adjoint.options}
    plain = mg.layer_parallel(net, objective, **ways)
    oracle = Accurate(plain, rules, 1, mg.space(net, ways["forward"]))
    return oracle.evaluate(params, batches[step], Memory(plans, watch))


def test_iterating_on_ends_where_more_iterations_from_the_start_would():
    setting = problem()
    rules = Both(Adaptive(MGRIT, 1e-3, 5), Fixed(mg.MGRITOptions.serial((16,))))
    found = find(setting, rules, Both(Plan(0), Plan(0)))
    k = found.iterations.forward
    assert k >= 2
    net, params, batches = setting
    options = replace(MGRIT, max_iterations=k)
    direct = mg.solve_forward(net, params, batches[0][0], options=options)
    np.testing.assert_array_equal(found.info.forward.states, direct.states)
    # One iteration less would not have been accepted.
    rules = Both(Fixed(MGRIT), rules.adjoint)
    assert find(setting, rules, Both(Plan(k - 1), Plan(0))).error.total > 1e-3


def test_c_points_of_both_solves_enter_the_error():
    setting = problem()
    exact, finer = mg.MGRITOptions.serial((16,)), replace(MGRIT, coarsening=(8,))
    found = find(setting, Both(Fixed(exact), Fixed(finer)), Both(Plan(0), Plan(0)))
    given, (x, t) = setting[:2], setting[2][0]
    gradient = mg.value_and_gradient(*given, x, t, objective=LOSS)[1]
    true = norm(tree_map(np.subtract, found.gradient, gradient)) / norm(gradient)
    assert 0.8 < found.error.total / true < 1.25


def test_serial_steps_give_way_when_the_network_has_become_smooth():
    rule = Adaptive(MGRIT, 5e-3, largest=1, patience=3)
    rules, history = Both(rule, rule), []
    plans = Both(rule.start(), rule.start())
    for step in range(12):
        setting = problem(control=None if step < 5 else mg.BSpline(4))
        found = find(setting, rules, plans, step)
        assert found.error.total <= 5e-3
        history.append(found.iterations)
        plans = found.memory.plans
    # Tried again after three steps, in vain, and after three more.
    assert history == [(SERIAL, SERIAL)] * 6 + [(1, 1)] * 6


@pytest.mark.parametrize("control", [None, mg.BSpline(6)])
def test_ranks_change_no_bit(control):
    """Neither iterations nor errors nor parameters, with clipping on."""
    setting = problem(depth=165, control=control)
    optimiser = mg.chain(mg.clip_by_global_norm(0.3), mg.adam(3e-2))
    tolerance, n_ranks = (1e-3, 6) if control is None else (1e-6, 16)
    options = {"gradient_tolerance": tolerance, "ranks": n_ranks}
    desired = training(setting, optimiser, **options)
    counts = Counter((r.forward_iterations, r.adjoint_iterations) for r in desired)
    assert len(counts) >= 4
    assert (control is None) == (SERIAL in {forward for forward, _ in counts})
    for size in (2, 3):
        work = partial(training, setting, optimiser, **options)
        ranks = run_ranks(lambda comm, work=work: work(comm=comm), size)
        for records in ranks:
            same_numbers(records, desired)
        bodies = [records[-1].params.body for records in ranks]
        whole = np.concatenate(bodies) if control is None else bodies[-1]
        np.testing.assert_array_equal(whole, desired[-1].params.body)


def growing(value, depth, final_time):
    """Network of layers ``u' = value u``."""
    net = mg.Network(mg.Dense(2, "identity", "none"), depth, final_time)
    body = net.layer.pack(np.tile(value * np.eye(2), (depth, 1, 1)))
    return net, mg.Params(None, body, None), [(np.ones((3, 2)), np.ones((3, 2)))] * 4


def test_training_that_is_lost_ends():
    found = training(growing(1e4, 128, 100.0))
    assert [record.status for record in found] == [mg.Status.NON_FINITE]
    assert (found[0].forward_iterations, found[0].adjoint_iterations) == (-1, -1)


def test_an_unstable_coarse_level_is_no_reason_to_end():
    """Fine steps shrink by 0.7, coarse ones grow by 8 until they overflow."""
    setting = growing(-3.0, 6144, 600.0)
    bad = mg.MGRITOptions((32,), coarse_operator="injection", tolerance=0.0)
    solvers = {"forward": bad, "adjoint": bad}
    lost = training(setting, mg.sgd(1e-3), gradient_tolerance=None, **solvers)
    assert [record.status for record in lost] == [mg.Status.NON_FINITE]
    found = training(setting, mg.sgd(1e-3), **solvers)
    assert len(found) == 4
    exact = training(setting, mg.sgd(1e-3), forward=None, adjoint=None)
    np.testing.assert_array_equal(found[-1].params.body, exact[-1].params.body)


def test_what_cannot_be_foretold_is_estimated_before_more_is_done():
    """After exact steps nothing is known of iterating: that is no reason to give up."""
    setting = problem(control=mg.BSpline(8))
    rule = Adaptive(MGRIT, 1e-2, 5)
    watch = Watch(mg.GradientError(0.0, 0.0, 0.0), 0.0, 0.0, age=0)
    found = find(setting, Both(rule, rule), Both(Plan(2), Plan(2)), watch=watch)
    assert found.iterations == (2, 2)
    assert 0.0 < found.error.total <= 1e-2


def test_nothing_is_iterated_on_from_infinity():
    """One attempt, one serial gradient; the estimate of the first closes twice more."""
    counted = Mock(wraps=LOSS)
    options = mg.MGRITOptions((32,), coarse_operator="injection", tolerance=0.0)
    rule = Adaptive(options, 1e-2, largest=9)
    setting = growing(-3.0, 6144, 600.0)
    found = find(setting, Both(rule, rule), Both(Plan(1), Plan(1)), 0, counted)
    assert found.iterations == (SERIAL, SERIAL)
    assert counted.value_and_seed.call_count == 4


@pytest.mark.parametrize("tolerance", [0.0, -1e-3, np.nan])
def test_bad_tolerances_are_refused_at_once(tolerance):
    message = f"gradient_tolerance is {tolerance}, needed a number > 0 such as 0.01"
    with pytest.raises(ValueError, match=re.escape(message)):
        train(problem(), gradient_tolerance=tolerance)
