"""Convolutional layers: golden numbers, twin, torch, shapes of all sizes, mistakes.

What they share with layers of every kind is in `test_every_layer`.
"""

import itertools
import math

import convolutions
import numpy as np
import pytest
import reference as ref
from fakes import run_ranks

import mgresnet as mg
from mgresnet.arrays.layout import absent
from mgresnet.layers.scheme import euler, second_order, third_order
from mgresnet.layers.steps import Steps

KINDS, NORMS = ("single", "double", "pre", "symmetric"), (None, "group", "layer")
SHAPES = [(1, 1, 1), (2, 4, 4), (5, 2, 7), (6, 3, 1), (8, 5, 6)]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_norm = pytest.mark.parametrize("norm", NORMS)


def golden(kind, activation):
    """Network and parameters without random numbers, and the first state."""
    layer = mg.Conv2d((2, 4, 4), 3, activation, kind)
    arrays, k = [], 0
    for _, shape in layer.parts:
        n = 8 * math.prod(shape)
        arrays.append(0.5 * np.sin(np.arange(k, k + n) + 1.0).reshape(8, *shape))
        k += n
    first = np.cos(0.7 * np.arange(64)).reshape(2, 2, 4, 4)
    net = mg.Network(layer, 8, 2.0)
    return net, mg.Params(None, layer.pack(*arrays), None), first


# sum and |.|^2 of u_N, |l_0|^2 for the seed u_N, and a sum over every parameter array
GOLDEN = {
    ("single", "tanh"): (
        4.479094191258454,
        34.32240959182154,
        36.85554569247343,
        [-67.17337953953782, 3.9465777793726566],
    ),
    ("single", "relu"): (
        58.04949671156375,
        100.92270158452712,
        643.968256245941,
        [267.71554696062975, 58.16349124448737],
    ),
    ("double", "tanh"): (
        0.6556219939655821,
        44.26538079055709,
        316.5951071109033,
        [11.553092989212569, 2.6598455156192884, -3.4190337862978186, 2.8045689249377],
    ),
    ("double", "relu"): (
        -2.2623988866457543,
        44.07335497184046,
        180.5950449677523,
        [5.674390782312354, 17.460569611556927, -67.92776851357624, -6.4963340770991],
    ),
    ("pre", "tanh"): (
        1.0487492595495598,
        47.63248535944134,
        180.50486659258962,
        [-5.574082487235355, 0.8442744262419282, -3.4567761073582, 2.4846652818597645],
    ),
    ("pre", "relu"): (
        -1.2507425534676895,
        33.5302417064068,
        63.185399825080786,
        [-10.862201881593041, 0.07680053653758812, 7.3198844596407, 0.9939594664408],
    ),
}
# sums of one coarse step over the first 4 layers, and of its transpose
COARSE = {
    ("single", "tanh", "injection"): (8.75126707391817, 0.47958621513915345),
    ("single", "tanh", "mean"): (3.1801183255191505, 1.1609053663194198),
    ("single", "tanh", "matched"): (3.1031029223718374, 1.1597487598883314),
    ("single", "relu", "third_order"): (13.98121787461927, 1.54605272518727),
    ("double", "tanh", "third_order"): (3.8271305647714096, 1.0619516733142653),
    ("double", "relu", "matched"): (3.713198096359123, 1.1625202818734743),
    ("pre", "tanh", "mean"): (3.801734263751796, 1.1638379049355603),
    ("pre", "relu", "third_order"): (3.3014285720974232, 2.049735631071488),
}


@pytest.mark.parametrize(("kind", "activation"), GOLDEN)
def test_golden_numbers(kind, activation):
    net, params, first = golden(kind, activation)
    forward = mg.solve_forward(net, params, first)
    last = forward.final
    adjoint = mg.solve_adjoint(net, params, forward, last, gradient=True)
    first_adjoint = adjoint.states[0]
    sums = [part.sum() for part in net.layer.unpack(adjoint.gradient)]
    found = last.sum(), (last**2).sum(), (first_adjoint**2).sum(), sums
    for got, needed in zip(found, GOLDEN[kind, activation], strict=True):
        np.testing.assert_allclose(got, needed, rtol=1e-11)


@pytest.mark.parametrize(("kind", "activation", "operator"), COARSE)
def test_golden_coarse_steps(kind, activation, operator):
    net, params, first = golden(kind, activation)
    layer, none = net.layer, absent(np.float64)
    steps = Steps(4, params.body[:4, None], none, net.step, 1, euler())
    coarse = layer.prepare(steps.coarsen(4, layer.coarse(operator)))
    u = np.ascontiguousarray(np.moveaxis(first, 0, -1))[None]
    ahead, behind = np.empty((2, 1, *u.shape))
    layer.march(coarse, u, ahead, none, none)
    layer.march_back(coarse, u, behind, none, u, none, none, none)
    found = ahead.sum(), behind.sum()
    np.testing.assert_allclose(found, COARSE[kind, activation, operator], rtol=1e-12)


