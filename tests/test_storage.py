"""Keeping all points or only C-points, one thread or several: the same numbers."""

import gc
import itertools
import resource
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fakes import run_ranks
from marches import steps_of

import mgresnet as mg
from mgresnet.arrays import memory
from mgresnet.arrays.layout import absent
from mgresnet.arrays.trees import tree_map
from mgresnet.kernels.panels import TILE
from mgresnet.solve import solution
from mgresnet.timeline.grid import TimeGrid

SOLVERS = [
    mg.MGRITOptions.serial(),
    mg.MGRITOptions.serial((7,)),
    mg.MGRITOptions((8,), max_iterations=0),
    mg.MGRITOptions((8,), max_iterations=2, relaxations=1, tolerance=0.0),
    mg.MGRITOptions((4, 4), max_iterations=1, cycle="F", tolerance=0.0),
    mg.MGRITOptions((16,), max_iterations=20, tolerance=1e-3),  # stops early
    mg.MGRITOptions((8,), max_iterations=1, initial_guess="constant"),
]
each_solver = pytest.mark.parametrize("options", SOLVERS, ids=str)
each_depth = pytest.mark.parametrize("depth", [3, 48, 53])


def problem(depth, width=5, batch=37):
    layer = mg.Dense(width, "tanh")
    ends = mg.Linear(4, width, "tanh"), mg.Linear(width, 3)
    net = mg.Network(layer, depth, 2.0, *ends)
    rng = np.random.default_rng(80021)
    inputs = rng.standard_normal((batch, 4))
    return net, net.init(seed=80022), inputs, rng.integers(0, 3, batch)


def gradient(depth, options, keep, comm=None):
    objective = mg.SoftmaxCrossEntropy()
    given = {"objective": objective, "forward": options, "adjoint": options}
    return mg.value_and_gradient(*problem(depth), **given, keep=keep, comm=comm)


def assert_same(got, needed):
    for a, b in zip(got, needed, strict=True):
        np.testing.assert_array_equal(a, b)


@each_solver
@each_depth
@pytest.mark.parametrize("keep", ["c-points", "auto"])
def test_what_is_kept_changes_no_number(options, depth, keep, monkeypatch):
    monkeypatch.setattr(solution, "BUDGET", 0)
    value, needed, all_of_it = gradient(depth, options, "all")
    few_value, got, few = gradient(depth, options, keep)
    assert few_value == value
    assert_same(got, needed)
    for a, b in ((few.forward, all_of_it.forward), (few.adjoint, all_of_it.adjoint)):
        np.testing.assert_array_equal(a.states, b.states[a.kept])
        np.testing.assert_array_equal(a.residuals, b.residuals)
        np.testing.assert_array_equal(a.defects, b.defects)
        assert (a.iterations, a.status) == (b.iterations, b.status)
    assert few.adjoint.work == all_of_it.adjoint.work
    spared = all_of_it.forward.work - few.forward.work
    assert spared == +Counter({(0, "relax"): spared_layers(options, few, depth)})


UNLIKE = [  # intervals and iterations of both solves; None is serial
    ((8,), 0, (8,), None),
    ((8,), None, (8,), 0),
    ((8,), 2, (8,), 0),
    ((8, 2), 1, (8, 2), 0),
    ((4,), 1, (4, 2), 1),
    ((4, 2), 1, (4,), 1),
    ((8,), 1, (16,), 1),
    ((16,), 1, (8,), 1),
    ((16,), None, (4,), 1),
    ((16,), 1, (4,), None),
]
SLABS = 16  # layers, which all of these divide


def way(coarsening, k):
    if k is None:
        return mg.MGRITOptions.serial(coarsening)
    return mg.MGRITOptions(coarsening, max_iterations=k, tolerance=0.0)


def gradients(unlike, dtype, keep, comm):
    """From a guess that the solves make, and from what they have found."""
    net, params, inputs, labels = problem(53)
    params, inputs = tree_map(lambda x: x.astype(dtype), params), inputs.astype(dtype)
    ways = {"forward": way(*unlike[:2]), "adjoint": way(*unlike[2:])}
    ways = {name: replace(each, slabs=SLABS) for name, each in ways.items()}
    find = partial(mg.value_and_gradient, net, params, inputs, labels, comm=comm)
    find = partial(find, objective=mg.SoftmaxCrossEntropy(), keep=keep, **ways)
    first = find()
    return first, find(guess=first[2])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("unlike", UNLIKE, ids=str)
