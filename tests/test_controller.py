"""Choosing iterations: the rules alone, and training whose gradients stay accurate."""

import re
from collections import Counter
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg
from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.arrays.trees import tree_map
from mgresnet.learning import controller
from mgresnet.learning.accurate import Accurate, Memory
from mgresnet.learning.controller import MARGIN, Adaptive, Course, Fixed
from mgresnet.learning.courses import more_for
from mgresnet.learning.ladder import SERIAL, Plan, ladder_of
from mgresnet.learning.oracle import Both
from mgresnet.learning.watch import Watch
from mgresnet.timeline.grid import TimeGrid

MGRIT = mg.MGRITOptions((16,), max_iterations=10, tolerance=0.0)
LOSS = mg.LeastSquares()
norm = partial(mg.global_norm, gather=lambda rows: rows)


def ladder(ranks=64, depth=160, options=MGRIT):
    net = mg.Network(mg.Dense(5), depth, 5.0, control=mg.BSpline(6))
    return ladder_of(net, options, ranks)


def plan(k, m=16, operator="matched"):
    return Plan((m,), operator, k)


def test_fixed_does_what_the_options_say():
    rule, course = Fixed(ladder()), Course(plan(10))
    assert rule.start() == rule.choose(course, 20) == rule.give_up(course) == course
    assert rule.more(course, 9.0, 20) == rule.next(course, 0.0, 20) == course
    assert all(rule.accepts(error) for error in (0.0, 5.0, np.inf, np.nan))


def test_adaptive_starts_with_one_iteration_if_that_is_affordable():
    starts = {}
    for ranks in (1, 64):
        rule = Adaptive.of(ladder(ranks), 1e-2)
        starts[ranks] = rule.choose(rule.start(), 20).plan.iterations
    assert starts == {1: SERIAL, 64: 1}


def test_adaptive_accepts_errors_up_to_its_tolerance():
    errors = (0.0, 1e-2, np.nextafter(1e-2, 1.0), np.inf, np.nan)
    accepted = map(Adaptive.of(ladder(), 1e-2).accepts, errors)
    assert list(accepted) == [True, True, False, False, False]


@pytest.mark.parametrize("operator", ["matched", "third_order"])
def test_an_error_foretells_itself_and_those_of_its_order(operator):
    for k, m in ((0, 8), (1, 16), (3, 4)):
        had = plan(k, m, operator)
        assert had.error(had.roughness(3e-3)) == pytest.approx(3e-3)
    order = {"matched": 2, "third_order": 3}[operator]
    once, twice = plan(0, 8, operator), plan(0, 16, operator)
    rough = once.roughness(1e-3)
    assert twice.error(rough) == pytest.approx(2**order * 1e-3)
    assert plan(1, 8, operator).error(rough) == pytest.approx(1e-6)
    assert plan(SERIAL).error(rough) == 0.0


def test_more_is_done_until_nothing_is_cheaper_than_exact_propagation():
    rule = Adaptive.of(ladder(ranks=16), 1e-2)
    affordable = len(rule.ladder.plans(20))
    course, seen = Course(plan(0)), []
    while course.plan.iterations != SERIAL:
        seen.append(course.plan.iterations)
        course = rule.more(course, 0.05, 20)
    assert seen == sorted(set(seen))
    assert 1 <= seen[-1] < affordable
    assert course.wait == rule.patience


def test_exact_steps_end_after_patience_and_iterating_is_tried_again():
    rule = replace(Adaptive.of(ladder(), 1e-2), patience=4)
    course, n_exact = rule.give_up(Course(plan(1), 0.01)), 0
    while course.plan.iterations == SERIAL:
        n_exact += 1
        course = rule.choose(rule.next(course, 0.0, 20), 20)
    assert n_exact == 4
    never = Adaptive.of(ladder(ranks=1), 1e-2)
    course = never.choose(Course(never.ladder.exact), 20)
    assert course.plan.iterations == SERIAL


