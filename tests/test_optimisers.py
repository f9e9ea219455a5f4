"""Optimisers: recurrences, closed forms, convergence, and the same bits on P ranks."""

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import NamedTuple

import numpy as np
import pytest

import mgresnet as opt
from mgresnet.arrays.space import Space
from mgresnet.learning import schedules


class Params(NamedTuple):
    """Stand-in for the parameters of a network."""

    opening: np.ndarray | None
    body: np.ndarray | None
    head: np.ndarray | None


def alone(array):
    """Gather of a single rank."""
    return array


def body_only(values, dtype=np.float64):
    """Tree with one row."""
    return Params(None, np.array([values], dtype), None)


def random_tree(rng, n_layers=11, width=13, dtype=np.float64):
    """Tree with all three fields and rows of very different size."""
    scale = 10.0 ** rng.integers(-3, 4, (n_layers, 1))
    return Params(
        rng.standard_normal(5).astype(dtype),
        (scale * rng.standard_normal((n_layers, width))).astype(dtype),
        rng.standard_normal((3, 4)).astype(dtype),
    )


def as_bytes(tree):
    """Return the bits of a tree in a form that can be compared."""
    return [None if f is None else (f.dtype.str, f.shape, f.tobytes()) for f in tree]


def freeze(item):
    """Forbid writing to every array in a nest of tuples."""
    if isinstance(item, np.ndarray):
        item.flags.writeable = False
    elif isinstance(item, tuple):
        for part in item:
            freeze(part)


def minimise(optimiser, gradient, params, n_steps):
    """Return all iterates, the start included."""
    state, path = optimiser.init(params), [params]
    for _ in range(n_steps):
        step, state = optimiser.update(gradient(params), state, params)
        params = opt.apply_updates(params, step)
        path.append(params)
    return path


# Rates are those of the parabola and of Rosenbrock's valley.
TABLE = {
    "sgd": (lambda rate: opt.sgd(rate), 0.3, 1.7e-3),
    "momentum": (lambda rate: opt.sgd(rate, momentum=0.8), 0.1, 7e-4),
    "nesterov": (lambda rate: opt.sgd(rate, 0.8, nesterov=True), 0.1, 7e-4),
    "adam": (lambda rate: opt.adam(rate), 0.05, 0.02),
    "adamw": (lambda rate: opt.adamw(rate, weight_decay=1e-7), 0.05, 0.02),
    "clipped": (
        lambda rate: opt.chain(opt.clip_by_global_norm(0.7), opt.sgd(rate, 0.8)),
        0.1,
        1e-3,
    ),
}
DTYPES = [np.float32, np.float64]


# --- recurrences -----------------------------------------------------------


def twin_sgd(p, gradients, rates, momentum, nesterov):
    """One coordinate of SGD in Python floats."""
    total = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        total = momentum * total + g
        p -= rate * (g + momentum * total if nesterov else total)
    return p