def test_solves_need_not_be_alike(unlike, dtype, size):
    whole, few = (
        run_ranks(partial(gradients, unlike, dtype, keep), size)
        for keep in ("all", "c-points")
    )
    for rank in range(size):
        for needed, found in zip(whole[rank], few[rank], strict=True):
            assert found[0] == needed[0]
            for a, b in zip(found[1], needed[1], strict=True):
                np.testing.assert_array_equal(a, b)
            for a, b in zip(found[2][:2], needed[2][:2], strict=True):
                assert (a.final_residual, a.status) == (b.final_residual, b.status)
                np.testing.assert_array_equal(a.residuals, b.residuals)


@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_either_solve_has_its_own_levels(keep):
    net, params, inputs, labels = problem(53)
    ways = {"forward": way((8,), 2), "adjoint": way((16,), 1)}
    given = net, params, inputs, labels
    rest = {"objective": mg.SoftmaxCrossEntropy(), "keep": keep} | ways
    _, _, info = mg.value_and_gradient(*given, **rest)
    assert info.forward.point_residuals.shape == (2, 6)
    assert info.adjoint.point_residuals.shape == (1, 3)
    _, seed = mg.SoftmaxCrossEntropy().value_and_seed(
        net.close(params, info.forward.final), labels
    )
    _, seed = net.close_back(params, info.forward.final, seed)
    states = mg.solve_forward(*given[:3], options=ways["forward"])
    needed = mg.solve_adjoint(net, params, states, seed, options=ways["adjoint"])
    points = info.adjoint.kept
    np.testing.assert_array_equal(info.adjoint.states, needed.states[points])


@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_solves_with_other_slabs_are_refused(keep):
    ways = {"forward": way((8,), 2), "adjoint": way((16,), 1)}
    rest = {"objective": mg.SoftmaxCrossEntropy(), "keep": keep} | ways

    def attempt(comm):
        message = r"holds layers .*, the adjoint options give this rank .*; use one"
        with pytest.raises(ValueError, match=message):
            mg.value_and_gradient(*problem(53), comm=comm, **rest)
        return True

    assert run_ranks(attempt, 2) == [True] * 2


def test_states_that_run_off_are_told_whichever_are_kept():
    net, params, inputs, labels = problem(48)
    params = params._replace(body=1e200 * params.body)
    net = replace(net, layer=mg.Dense(5, "identity"))
    for options in (mg.MGRITOptions.serial((8,)), mg.MGRITOptions((8,))):
        for keep in ("all", "c-points"):
            given = {"forward": options, "adjoint": options, "keep": keep}
            loss = mg.SoftmaxCrossEntropy()
            _, _, info = mg.value_and_gradient(
                net, params, inputs, labels, objective=loss, **given
            )
            assert info.forward.status is mg.Status.NON_FINITE
            if options.initial_guess == "serial":
                assert info.forward.final_residual == 0.0
                assert not info.forward.defects.any()


def spared_layers(options, info, depth):
    """Those of the last sweep forward, as the adjoint's finds all that it would find.

    A solve that stopped early is swept; another sweep would only find the states.
    """
    factors = TimeGrid(depth, 1.0, options.coarsening).factors
    came_early = len(info.forward.residuals) > info.forward.iterations
    if options.iterates(factors):
        return depth if came_early else depth // factors[0] * factors[0]
    return 0