def test_tries_in_vain_become_rarer_until_one_is_not():
    rule = replace(Adaptive.of(ladder(), 1e-2), patience=4, most=20)
    course, waits = Course(plan(1), 0.01), []
    for _ in range(5):
        course = rule.give_up(course)
        waits.append(course.wait)
        course = rule.choose(course._replace(wait=0), 20)
        assert course.plan.iterations != SERIAL
    assert waits == [4, 8, 16, 20, 20]
    course = rule.give_up(rule.next(course, 1e-4, 20))
    assert course.wait == 4


def test_a_solve_that_is_exact_has_tried_nothing_in_vain():
    rule = Adaptive.of(ladder(), 1e-2)
    course = Course(rule.ladder.exact, 0.01, wait=7, in_vain=1)
    assert rule.give_up(course) == course


def more(there, back, tried, forward=1e3, adjoint=1.0):
    """What follows plans whose error was so large."""
    net = mg.Network(mg.Dense(5), 1024, control=mg.BSpline(6))
    rule = Adaptive.of(ladder(8, 1024, mg.default_options(net, 8)), 1e-2)
    error = GradientError(forward + adjoint, forward, adjoint)
    courses = Both(there, back)
    plans = {Both(a, b) for a, b in tried}
    return courses, more_for(Both(rule, rule), courses, error, 256, plans)


def test_three_kinds_of_plans_are_tried_in_a_step_and_one_after_tries_in_vain():
    """Of the solve that makes the error and has a plan; an exact one does not count."""
    long, short = (plan(0, m, "third_order") for m in (64, 32))
    kinds = [(plan(0, m, "third_order"),) * 2 for m in (128, 64, 32, 16)]
    for n, in_vain, exact in ((1, 0, False), (2, 0, False), (3, 0, True), (1, 1, True)):
        start = Course(long, in_vain=in_vain)
        _, found = more(start, start, kinds[:n], forward=0.02, adjoint=0.01)
        assert all((c.plan.iterations == SERIAL) == exact for c in found), (n, in_vain)
        assert all(c.in_vain == in_vain + exact for c in found)
    waiting = Course(plan(SERIAL), wait=9, in_vain=2)
    _, found = more(waiting, Course(short), [(plan(SERIAL), short)], 0.0, 0.02)
    assert found.forward.wait == 9
    assert found.adjoint.plan.iterations != SERIAL


def test_plans_become_cheaper_when_that_is_foretold_to_be_well():
    rule = Adaptive.of(ladder(), 1e-2)
    enough = MARGIN * 1e-2
    for k in (2, 1):
        barely = (0.99 * enough) ** ((k + 1) / k)
        too_much = (1.01 * enough) ** ((k + 1) / k)
        assert rule.next(Course(plan(k)), barely, 20).plan.iterations == k - 1
        assert rule.next(Course(plan(k)), too_much, 20).plan.iterations == k
        waiting = rule.next(Course(plan(k), wait=3), barely, 20)
        assert waiting.plan == plan(k)
        assert waiting.wait == 2
    assert rule.next(Course(plan(0)), 0.0, 20).plan == plan(0)


def test_the_next_step_does_better_before_the_error_is_too_large():
    rule = Adaptive.of(ladder(), 1e-2)
    assert rule.next(Course(plan(1)), 0.9e-2, 20).plan == plan(1)  # can be iterated on
    slabs = mg.default_options(mg.Network(mg.Dense(5), 1024, control=mg.BSpline(6)), 8)
    rule = Adaptive.of(ladder(8, 1024, slabs), 1e-2)
    now = plan(0, 32, "third_order")
    found = rule.next(Course(now), 0.9e-2, 256)
    assert found.plan.error(now.roughness(0.9e-2)) < 0.5e-2
    assert rule.ladder.cost(found.plan, 256) < rule.ladder.cost(rule.ladder.exact, 256)
    assert found.wait == rule.patience


def test_plans_become_options():
    found = [controller.planned_options(MGRIT, plan(4), done) for done in (0, 3)]
    assert found == [replace(MGRIT, max_iterations=n) for n in (4, 1)]
    exact = controller.planned_options(MGRIT, plan(SERIAL), done=3)
    assert exact == mg.MGRITOptions.serial((16,))
    slabs = mg.MGRITOptions((16,), slabs=64)
    found = controller.planned_options(slabs, plan(0, 8, "fourth_order"))
    assert found.coarsening == (8,)
    assert found.slabs == 64
    assert found.coarse_operator == "fourth_order"