def twin_adam(p, gradients, rates, decay, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """One coordinate of Adam with weighted sums in place of a recurrence."""
    for k, rate in enumerate(rates, start=1):
        past = gradients[:k]
        ages = range(k - 1, -1, -1)
        first = sum(g * beta1**age for g, age in zip(past, ages, strict=True))
        second = sum(g * g * beta2**age for g, age in zip(past, ages, strict=True))
        mean = first / sum(beta1**age for age in ages)
        root = math.sqrt(second / sum(beta2**age for age in ages))
        p -= rate * (mean / (root + epsilon) + decay * p)
    return p


@pytest.mark.parametrize(
    ("ours", "name", "theirs"),
    [
        (opt.sgd(0.1), "SGD", {}),
        (opt.sgd(0.1, 0.9), "SGD", {"momentum": 0.9}),
        (opt.sgd(0.1, 0.9, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}),
        (opt.adam(0.1), "Adam", {}),
        (opt.adamw(0.1, weight_decay=0.2), "AdamW", {"weight_decay": 0.2}),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "adamw"],
)
def test_fifty_steps_are_those_of_torch(ours, name, theirs):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(52017)
    start, gradients = rng.standard_normal((1, 9)), rng.standard_normal((50, 1, 9))
    weights = torch.tensor(start, requires_grad=True)
    optimiser = getattr(torch.optim, name)([weights], lr=0.1, **theirs)
    drawn = (Params(None, gradient, None) for gradient in gradients)
    path = minimise(ours, lambda _: next(drawn), Params(None, start, None), 50)
    for gradient, params in zip(gradients, path[1:], strict=True):
        weights.grad = torch.tensor(gradient)
        optimiser.step()
        found = weights.detach().numpy()
        np.testing.assert_allclose(params.body, found, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize(
    ("make", "twin"),
    [
        (opt.sgd, lambda p, g, r: twin_sgd(p, g, r, 0.0, False)),
        (lambda r: opt.sgd(r, 0.7), lambda p, g, r: twin_sgd(p, g, r, 0.7, False)),
        (
            lambda r: opt.sgd(r, momentum=0.7, nesterov=True),
            lambda p, g, r: twin_sgd(p, g, r, 0.7, True),
        ),
        (opt.adam, lambda p, g, r: twin_adam(p, g, r, 0.0)),
        (
            lambda r: opt.adam(r, 0.6, 0.8, 1e-2),
            lambda p, g, r: twin_adam(p, g, r, 0.0, 0.6, 0.8, 1e-2),
        ),
        (opt.adamw, lambda p, g, r: twin_adam(p, g, r, 0.01)),
        (
            lambda r: opt.adamw(r, weight_decay=0.3),
            lambda p, g, r: twin_adam(p, g, r, 0.3),
        ),
    ],
)
def test_recurrence_equals_its_plain_python_twin(make, twin, scheduled):
    rng = np.random.default_rng(71993)
    n_steps = 9
    rates = [0.1 / (k + 1) ** 0.5 if scheduled else 0.1 for k in range(n_steps)]
    params = random_tree(rng, n_layers=4, width=3)
    gradients = [random_tree(rng, n_layers=4, width=3) for _ in range(n_steps)]
    remaining = iter(gradients)
    optimiser = make(rates.__getitem__ if scheduled else 0.1)
    final = minimise(optimiser, lambda _: next(remaining), params, n_steps)[-1]
    for name in Params._fields:
        pasts = np.stack([getattr(g, name).ravel() for g in gradients], axis=1)
        starts = getattr(params, name).ravel()
        expected = [
            twin(float(p), [float(g) for g in past], rates)
            for p, past in zip(starts, pasts, strict=True)
        ]
        np.testing.assert_allclose(
            getattr(final, name).ravel(), expected, rtol=1e-11, atol=1e-13
        )


def test_first_step_of_adam_is_the_rate_times_the_sign():
    gradient = body_only([3e-3, -2e5, 7.0, 0.0, -1e-4])
    adam = opt.adam(0.25)
    step, _ = adam.update(gradient, adam.init(gradient), gradient)
    slack = 1e-8 / 1e-4  # epsilon over the smallest entry
    np.testing.assert_allclose(step.body, -0.25 * np.sign(gradient.body), rtol=slack)


def test_adam_moves_at_constant_speed_under_a_constant_gradient():
    gradient = body_only([0.3, -40.0, 1e-6])
    path = minimise(opt.adam(0.01), lambda _: gradient, gradient, 50)
    speed = gradient.body / (np.abs(gradient.body) + 1e-8)
    for k, params in enumerate(path):
        np.testing.assert_allclose(
            params.body, gradient.body - 0.01 * k * speed, rtol=1e-12, atol=1e-14
        )


def test_decoupled_decay_is_geometric_without_a_gradient():
    start, zero = body_only([2.0, -0.5]), body_only([0.0, 0.0])
    path = minimise(opt.adamw(0.1, weight_decay=0.4), lambda _: zero, start, 20)
    np.testing.assert_allclose(path[-1].body, 0.96**20 * start.body, rtol=1e-13)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_on_a_quadratic_is_a_power_of_a_matrix(nesterov):
    rate, momentum, n_steps = 0.07, 0.85, 40
    curvatures = [0.2, 1.0, 9.0]
    start = body_only([1.0, -2.0, 0.5])
    optimiser = opt.sgd(rate, momentum, nesterov)
    final = minimise(
        optimiser, lambda p: p._replace(body=curvatures * p.body), start, n_steps
    )[-1]
    ahead = (1 + momentum, momentum**2) if nesterov else (1.0, momentum)
    for column, curvature in enumerate(curvatures):
        matrix = np.array(
            [
                [1 - rate * curvature * ahead[0], -rate * ahead[1]],
                [curvature, momentum],
            ]
        )
        power = np.linalg.matrix_power(matrix, n_steps)
        expected = power[0, 0] * start.body[0, column]
        np.testing.assert_allclose(final.body[0, column], expected, rtol=1e-11)


def test_nesterov_equals_its_two_sequence_form():
    rate, momentum, n_steps = 0.02, 0.9, 60

    def slope(y):
        return np.sinh(y) + 0.3 * y

    start = body_only([1.5, -0.8])
    optimiser = opt.sgd(rate, momentum, nesterov=True)
    path = minimise(optimiser, lambda p: p._replace(body=slope(p.body)), start, n_steps)
    y = z = start.body
    for params in path[1:]:
        z, z_old = y - rate * slope(y), z
        y = z + momentum * (z - z_old)
        np.testing.assert_allclose(params.body, y, rtol=1e-11, atol=1e-13)


def test_chain_feeds_each_transform_with_the_step_of_the_one_before():
    gradient, params = body_only([3.0, 4.0]), body_only([1.0, 10.0])
    clip, decay = opt.clip_by_global_norm(1.0), opt.add_decayed_weights(0.5)
    for order, expected in [
        ((clip, decay), [1.1, 5.8]),
        ((decay, clip), np.array([3.5, 9.0]) / math.hypot(3.5, 9.0)),
    ]:
        chained = opt.chain(*order)
        step, _ = chained.update(gradient, chained.init(params), params)
        np.testing.assert_allclose(step.body[0], expected, rtol=1e-14)


# --- convergence -----------------------------------------------------------


def parabola(params):
    """Gradient of a parabola with minimum (1, 1) and curvatures 1 and 4."""
    return Params(params.opening - 1, 4 * (params.body - 1), None)


def rosenbrock(params):
    """Gradient of Rosenbrock's valley, minimum (1, 1)."""
    x, y = params.opening[0], params.body[0, 0]
    bend = y - x * x
    return Params(
        (-2 * (1 - params.opening) - 400 * params.opening * bend),
        200 * (params.body - x * x),
        None,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize(
    ("gradient", "start", "n_steps", "tolerance"),
    [(parabola, (-4.0, 3.0), 600, 2e-6), (rosenbrock, (-1.2, 1.0), 4500, 0.05)],
)
def test_every_optimiser_finds_the_minimum(
    gradient, start, n_steps, tolerance, name, dtype
):
    make, easy, hard = TABLE[name]
    params = Params(np.array(start[:1], dtype), np.array([start[1:]], dtype), None)
    optimiser = make(easy if gradient is parabola else hard)
    final = minimise(optimiser, gradient, params, n_steps)[-1]
    assert final.opening.dtype == final.body.dtype == dtype
    assert final.head is None
    np.testing.assert_allclose(
        [final.opening[0], final.body[0, 0]], 1.0, rtol=tolerance
    )


# --- norms, clipping, and the same bits on every number of ranks ----------


def cut(rng, tree, n_ranks):
    """Deal the rows of the body to ranks; ends of the network go to the ends."""
    places = np.arange(1, len(tree.body))
    cuts = np.sort(rng.choice(places, n_ranks - 1, replace=False))
    slabs = [
        Params(None, misplace(rng, slab), None) for slab in np.split(tree.body, cuts)
    ]
    slabs[0] = slabs[0]._replace(opening=tree.opening)
    slabs[-1] = slabs[-1]._replace(head=tree.head)
    return slabs


def misplace(rng, array):
    """Copy an array to an odd place in memory, sometimes in column order."""
    offset = int(rng.integers(0, 8))
    copy = np.empty(array.size + offset, array.dtype)[offset:]
    copy = copy.reshape(array.shape, order=rng.choice(["C", "F"]))
    copy[...] = array
    return copy


def join(slabs):
    """Undo `cut`."""
    body = np.concatenate([slab.body for slab in slabs])
    return Params(slabs[0].opening, body, slabs[-1].head)


def on_all_ranks(function, n_ranks):
    """Run ``function(rank, gather)`` on one thread per rank; ranks meet in gather."""
    handed = [None] * n_ranks
    meeting = Barrier(n_ranks, timeout=20)

    def run(rank):
        def gather(array):
            handed[rank] = array
            meeting.wait()
            joined = np.concatenate(handed)
            meeting.wait()
            return joined

        return function(rank, gather)

    with ThreadPoolExecutor(n_ranks) as threads:
        return list(threads.map(run, range(n_ranks)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_is_the_exact_sum_over_all_entries(dtype):
    tree = random_tree(np.random.default_rng(31337), dtype=dtype)
    entries = [float(entry) for field in tree for entry in field.ravel()]
    exact = math.sqrt(math.fsum(entry * entry for entry in entries))
    assert opt.global_norm(tree, alone) == pytest.approx(exact, rel=1e-15)
    assert opt.global_norm(Params(None, None, None), alone) == 0.0


def test_ranks_exchange_one_number_per_row_and_one_for_a_vector():
    handed = []
    tree = random_tree(np.random.default_rng(8807), n_layers=6)
    opt.global_norm(tree, lambda array: handed.append(array) or array)
    expected = [np.sum(tree.opening**2), *(tree.body**2).sum(axis=1)]
    expected += list((tree.head**2).sum(axis=1))
    assert len(handed) == 1
    np.testing.assert_allclose(handed[0], expected, rtol=1e-14)


def test_single_precision_norm_neither_overflows_nor_underflows():
    for size in (1e30, 1e-30):
        tree = body_only([3 * size, 4 * size], np.float32)
        assert opt.global_norm(tree, alone) == pytest.approx(5 * size, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_has_the_same_bits_for_every_split_and_width(dtype):
    rng = np.random.default_rng(90431)
    for width in [*range(1, 81), 1000, 8195]:
        tree = random_tree(rng, n_layers=23, width=width, dtype=dtype)
        whole = opt.global_norm(tree, alone)
        for n_ranks in (2, 7):
            slabs = cut(rng, tree, n_ranks)
            norms = on_all_ranks(
                lambda rank, gather, slabs=slabs: opt.global_norm(slabs[rank], gather),
                n_ranks,
            )
            assert norms == [whole] * n_ranks, (width, n_ranks)


@pytest.mark.parametrize("n_ranks", [2, 3, 5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TABLE)
def test_update_of_slabs_has_the_bits_of_the_whole_update(name, dtype, n_ranks):
    rng = np.random.default_rng([6607, n_ranks])
    max_norm = 0.37
    optimiser = opt.chain(opt.clip_by_global_norm(max_norm), TABLE[name][0](0.013))
    params = random_tree(rng, dtype=dtype)
    slabs = cut(rng, params, n_ranks)
    state = optimiser.init(params)
    states = [optimiser.init(slab) for slab in slabs]
    for _ in range(4):
        gradient = random_tree(rng, dtype=dtype)
        assert opt.global_norm(gradient, alone) > 100 * max_norm
        step, state = optimiser.update(gradient, state, params)
        params = opt.apply_updates(params, step)

        pieces = cut_like(rng, gradient, slabs)

        def update(rank, gather, pieces=pieces, states=states, slabs=slabs):
            return optimiser.update(
                pieces[rank], states[rank], slabs[rank], space=Space(gather)
            )

        steps, states = zip(*on_all_ranks(update, n_ranks), strict=True)
        slabs = [opt.apply_updates(p, s) for p, s in zip(slabs, steps, strict=True)]
        assert as_bytes(join(steps)) == as_bytes(step)
        assert as_bytes(join(slabs)) == as_bytes(params)


def cut_like(rng, tree, slabs):
    """Cut a tree where the given slabs were cut."""
    ends = np.cumsum([len(slab.body) for slab in slabs])
    bodies = np.split(tree.body, ends[:-1])
    return [
        Params(
            None if slab.opening is None else tree.opening,
            misplace(rng, body),
            None if slab.head is None else tree.head,
        )
        for slab, body in zip(slabs, bodies, strict=True)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_shortens_long_gradients_only(dtype):
    gradient = random_tree(np.random.default_rng(2027), dtype=dtype)
    norm = opt.global_norm(gradient, alone)
    for max_norm in (0.01 * norm, 0.999 * norm, norm, 7 * norm):
        clip = opt.clip_by_global_norm(max_norm)
        step, _ = clip.update(gradient, clip.init(gradient), gradient)
        if max_norm >= norm:
            assert as_bytes(step) == as_bytes(gradient)
        else:
            tolerance = float(4 * np.finfo(dtype).eps)
            expected = pytest.approx(max_norm, rel=tolerance)
            assert opt.global_norm(step, alone) == expected
            ratio = step.body / gradient.body
            np.testing.assert_allclose(ratio, max_norm / norm, rtol=tolerance)


def test_clipping_leaves_a_zero_gradient_alone():
    zero = body_only([0.0, 0.0])
    clip = opt.clip_by_global_norm(0.5)
    assert as_bytes(clip.update(zero, (), zero)[0]) == as_bytes(zero)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 1e200])
def test_one_bad_entry_shows_in_the_steps_of_all_ranks(bad):
    clip = opt.clip_by_global_norm(0.5)
    slabs = [body_only([1.0, 2.0]), body_only([3.0, bad])]
    steps = on_all_ranks(
        lambda rank, gather: clip.update(
            slabs[rank], (), slabs[rank], space=Space(gather)
        )[0],
        2,
    )
    assert all(np.isnan(step.body).all() for step in steps)


# --- types, purity, schedules, errors --------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TABLE)
def test_update_is_pure_and_keeps_the_dtype(name, dtype):
    rng = np.random.default_rng(48271)
    params, gradient = random_tree(rng, dtype=dtype), random_tree(rng, dtype=dtype)
    optimiser = TABLE[name][0](lambda step: np.float64(0.1))
    state = optimiser.init(params)
    for _ in range(3):
        freeze((params, gradient, state))
        before = [as_bytes(params), as_bytes(gradient), repr(state)]
        step, new_state = optimiser.update(gradient, state, params)
        again, _ = optimiser.update(gradient, state, params)
        new_params = opt.apply_updates(params, step)
        assert before == [as_bytes(params), as_bytes(gradient), repr(state)]
        assert as_bytes(step) == as_bytes(again)
        assert as_bytes(new_params) != as_bytes(params)
        for tree in (step, new_params):
            assert type(tree) is Params
            assert all(field.dtype == dtype for field in tree)
        params, state = new_params, new_state


def test_parameters_keep_their_dtype_under_a_wider_gradient():
    params, gradient = body_only([1.0, 2.0], np.float32), body_only([0.5, 0.25])
    path = minimise(opt.adam(0.1), lambda _: gradient, params, 2)
    assert path[-1].body.dtype == np.float32


@pytest.mark.parametrize("name", TABLE)
def test_schedule_is_asked_for_steps_counted_from_zero(name):
    asked = []
    optimiser = TABLE[name][0](lambda step: asked.append(step) or 0.1)
    minimise(optimiser, lambda p: p, body_only([1.0]), 4)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant(0.3), {0: 0.3, 1: 0.3, 10**6: 0.3}),
        (
            schedules.step_decay(0.8, 0.5, every=3),
            {0: 0.8, 2: 0.8, 3: 0.4, 5: 0.4, 6: 0.2, 30: 0.8 / 1024},
        ),
        (
            schedules.cosine(0.9, n_steps=12, final=0.1),
            {0: 0.9, 4: 0.7, 6: 0.5, 8: 0.3, 12: 0.1, 13: 0.1, 24: 0.1},
        ),
        (schedules.cosine(2.0, 3), {0: 2.0, 1: 1.5, 2: 0.5, 3: 0.0, 5: 0.0}),
        (schedules.inverse(0.6), {0: 0.6, 1: 0.3, 2: 0.2, 59: 0.01}),
        (schedules.inverse(6.0, offset=10), {0: 0.6, 2: 0.5, 110: 0.05}),
    ],
)
def test_schedule_values(schedule, expected):
    values = {step: schedule(step) for step in expected}
    assert values == pytest.approx(expected, rel=1e-14, abs=1e-16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: opt.sgd(-0.1), r"learning rate = -0\.1: need .* >= 0; .*try"),
        (lambda: opt.adam(math.nan), r"learning rate = nan: need .*finite"),
        (lambda: opt.adamw(math.inf), r"learning rate = inf: need .*finite"),
        (lambda: opt.sgd(0.1, 1.0), r"momentum = 1\.0: need 0 <= momentum < 1.*try"),
        (lambda: opt.sgd(0.1, -0.2), r"momentum = -0\.2: need"),
        (lambda: opt.sgd(0.1, nesterov=True), r"nesterov=True.*need momentum.*try"),
        (lambda: opt.trace(1.5), r"decay = 1\.5: need"),
        (lambda: opt.adam(0.1, beta1=1.0), r"beta1 = 1\.0: need 0 <= beta1 < 1"),
        (lambda: opt.adamw(0.1, beta2=-0.1), r"beta2 = -0\.1: need"),
        (lambda: opt.adam(0.1, epsilon=0.0), r"epsilon = 0\.0: need .*> 0.*try 1e-8"),
        (lambda: opt.adamw(0.1, weight_decay=-1), r"weight_decay = -1: need"),
        (lambda: opt.clip_by_global_norm(0), r"max_norm = 0: need .*> 0.*try 1\.0"),
        (lambda: opt.clip_by_global_norm(-2.0), r"max_norm = -2\.0: need"),
        (lambda: schedules.step_decay(0.1, 2.0, 5), r"factor = 2\.0: need .*try 0\.5"),
        (lambda: schedules.step_decay(0.1, 0.0, 5), r"factor = 0\.0: need"),
        (lambda: schedules.step_decay(0.1, 0.5, 0), r"every = 0: need .*>= 1; try"),
        (lambda: schedules.cosine(0.1, 2.5), r"n_steps = 2\.5: need a whole number"),
        (lambda: schedules.cosine(0.1, 9, final=-1), r"final learning rate = -1: need"),
        (lambda: schedules.inverse(0.1, offset=0), r"offset = 0: need .*> 0.*try 1"),
    ],
)
def test_bad_numbers_are_refused_with_what_was_given_needed_and_to_try(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "gradient",
    [
        Params(None, np.ones((1, 3)), None),
        Params(None, None, None),
        Params(np.ones(2), np.ones((4, 3)), None),
    ],
    ids=["one row", "no body", "foreign opening"],
)
@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_gradient_of_another_slab_is_refused_not_broadcast(name, gradient):
    params = Params(None, np.ones((4, 3)), None)
    optimiser = TABLE[name][0](0.1)
    with pytest.raises(ValueError, match=r"field \d has shapes .* cut gradient"):
        optimiser.update(gradient, optimiser.init(params), params)
    with pytest.raises(ValueError, match="need the same in all trees"):
        opt.apply_updates(params, gradient)