@each_solver
@each_depth
def test_gradients_from_what_is_kept_agree(options, depth):
    """`parameter_gradient` passes the layers between kept points once more.

    With ``gradient=True`` the adjoint solve has found the same on its way.
    """
    net, params, inputs, _ = problem(depth)
    seed = np.random.default_rng(80023).standard_normal((len(inputs), 5))
    found = []
    pairs = itertools.product(("all", "c-points"), repeat=2)
    for (forward, adjoint), asked in itertools.product(pairs, (False, True)):
        states = mg.solve_forward(net, params, inputs, options=options, keep=forward)
        given = {"options": options, "keep": adjoint, "gradient": asked}
        adjoints = mg.solve_adjoint(net, params, states, seed, **given)
        assert (adjoints.gradient is not None) == asked
        gradient = mg.parameter_gradient(net, params, states, adjoints)
        found.append((states, adjoints, gradient))
    (*whole, needed), *others = found
    for *few, got in others:
        np.testing.assert_array_equal(got.body, needed.body)
        np.testing.assert_array_equal(got.opening, needed.opening)
        for a, b in zip(few, whole, strict=True):
            np.testing.assert_array_equal(a.states, b.states[a.kept])
            np.testing.assert_array_equal(a.residuals, b.residuals)
            np.testing.assert_array_equal(a.defects, b.defects)
            assert (a.iterations, a.status) == (b.iterations, b.status)


@each_solver
@each_depth
@pytest.mark.parametrize("keep", ["all", "c-points"])
@pytest.mark.parametrize("asked", [True, False])
def test_separate_passes_are_the_gradient_of_a_batch(options, depth, keep, asked):
    net, params, inputs, labels = problem(depth)
    _, needed, info = gradient(depth, options, "all")
    rest = {"options": options, "keep": keep}
    states = mg.solve_forward(net, params, inputs, **rest)
    _, d_outputs = mg.SoftmaxCrossEntropy().value_and_seed(
        net.close(params, states.final), labels
    )
    d_head, seed = net.close_back(params, states.final, d_outputs)
    adjoints = mg.solve_adjoint(net, params, states, seed, gradient=asked, **rest)
    found = mg.parameter_gradient(net, params, states, adjoints)
    assert_same(found._replace(head=d_head), needed)
    np.testing.assert_array_equal(adjoints.states, info.adjoint.states[adjoints.kept])


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("layers", range(3, 14))
def test_ranks_agree_on_what_they_keep(size, layers, monkeypatch):
    """Slabs may differ by an interval, and in a remainder."""
    net, _, inputs, _ = problem(37)
    state = len(inputs) * net.layer.width * 8
    monkeypatch.setattr(solution, "BUDGET", layers * state)
    options = mg.MGRITOptions((4,), max_iterations=1, tolerance=0.0)
    value, needed, _ = gradient(37, options, "all")
    parts = run_ranks(lambda comm: gradient(37, options, "auto", comm), size, 20.0)
    assert all(part[0] == value for part in parts)
    body = np.concatenate([part[1].body for part in parts])
    np.testing.assert_array_equal(body, needed.body)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("options", SOLVERS[1:5], ids=str)
def test_c_points_suffice_on_any_number_of_ranks(options, size):
    value, needed, one = gradient(53, options, "c-points")
    parts = run_ranks(lambda comm: gradient(53, options, "c-points", comm), size)
    assert all(part[0] == value for part in parts)
    np.testing.assert_array_equal(
        np.concatenate([part[1].body for part in parts]), needed.body
    )
    for way in ("forward", "adjoint"):
        found = [getattr(part[2], way) for part in parts]
        whole = getattr(one, way)
        assert {(s.final_residual, s.status) for s in found} == {
            (whole.final_residual, whole.status)
        }
        if options.initial_guess != "serial":  # which leaves no residual anywhere
            defects = np.concatenate([s.defects for s in found])
            np.testing.assert_array_equal(defects, whole.defects)


def test_c_points_are_what_is_kept():
    net, params, inputs, _ = problem(53)
    options = mg.MGRITOptions((8,))
    found = mg.solve_forward(net, params, inputs, options=options, keep="c-points")
    np.testing.assert_array_equal(found.kept, [0, 8, 16, 24, 32, 40, 48, 53])
    assert found.states.shape == (8, 37, 5)
    assert found.layers.tape.size == 0


def test_little_memory_is_no_reason_to_keep_less():
    net, params, inputs, _ = problem(53)
    options = mg.MGRITOptions((8,))
    found = mg.solve_forward(net, params, inputs, options=options, keep="auto")
    assert len(found.states) == 54
    assert found.layers.tape.shape[0] == 53