@pytest.mark.parametrize("batch", [20, 256, 1000])
@pytest.mark.parametrize("ranks", [1, 2, 16, 64])
def test_ladders_are_cheaper_than_exact_propagation_and_sorted(ranks, batch):
    net = mg.Network(mg.Dense(8), 4096, 5.0, control=mg.BSpline(12))
    found = ladder_of(net, mg.default_options(net, ranks), ranks)
    plans = found.plans(batch)
    costs = [found.cost(one, batch) for one in plans]
    assert costs == sorted(costs)
    assert all(cost < found.cost(found.exact, batch) for cost in costs)
    assert bool(plans) == (ranks > 1)
    run = mg.default_options(net, ranks).slabs
    assert all(run % one.interval == 0 for one in plans)
    # One rank does every layer; many are no faster than their own layers.
    least = 4096 / ranks
    assert all(cost >= least for cost in costs)


def test_default_slabs_are_even_and_plans_leave_layers_where_they_are():
    for depth, ranks in ((1024, 2), (1000, 3), (4096, 64), (130, 5)):
        net = mg.Network(mg.Dense(3), depth, control=mg.BSpline(6))
        options = mg.default_options(net, ranks)
        where = []
        for m in {4, options.slabs}:
            how = replace(options, coarsening=(m,))
            comms = [SimpleNamespace(rank=r, size=ranks) for r in range(ranks)]
            grid = TimeGrid(depth, 1.0, how.coarsening, how.slabs)
            where.append([grid.slab(c.rank, c.size) for c in comms])
        assert all(one == where[0] for one in where)
        assert max(map(len, where[0])) <= 1.2 * depth / ranks
    with pytest.raises(ValueError, match=r"slabs is 24, with coarsening .16,.; needed"):
        mg.MGRITOptions((16,), slabs=24)
    assert mg.default_options(mg.Network(mg.Dense(3), 7), 5) == mg.MGRITOptions.serial()


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
@pytest.mark.parametrize("ranks", [32, 1000])
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
    both = mean_iterations(training(setting, gradient_tolerance=5e-4))
    forward = mean_iterations(training(setting, forward=poor, gradient_tolerance=5e-4))
    adjoint = mean_iterations(training(setting, adjoint=poor, gradient_tolerance=5e-4))
    assert forward[0] > both[0] + 1.0
    assert adjoint[1] > both[1] + 1.0
    assert abs(forward[1] - both[1]) < 0.5
    assert abs(adjoint[0] - both[0]) < 0.5
    tighter = mean_iterations(training(setting, gradient_tolerance=1e-6))
    assert (tighter > both + 0.9).all()


def same_numbers(found, desired, **but):
    """Whether records are equal to the last bit, apart from some fields."""
    but = {"seconds": None, "state": None, "plans": None} | but
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


def ruled(net, options=MGRIT, tolerance=None, ranks=1000, patience=50):
    """Rule for a solve: fixed without a tolerance."""
    found = ladder_of(net, options, ranks)
    if tolerance is None:
        return Fixed(found)
    return replace(Adaptive.of(found, tolerance), patience=patience)


def both(k):
    """Courses with so many iterations."""
    return Both(Course(plan(k)), Course(plan(k)))


def find(setting, rules, plans, step=0, objective=LOSS, watch=None):
    """Answer of an oracle with these rules, on one batch."""
    net, params, batches = setting
    ways = {name: rule.ladder.options for name, rule in rules._asdict().items()}
    plain = mg.layer_parallel(net, objective, **ways)
    oracle = Accurate(plain, rules, 1, mg.space(net, ways["forward"]))
    return oracle.evaluate(params, batches[step], Memory(plans, watch))