@each_kind
@each_norm
@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu"])
def test_the_contract(kind, norm, activation):
    """Of kinks there are to be few, so that derivatives settle."""
    shape = (2, 2, 2) if activation == "relu" else (4, 2, 3)
    layer = mg.Conv2d(shape, 3, activation, kind, norm)
    mg.check_layer(layer, np.random.default_rng(81401))


def random_case(layer, n, batch, dtype=np.float64, scheme=None):
    """Steps with their parameters, and what draws more numbers."""
    rng, stages = np.random.default_rng(81402), len(scheme.b)
    theta = rng.standard_normal((n, stages, layer.n_params)).astype(dtype)
    if layer.norm is None:
        theta /= math.sqrt(layer.shape[0])
    steps = Steps(n, theta, absent(dtype), 0.25, 1, scheme)
    return steps, lambda *shape: rng.standard_normal(shape).astype(dtype)


def outputs(layer, steps, points, starts, forcing):
    """States behind the points, adjoints and gradients."""
    n, none = steps.n, absent(points.dtype)
    u = np.full(
        (len(points), n // len(points), *points.shape[1:]), np.nan, starts.dtype
    )
    w = np.full((len(starts), 2, *starts.shape[1:]), np.nan, starts.dtype)
    ends = np.full(points.shape, np.nan, starts.dtype)
    d = np.full((2, layer.n_params), np.nan, starts.dtype)
    layer.march(steps, points, u, none, none)
    layer.retrace(steps, starts, w, forcing, points, ends, d, none)
    return u, w, ends, d


@each_kind
@each_norm
@pytest.mark.parametrize(("shape", "kernel"), [*itertools.product(SHAPES, (1, 3))])
def test_it_is_its_twin(kind, norm, shape, kernel):
    layer = mg.Conv2d(shape, kernel, "sigmoid", kind, norm)
    twin = mg.Explicit(convolutions.Convolution(layer))
    for scheme, batch in ((euler(), 1), (second_order(3), 13), (third_order(4), 3)):
        steps, draw = random_case(layer, 4, batch, scheme=scheme)
        points, starts = draw(2, *shape, batch), draw(1, *shape, batch)
        given = steps, points, starts, draw(1, 4, *shape, batch)
        found, needed = outputs(layer, *given), outputs(twin, *given)
        for got, wanted in zip(found, needed, strict=True):
            tolerance = 1e-13 * abs(wanted).max()
            np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)


@each_kind
@pytest.mark.parametrize("norm", [None, "group"])
def test_single_precision_rounds_the_same_numbers(kind, norm):
    layer = mg.Conv2d((4, 6, 5), 3, "tanh", kind, norm)
    found = []
    for dtype in (np.float64, np.float32):
        steps, draw = random_case(layer, 4, 9, dtype, euler())
        points, starts = draw(2, 4, 6, 5, 9), draw(1, 4, 6, 5, 9)
        found.append(outputs(layer, steps, points, starts, draw(1, 4, 4, 6, 5, 9)))
    for needed, got in zip(*found, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, needed, rtol=0, atol=2e-5 * abs(needed).max())


@each_kind
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(kind, threads):
    layer = mg.Conv2d((2, 3, 3), 3, "relu", kind, "layer")
    steps, draw = random_case(layer, 2, 211, scheme=euler())
    given = (
        steps,
        draw(2, 2, 3, 3, 211),
        draw(1, 2, 3, 3, 211),
        draw(1, 2, 2, 3, 3, 211),
    )
    alone = outputs(layer, *given)
    mg.set_threads(threads)
    try:
        shared = outputs(layer, *given)
    finally:
        mg.set_threads(1)
    for got, needed in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(got, needed)


@pytest.mark.parametrize("control", [mg.Free(), mg.BSpline(4), mg.Shared()])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_ranks_change_no_bit(control, size):
    layer = mg.Conv2d((3, 5, 3), activation="relu", kind="double", norm="group")
    net = mg.Network(layer, 21, 1.0, None, mg.Linear(45, 3), control)
    rng, params = np.random.default_rng(81403), net.init(seed=81404)
    batch = rng.standard_normal((7, 3, 5, 3)), rng.integers(0, 3, 7)
    how = mg.MGRITOptions((4,), max_iterations=1, coarse_operator="third_order")
    rest = {"forward": how, "adjoint": how, "objective": mg.SoftmaxCrossEntropy()}

    def run(comm=None):
        return mg.value_and_gradient(net, params, *batch, comm=comm, **rest)

    value, needed, _ = run()
    parts = run_ranks(run, size)
    bodies = [part[1].body for part in parts]
    whole = bodies[0] if control.shared else np.concatenate(bodies)
    np.testing.assert_array_equal(whole, needed.body)
    assert {part[0] for part in parts} == {value}