@pytest.mark.parametrize("kept", ["all", "c-points"])
def test_a_guess_may_have_kept_other_points(kept):
    net, params, inputs, _ = problem(53)
    options = mg.MGRITOptions((8,), max_iterations=1, tolerance=0.0)
    start = mg.solve_forward(net, params, inputs, options=options)
    needed = mg.solve_forward(net, params, inputs, options=options, guess=start)
    solve = partial(mg.solve_forward, net, params, inputs, options=options)
    got = solve(guess=solve(keep="c-points"), keep=kept)
    np.testing.assert_array_equal(got.final, needed.final)


def test_an_adjoint_with_other_c_points_is_refused():
    net, params, inputs, _ = problem(48)
    options, other = mg.MGRITOptions((8,)), mg.MGRITOptions((6,))
    states = mg.solve_forward(net, params, inputs, options=options, keep="c-points")
    seed = np.ones((37, 5))
    with pytest.raises(ValueError, match=r'every 8th.*every 6th.*keep="all"'):
        mg.solve_adjoint(net, params, states, seed, options=other)


def test_an_unknown_word_for_what_is_kept_is_refused():
    net, params, inputs, labels = problem(48)
    states = mg.solve_forward(net, params, inputs)
    seed, loss = np.ones((37, 5)), mg.SoftmaxCrossEntropy()
    for call in (
        partial(mg.solve_forward, net, params, inputs),
        partial(mg.solve_adjoint, net, params, states, seed),
        partial(mg.value_and_gradient, net, params, inputs, labels, objective=loss),
    ):
        with pytest.raises(
            ValueError, match=r"unknown keep 'some'.*all, c-points, auto"
        ):
            call(keep="some")


@pytest.mark.parametrize("store", ["all", "c-points"])
def test_who_still_gives_store_is_told_about_keep(store):
    with pytest.raises(TypeError, match=f"keep='{store}' to solve_forward, solve_adj"):
        mg.MGRITOptions((8,), store=store)


@pytest.fixture
def threads():
    yield mg.set_threads
    mg.set_threads(1)


@pytest.mark.parametrize("batch", [1, 33, 300, 1100])
@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_threads_share_samples_without_changing_states(threads, batch, keep):
    net, params, inputs, labels = problem(20, batch=batch)
    options = mg.MGRITOptions.serial((4,))
    found = []
    for n in (1, 2, 3):
        threads(n)
        found.append(
            mg.value_and_gradient(
                net,
                params,
                inputs,
                labels,
                objective=mg.SoftmaxCrossEntropy(),
                forward=options,
                keep=keep,
            )
        )
    (value, d, info), *others = found
    for other_value, other_d, other in others:
        assert other_value == value
        np.testing.assert_array_equal(other.forward.states, info.forward.states)
        np.testing.assert_array_equal(other.adjoint.states, info.adjoint.states)
        np.testing.assert_array_equal(other_d.body, d.body)