def test_iterating_on_ends_where_more_iterations_from_the_start_would():
    setting = problem()
    exact = ruled(setting[0], mg.MGRITOptions.serial((16,)))
    rules = Both(ruled(setting[0], tolerance=1e-3), exact)
    plans = both(0)._replace(adjoint=exact.start())
    found = find(setting, rules, plans)
    k = found.iterations.forward
    assert k >= 2
    net, params, batches = setting
    options = replace(MGRIT, max_iterations=k)
    direct = mg.solve_forward(net, params, batches[0][0], options=options)
    ours = found.info.forward
    np.testing.assert_array_equal(ours.states, direct.states[ours.kept])
    # One iteration less would not have been accepted.
    rules = Both(ruled(setting[0]), exact)
    plans = plans._replace(forward=Course(plan(k - 1)))
    assert find(setting, rules, plans).error.total > 1e-3


def test_c_points_of_both_solves_enter_the_error():
    setting = problem()
    exact, finer = mg.MGRITOptions.serial((16,)), replace(MGRIT, coarsening=(8,))
    rules = Both(*(ruled(setting[0], options) for options in (exact, finer)))
    courses = Both(rules.forward.start(), Course(plan(0, 8)))
    found = find(setting, rules, courses)
    given, (x, t) = setting[:2], setting[2][0]
    gradient = mg.value_and_gradient(*given, x, t, objective=LOSS)[1]
    true = norm(tree_map(np.subtract, found.gradient, gradient)) / norm(gradient)
    assert 0.8 < found.error.total / true < 1.25


def test_serial_steps_give_way_when_the_network_has_become_smooth():
    least = replace(MGRIT, max_iterations=1)
    rule = ruled(problem()[0], least, 5e-3, patience=3)
    rules, history = Both(rule, rule), []
    plans = Both(rule.start(), rule.start())
    for step in range(12):
        setting = problem(control=None if step < 5 else mg.BSpline(4))
        found = find(setting, rules, plans, step)
        assert found.error.total <= 5e-3
        history.append(found.iterations)
        plans = found.memory.plans
    # Tried again after three steps, in vain, and after twice as many more.
    assert history == [(SERIAL, SERIAL)] * 9 + [(1, 1)] * 3


@pytest.mark.parametrize("control", [None, mg.BSpline(6)])
def test_ranks_change_no_bit(control):
    """Neither iterations nor errors nor parameters, with clipping on."""
    setting = problem(depth=165, control=control)
    optimiser = mg.chain(mg.clip_by_global_norm(0.3), mg.adam(3e-2))
    tolerance, n_ranks = (1e-3, 20) if control is None else (3e-7, 64)
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


def test_a_tolerance_alone_chooses_plans_with_the_same_bits_on_any_ranks():
    setting = problem(depth=256, control=mg.BSpline(8))
    options = {"forward": None, "adjoint": None, "ranks": 8}
    desired = training(setting, **options)
    plans = [record.plans for record in desired]
    assert len({plan for both in plans for plan in both}) >= 3
    assert all(record.gradient_error <= 1e-2 for record in desired)
    assert all(a.coarsening == b.coarsening for a, b in plans)
    assert sum("estimate" in record.seconds for record in desired) < 0.6 * len(desired)
    for size in (2, 3):
        work = partial(training, setting, **options)
        for records in run_ranks(lambda comm, work=work: work(comm=comm), size):
            same_numbers(records, desired)
            assert [record.plans for record in records] == plans
            body = records[-1].params.body
            np.testing.assert_array_equal(body, desired[-1].params.body)


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
    serial = dict.fromkeys(("forward", "adjoint"), mg.MGRITOptions.serial())
    exact = training(setting, mg.sgd(1e-3), gradient_tolerance=None, **serial)
    np.testing.assert_array_equal(found[-1].params.body, exact[-1].params.body)


def test_what_cannot_be_foretold_is_estimated_before_more_is_done():
    """After exact steps nothing is known of iterating: that is no reason to give up."""
    setting = problem(control=mg.BSpline(8))
    rule = ruled(setting[0], tolerance=1e-2)
    watch = Watch(mg.GradientError(0.0, 0.0, 0.0), 0.0, 0.0, age=0)
    found = find(setting, Both(rule, rule), both(2), watch=watch)
    assert found.iterations == (2, 2)
    assert 0.0 < found.error.total <= 1e-2