@each_kind
def test_it_is_what_torch_computes(kind):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layer = mg.Conv2d((4, 6, 7), 3, "gelu", kind, "group" if kind == "pre" else None)
    net = mg.Network(layer, 3, 1.5)
    params, rng = net.init(seed=81405), np.random.default_rng(81406)
    body = params.body + 0.1 * rng.standard_normal(params.body.shape)
    x, seed = rng.standard_normal((2, 5, 4, 6, 7))
    params = params._replace(body=body)
    forward = mg.solve_forward(net, params, x)
    found = mg.solve_adjoint(net, params, forward, seed, gradient=True).gradient
    arrays = [torch.tensor(a, requires_grad=True) for a in layer.unpack(body)]
    u, torch_ = torch.tensor(x), torch.nn.functional
    for row in zip(*arrays, strict=True):
        w, b, *rest = row
        s, t, s1, t1 = rest[2:] if kind == "pre" else [None] * 4
        inner = u
        if kind == "pre":
            inner = torch_.gelu(torch_.group_norm(u, 1, s, t), approximate="tanh")
        z = torch_.conv2d(inner, w, b, padding=1)
        z = torch_.group_norm(z, 1, s1, t1) if kind == "pre" else z
        a = torch_.gelu(z, approximate="tanh")
        if kind == "symmetric":
            a = -torch_.conv_transpose2d(a, w, padding=1)
        elif kind != "single":
            a = torch_.conv2d(a, *rest[:2], padding=1)
        u = u + net.step * a
    np.testing.assert_allclose(forward.final, u.detach(), rtol=1e-12, atol=1e-13)
    needed = torch.autograd.grad(u, arrays, torch.tensor(seed))
    for got, wanted in zip(layer.unpack(found), needed, strict=True):
        tolerance = 1e-12 * abs(wanted.numpy()).max()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)


def test_initial_layers_are_contractions_of_unit_variance():
    layer = mg.Conv2d((16, 8, 8), activation="identity", norm="layer", kind="pre")
    theta = layer.init(np.random.default_rng(81407), 50)
    for (name, _), part in zip(layer.parts, layer.unpack(theta), strict=True):
        if name == "weight":
            assert part.std() == pytest.approx(1 / 12, rel=0.01)
        else:
            np.testing.assert_array_equal(part, 1.0 if name == "scale" else 0.0)


def test_normalised_activations_do_not_see_scale_and_shift_of_an_image():
    layer = mg.Conv2d((4, 5, 5), 3, "tanh", "pre", "layer")
    rate = convolutions.Convolution(layer).rate
    rng = np.random.default_rng(81408)
    theta, u = rng.standard_normal(layer.n_params), rng.standard_normal((2, 4, 5, 5))
    np.testing.assert_allclose(rate(theta, 1e3 * u + 7.0), rate(theta, u), atol=1e-4)


def test_weights_only_leaves_biases_scales_and_shifts_out():
    layer = mg.Conv2d((2, 3, 3), kind="double", norm="group")
    mask = mg.weights_only(mg.Network(layer, 4)).body
    assert mask.sum() == 2 * 36
    weights = layer.unpack(mask)[::2][:2]
    assert all(weight.all() for weight in weights)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"shape": (8, 32)},
            r"shape must be \(channels, height, width\), got \(8, 32\)",
        ),
        ({"shape": 8}, r"shape must be .*got 8; try \(8, 32, 32\)"),
        ({"shape": (8, 0, 32)}, "height of shape must be at least 1, got 0"),
        ({"shape": (2, 4, 4), "kernel": 5}, "unknown kernel 5; choose from 1, 3"),
        (
            {"shape": (2, 4, 4), "activation": "swish"},
            "unknown activation 'swish'.*gelu",
        ),
        ({"shape": (2, 4, 4), "kind": "triple"}, "unknown kind 'triple'.*symmetric"),
        ({"shape": (2, 4, 4), "norm": "batch"}, "unknown norm 'batch'.*group, layer"),
    ],
)
def test_mistakes_have_names(given, message):
    with pytest.raises(ValueError, match=message):
        mg.Conv2d(**given)


def test_images_of_another_shape_are_refused():
    net = mg.Network(mg.Conv2d((3, 8, 8)), 4)
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 3\).*needed \(batch, 3, 8, 8\)"):
        mg.solve_forward(net, net.init(), np.zeros((2, 8, 8, 3)))


def test_parameters_are_packed_in_the_order_of_parts():
    layer = mg.Conv2d((2, 3, 3), 1, kind="double")
    with pytest.raises(TypeError, match="2 arrays, needed weight, bias, weight, bias"):
        layer.pack(np.zeros((3, 2, 2, 1, 1)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"bias has shape \(4, 2\), needed \(3, 2\)"):
        layer.pack(np.zeros((3, 2, 2, 1, 1)), *[np.zeros((4, 2))] * 3)


@each_kind
@each_norm
def test_the_twin_is_right_by_complex_steps(kind, norm):
    layer = mg.Conv2d((2, 3, 3), 3, "tanh", kind, norm)
    twin, rng = convolutions.Convolution(layer), np.random.default_rng(81409)
    theta, (u, g) = (
        rng.standard_normal(layer.n_params),
        rng.standard_normal((2, 2, 2, 3, 3)),
    )
    found = twin.pull_back(theta, u, g)
    needed = (
        ref.complex_step(lambda t: np.sum(g * twin.rate(t, u)), theta),
        ref.complex_step(lambda x: np.sum(g * twin.rate(theta, x)), u),
    )
    for got, wanted in zip(found, needed, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-13 * abs(wanted).max())