@pytest.mark.parametrize("coarsening", [(37,), (8,), (4,)])
def test_adjoints_with_longer_intervals_need_fewer_states(coarsening):
    net, params, inputs, _ = problem(37)
    seed = np.random.default_rng(80027).standard_normal((len(inputs), 5))
    few = [
        {"options": mg.MGRITOptions.serial(c), "keep": "c-points"}
        for c in ((4,), coarsening)
    ]
    forward = mg.solve_forward(net, params, inputs, **few[0])
    adjoint = mg.solve_adjoint(net, params, forward, seed, **few[1])
    everything = mg.solve_forward(net, params, inputs)
    exact = mg.solve_adjoint(net, params, everything, seed)
    np.testing.assert_allclose(adjoint.states[0], exact.states[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_wrong_number_of_threads_is_refused(n, error):
    with pytest.raises(error, match="number of threads must be"):
        mg.set_threads(n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_that_are_not_finite_stay_alone(dtype):
    """NaN, infinity, huge and subnormal samples change no other sample's numbers."""
    rng = np.random.default_rng(80024)
    depth, width, batch = 8, 6, TILE + 21
    layer = mg.Dense(width)
    theta = rng.standard_normal((depth, layer.n_params)).astype(dtype)
    u, w = rng.standard_normal((2, width, batch)).astype(dtype)
    odd = [0, 15, 16, TILE, batch - 1]
    tiny = np.finfo(dtype).smallest_subnormal
    strange = u.copy()
    strange[:, odd] = [np.nan, np.inf, np.finfo(dtype).max, tiny, -np.inf]
    found = []
    for start in (u, strange):
        states, back = (np.empty((1, 2, width, batch), dtype) for _ in range(2))
        none, steps = absent(dtype), steps_of(layer, theta, 0.25)
        layer.march(steps, start[None], states, none, none)
        d_theta, known = np.empty_like(theta), np.stack([start, states[0, 0]])
        layer.retrace(steps, w[None], back, none, known, none, d_theta, none)
        found.append((states, back))
    others = np.delete(np.arange(batch), odd)
    for got, needed in zip(*found, strict=True):
        np.testing.assert_array_equal(got[..., others], needed[..., others])


def test_memory_is_used_again_when_no_view_is_left(monkeypatch):
    gc.collect()  # what other tests have left is not to come between
    monkeypatch.setattr(memory, "_free", [])
    array = memory.empty((500, 400), np.float64)
    array[:] = 1.0
    view = array[3:].reshape(-1, 8).T[2:, ::5]
    where = array.ctypes.data
    del array
    others = [memory.empty((500, 400), np.float64) for _ in range(3)]
    for other in others:
        other[:] = 2.0
    assert (view == 1.0).all()
    assert where not in [other.ctypes.data for other in others]
    del view
    for shape in ((400, 500), (410, 400)):
        assert memory.empty(shape, np.float64).ctypes.data == where
    assert memory.empty((300, 400), np.float64).ctypes.data != where, "a waste"


def test_memory_is_kept_for_what_was_used_last(monkeypatch):
    """Sizes that nobody asks for any more make room; no more is kept than the limit."""
    monkeypatch.setattr(memory, "LIMIT", 2**22)
    monkeypatch.setattr(memory, "_free", [])
    for size in (2**18, 2**19):  # bytes; the first alone would fill the limit
        arrays = [memory.empty((size // 8,), np.float64) for _ in range(20)]
        for array in arrays:
            array[:] = size
        del arrays, array
        again = [memory.empty((size // 8,), np.float64) for _ in range(2**22 // size)]
        assert all((array == size).all() for array in again), "new memory is zero"
        del again


def test_threads_may_take_memory_at_once():
    """Each array is its thread's own for as long as that holds it."""

    def work(value):
        for _ in range(300):
            arrays = [memory.empty((130, 128), np.float64) for _ in range(3)]
            for array in arrays:
                array[:] = value
            assert all((array == value).all() for array in arrays)
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


def test_memory_is_given_back_when_asked(monkeypatch):
    monkeypatch.setattr(memory, "_free", [])
    del_me = [memory.empty((2**17,), np.float64) for _ in range(3)]
    assert mg.release_memory() == 0
    del del_me
    assert mg.release_memory() == 3 * 2**20
    assert mg.release_memory() == 0


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF"), reason="counts page faults")
@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_later_calls_touch_no_new_memory(keep):
    """A set of states would be 14 400 pages; the rest are small arrays."""
    net = mg.Network(mg.Dense(24), 256)
    params, rng = net.init(seed=3), np.random.default_rng(4)
    inputs, seed = rng.standard_normal((2, 1200, 24))
    how = mg.MGRITOptions.serial((16,))

    def calls():
        u = mg.solve_forward(net, params, inputs, options=how, keep=keep)
        w = mg.solve_adjoint(net, params, u, seed, options=how, keep=keep)
        mg.parameter_gradient(net, params, u, w)
        data = inputs, seed
        rest = {"objective": mg.LeastSquares(), "keep": keep}
        mg.value_and_gradient(net, params, *data, forward=how, adjoint=how, **rest)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    first = calls()
    second, third = calls(), calls()
    assert third - second < 1440, (first, second, third)


def test_batches_that_fill_lines_take_no_longer_than_others():
    """A line that is half written past the caches takes as long as hundreds."""
    net = mg.Network(mg.Dense(32), 1024, 5.0)
    params, rng = net.init(seed=90530), np.random.default_rng(90531)
    inputs = {n: rng.standard_normal((n, 32)) for n in (60, 64)}
    least = dict.fromkeys(inputs, np.inf)
    for n, some in [*inputs.items()] * 8:
        started = time.perf_counter()
        mg.solve_forward(net, params, some)
        least[n] = min(least[n], time.perf_counter() - started)
    assert least[64] < 2 * least[60]