def test_nothing_is_iterated_on_from_infinity():
    """One attempt, one serial gradient; the estimate of the first closes twice more."""
    counted = Mock(wraps=LOSS)
    options = mg.MGRITOptions((32,), coarse_operator="injection", tolerance=0.0)
    setting = growing(-3.0, 6144, 600.0)
    rule = ruled(setting[0], options, 1e-2)
    course = Course(Plan((32,), "injection", 1))
    found = find(setting, Both(rule, rule), Both(course, course), 0, counted)
    assert found.iterations == (SERIAL, SERIAL)
    assert counted.value_and_seed.call_count == 4


@pytest.mark.parametrize("tolerance", [0.0, -1e-3, np.nan])
def test_bad_tolerances_are_refused_at_once(tolerance):
    message = f"gradient_tolerance is {tolerance}, needed a number > 0 such as 0.01"
    with pytest.raises(ValueError, match=re.escape(message)):
        train(problem(), gradient_tolerance=tolerance)


def test_an_infinite_tolerance_only_estimates():
    net = mg.Network(
        mg.Dense(4), 64, 2.0, opening=mg.Linear(3, 4), head=mg.Linear(4, 2)
    )
    rng = np.random.default_rng(0)
    batch = mg.Batch(rng.standard_normal((24, 3)), rng.integers(0, 2, 24))
    how = {"optimiser": mg.sgd(0.1), "objective": mg.SoftmaxCrossEntropy()}
    infinite = {"gradient_tolerance": np.inf} | how
    records = [*mg.train(net, net.init(seed=7), [batch] * 4, **infinite)]
    assert all(record.gradient_error is not None for record in records)


@pytest.mark.parametrize("ranks", [0, -1, "2", 1.5])
def test_plans_are_for_a_number_of_ranks(ranks):
    with pytest.raises((ValueError, TypeError), match="ranks"):
        mg.default_options(mg.Network(mg.Dense(5), 64), ranks)


def test_more_ranks_than_were_planned_for_are_told_which_number_to_give():
    net = mg.Network(mg.Dense(3), 24, opening=mg.Linear(2, 3), head=mg.Linear(3, 2))
    batch = np.ones((4, 2)), np.zeros((4, 2))

    def attempt(comm):
        how = {"objective": mg.LeastSquares(), "gradient_tolerance": 1e-2}
        how["optimiser"] = mg.adam(1e-3)
        message = r"ranks=1 cuts the layers into 1 slab.*2 layer ranks; give ranks=2 or"
        with pytest.raises(ValueError, match=message):
            next(mg.train(net, net.init(1), [batch], comm=comm, ranks=1, **how))
        return True

    assert run_ranks(attempt, 2) == [True] * 2


@pytest.mark.parametrize(("depth", "interval"), [(160, 16), (1024, 32), (4096, 64)])
def test_exact_plans_keep_about_as_many_states_as_they_compute_again(depth, interval):
    net = mg.Network(mg.Dense(4), depth, control=mg.BSpline(6))
    options = mg.default_options(net, ranks=2)
    found = ladder_of(net, options, 2).exact
    assert found.coarsening == (interval,)
    assert options.slabs % interval == 0
    assert str(found) == "exact"


def test_both_solves_have_the_same_intervals_also_when_they_are_exact():
    """Else one of them would have to compute all states again, one after the other."""
    net = mg.Network(mg.Dense(3), 512, 5.0, mg.Linear(2, 3), mg.Linear(3, 2))
    rng = np.random.default_rng(44120)
    data = rng.standard_normal((100, 2)), rng.standard_normal((100, 2))
    how = {"objective": mg.LeastSquares(), "gradient_tolerance": 1e-4, "ranks": 8}
    how["optimiser"] = mg.adam(1e-2)
    plans = [r.plans for r in mg.train(net, net.init(3), [data] * 4, **how)]
    assert all({plan.iterations for plan in both} == {SERIAL} for both in plans)
    assert all(both.forward.coarsening == both.adjoint.coarsening for both in plans)
