"""`GRU`: what torch computes, steps that do not count, sizes, mistakes."""

from functools import partial

import numpy as np
import pytest
from fakes import run_ranks
from hypothesis import given, settings
from hypothesis import strategies as st

import mgresnet as mg
from mgresnet.kernels.threads import set_threads
from mgresnet.layers.gated_cell import GatedCell

DEPTH = 11
each_cell = pytest.mark.parametrize("implicit", [False, True])


def network(layer, depth=DEPTH, control=None):
    return mg.Network(layer, depth, float(depth), control=control or mg.Shared())


def draw(layer, batch, depth=DEPTH, dtype=np.float64, seed=93101):
    """Parameters, inputs, first states and a seed."""
    rng = np.random.default_rng(seed)
    params = network(layer, depth).init(seed, dtype=dtype)
    x = rng.standard_normal((batch, depth, *layer.input_shape))
    if layer.masked:
        x[..., -1] = x[..., -1] > 0.0
    first, w = rng.uniform(-1, 1, (2, batch, *layer.state_shape))
    return params, *(values.astype(dtype) for values in (x, first, w))


def solve(net, params, x, first, w, comm=None, **how):
    """All states, the gradient, and those for inputs and the first state."""
    how["comm"] = comm
    forward = mg.solve_forward(net, params, x, first=first, **how)
    adjoint = mg.solve_adjoint(net, params, forward, w, gradient=True, **how)
    body = mg.parameter_gradient(net, params, forward, adjoint, comm=comm).body
    return forward.states, body, *mg.input_gradient(net, params, forward, adjoint)


def assert_close(got, needed, tolerance=1e-12):
    for a, b in zip(got, needed, strict=True):
        scale = max(abs(b).max(), 1e-300)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_explicit_cell_is_that_of_torch(n_layers):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layer = mg.GRU(9, 16, n_layers, implicit=False)
    params, x, first, w = draw(layer, 7)
    theirs = torch.nn.GRU(9, 16, n_layers, batch_first=True, dtype=torch.float64)
    names = [name for name, _ in theirs.named_parameters()]
    assert names == [name for name, _ in layer.parts]
    with torch.no_grad():
        for p, value in zip(
            theirs.parameters(), layer.unpack(params.body), strict=True
        ):
            p.copy_(torch.tensor(value[0]))
    read, start = (torch.tensor(v, requires_grad=True) for v in (x, first))
    cells = start.reshape(7, n_layers, 16).transpose(0, 1).contiguous()
    outputs, last = theirs(read, cells)
    seed = torch.tensor(w).reshape(7, n_layers, 16).transpose(0, 1)
    (last * seed).sum().backward()
    states, body, d_x, d_first = solve(network(layer), params, x, first, w)
    top = states[1:, :, -16:].swapaxes(0, 1)
    needed = layer.pack(*(p.grad.numpy()[None] for p in theirs.parameters()))
    assert_close(
        (top, body, d_x, d_first),
        (outputs.detach().numpy(), needed, read.grad.numpy(), start.grad.numpy()),
    )


def test_whole_networks_go_to_torch_and_back():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    head = mg.Linear(32, 4)
    net = mg.Network(
        mg.GRU(9, 16, 2, implicit=False), 5, 5, control=mg.Shared(), head=head
    )
    params, x = net.init(), np.random.default_rng(93106).standard_normal((7, 5, 9))
    theirs = {"layer": torch.nn.GRU(9, 16, 2), "head": torch.nn.Linear(32, 4)}
    module = torch.nn.ModuleDict(theirs).double()
    arrays = mg.state_dict(net, params)
    module.load_state_dict({name: torch.tensor(a) for name, a in arrays.items()})
    _, last = module["layer"](torch.tensor(x).transpose(0, 1))
    outputs = module["head"](last.transpose(0, 1).reshape(7, 32))
    found = mg.predict(net, params, x)
    np.testing.assert_allclose(found, outputs.detach().numpy(), rtol=0, atol=1e-14)
    again = mg.from_state_dict(net, module.state_dict())
    np.testing.assert_array_equal(again.body, params.body)


def test_state_dict_has_the_names_of_torch():
    net = mg.Network(mg.GRU(2, 3, 2), 5, control=mg.Shared())
    params = net.init(seed=93107)
    arrays = mg.state_dict(net, params)
    assert {name: a.shape for name, a in list(arrays.items())[:5]} == {
        "layer.weight_ih_l0": (9, 2),
        "layer.weight_hh_l0": (9, 3),
        "layer.bias_ih_l0": (9,),
        "layer.bias_hh_l0": (9,),
        "layer.weight_ih_l1": (9, 3),
    }
    again = mg.from_state_dict(net, arrays)
    np.testing.assert_array_equal(again.body, params.body)


@each_cell
@pytest.mark.parametrize(
    ("n_inputs", "n_hidden", "n_layers", "batch"),
    [(1, 1, 1, 1), (3, 5, 1, 13), (2, 17, 2, 97), (7, 33, 1, 200), (40, 6, 3, 2)],
)
def test_sizes_of_all_kinds_agree_with_numpy(
    implicit, n_inputs, n_hidden, n_layers, batch
):
    layer = mg.GRU(n_inputs, n_hidden, n_layers, implicit, masked=n_layers > 1)
    given = draw(layer, batch)
    twin = mg.Stepwise(GatedCell(layer))
    for keep in ("all", "c-points"):
        found = solve(network(layer), *given, keep=keep)
        assert_close(found, solve(network(twin), *given, keep=keep))


def test_every_step_may_have_weights_of_its_own():
    layer, rng = mg.GRU(3, 5, 2), np.random.default_rng(93102)
    _, *given = draw(layer, 6)
    params = mg.Params(None, layer.init(rng, DEPTH), None)
    ours, twin = (
        network(one, control=mg.Free())
        for one in (layer, mg.Stepwise(GatedCell(layer)))
    )
    assert_close(solve(ours, params, *given), solve(twin, params, *given))


@each_cell
def test_single_precision_is_kept_and_as_good(implicit):
    layer = mg.GRU(5, 12, 2, implicit)
    given = draw(layer, 30)
    rounded = draw(layer, 30, dtype=np.float32)
    found = solve(network(layer), *rounded)
    assert {values.dtype for values in found} == {np.dtype(np.float32)}
    assert_close(found, solve(network(layer), *given), 3e-5)


def test_threads_change_no_bit():
    layer = mg.GRU(4, 10, 2)
    given = draw(layer, 250)
    needed = solve(network(layer), *given)
    set_threads(3)
    try:
        found = solve(network(layer), *given)
    finally:
        set_threads(1)
    for a, b in zip(found, needed, strict=True):
        np.testing.assert_array_equal(a, b)


SOLVERS = {
    "serial": mg.MGRITOptions.serial((4,)),
    **{
        name: mg.MGRITOptions((4,), 1, max_iterations=2, coarse_operator=name)
        for name in ("injection", "mean", "matched", "e", "e2")
    },
}


@each_cell
@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_that_do_not_count_change_nothing(implicit, solver):
    """Whatever is behind the end of a sequence, wherever in an interval that is."""
    layer, how = mg.GRU(3, 7, 2, implicit, masked=True), {"options": SOLVERS[solver]}
    params, x, first, w = draw(layer, 4, depth=24)
    counts = np.arange(24) < np.array([[24], [24], [5], [8]])
    x[..., -1] = counts
    net = network(layer, 24)
    states, _, d_x, _ = solve(net, params, x, first, w, **how)
    idle = ~counts.T
    if solver != "serial":
        idle[7] = False  # the C-point behind it may be inexact
    assert (np.diff(states, axis=0)[idle] == 0).all()
    assert (d_x[~counts] == 0).all()
    assert (d_x[..., -1] == 0).all()
    padded = np.where(counts[..., None], x, 0)
    padded[..., :-1] += 99.0 * ~counts[..., None]
    others = solve(net, params, padded, first, w, options=SOLVERS["serial"])
    exact = solve(net, params, x, first, w, options=SOLVERS["serial"])
    assert_close(others, exact, 0)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_nor_do_ranks_change_a_bit_of_it(size):
    layer = mg.GRU(3, 7, 2, masked=True)
    params, x, first, w = draw(layer, 7, depth=26)
    x[..., -1] = np.arange(26) < np.array([26, 3, 13, 20, 22, 4, 25])[:, None]
    net, how = network(layer, 26), SOLVERS["e2"]
    states, body, d_x, d_first = solve(net, params, x, first, w, options=how)

    def on_rank(comm):
        return solve(net, params, x, first, w, options=how, comm=comm)

    parts = run_ranks(on_rank, size)
    found = np.concatenate([part[0][:-1] for part in parts] + [parts[-1][0][-1:]])
    np.testing.assert_array_equal(found, states)
    np.testing.assert_array_equal(np.concatenate([p[2] for p in parts], axis=1), d_x)
    np.testing.assert_array_equal(parts[0][3], d_first)
    for part in parts:
        np.testing.assert_array_equal(part[1], body)


def test_a_shorter_sequence_is_the_same_as_one_that_is_filled_up():
    layer, plain = mg.GRU(3, 7, 2, masked=True), mg.GRU(3, 7, 2)
    params, x, first, w = draw(layer, 5, depth=24)
    x[..., -1] = np.arange(24) < 9
    states, body, d_x, d_first = solve(network(layer, 24), params, x, first, w)
    net = mg.Network(plain, 9, 9.0, control=mg.Shared())
    short = solve(net, params, np.ascontiguousarray(x[:, :9, :-1]), first, w)
    found = states[:10], body, d_x[:, :9, :-1], d_first
    assert_close(found, short, 1e-14)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.floats(0.1, 50.0),
    dt=st.floats(1e-3, 100.0),
    m=st.integers(2, 9),
    operator=st.sampled_from(["injection", "mean", "matched", "e", "e2"]),
    implicit=st.booleans(),
)
def test_no_step_leads_further_than_the_largest_state_or_one(
    seed, size, dt, m, operator, implicit
):
    """But for explicit injection, which is a step of its own length."""
    if not implicit:
        dt = min(dt, 1.0 / m if operator == "injection" else 1.0)
    layer, rng = mg.GRU(2, 6, 2, implicit), np.random.default_rng(seed)
    net = mg.Network(layer, 3 * m, 3 * m * dt, control=mg.Shared())
    params = mg.Params(None, size * layer.init(rng, 1), None)
    x = size * rng.standard_normal((5, 3 * m, 2))
    first = size * rng.standard_normal((5, 12))
    bound = np.maximum(abs(first).max(axis=1), 1.0) * (1 + 1e-12)
    coarse = mg.MGRITOptions((m,), max_iterations=0, coarse_operator=operator)
    for options in (mg.MGRITOptions.serial(), coarse):
        found = mg.solve_forward(net, params, x, first=first, options=options)
        assert (abs(found.states).max(axis=(0, 2)) <= bound).all()


def test_pack_and_unpack_are_inverse_and_tell_what_is_wrong():
    layer, rng = mg.GRU(2, 3, 2), np.random.default_rng(93103)
    theta = rng.standard_normal((4, layer.n_params))
    arrays = layer.unpack(theta)
    assert [a.shape for a in arrays[:4]] == [(4, 9, 2), (4, 9, 3), (4, 9), (4, 9)]
    np.testing.assert_array_equal(layer.pack(*arrays), theta)
    with pytest.raises(TypeError, match=r"got 3 arrays, needed weight_ih_l0, weight"):
        layer.pack(*arrays[:3])
    swapped = (arrays[1], arrays[0], *arrays[2:])
    with pytest.raises(ValueError, match=r"weight_ih_l0 has shape \(4, 9, 3\), needed"):
        layer.pack(*swapped)
    with pytest.raises(TypeError, match=r"weight_hh_l0 has dtype float32"):
        layer.pack(arrays[0], arrays[1].astype(np.float32), *arrays[2:])
    with pytest.raises(ValueError, match=r"theta has shape \(4, 5\), needed"):
        layer.unpack(theta[:, :5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_inputs": 0}, "n_inputs must be at least 1, got 0"),
        ({"n_hidden": 2.5}, "n_hidden must be an integer, got 2.5"),
        ({"n_layers": "2"}, "n_layers must be an integer"),
        ({"implicit": 1}, "implicit must be True or False, got 1"),
        ({"masked": None}, "masked must be True or False, got None"),
    ],
)
def test_wrong_sizes_are_told(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        mg.GRU(**{"n_inputs": 2, "n_hidden": 3, **arguments})


SQUARES = {"objective": mg.LeastSquares()}


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0])
@pytest.mark.parametrize("size", [1, 3])
def test_a_mask_is_0_or_1(value, size):
    layer = mg.GRU(3, 4, masked=True)
    params, x, _, _ = draw(layer, 5)
    x[2, 9, -1] = value
    net = network(layer)
    match = f"last feature of inputs is {value:g} in sample 2, step 9, needed 1"

    def run(comm):
        with pytest.raises(ValueError, match=r"fails on some|last feature") as told:
            mg.predict(net, params, x, comm=comm)
        return str(told.value)

    assert match in " ".join(run_ranks(run, size))


def test_wrong_inputs_are_told():
    layer = mg.GRU(3, 4)
    params, x, first, _ = draw(layer, 5)
    net = network(layer)
    with pytest.raises(ValueError, match=r"inputs has shape \(5, 11, 2\), needed"):
        mg.solve_forward(net, params, x[..., :2])
    with pytest.raises(ValueError, match=r"first has shape \(5, 3\), needed"):
        mg.solve_forward(net, params, x, first=first[:, :3])
    first[2] = np.inf
    for call in (
        mg.solve_forward,
        partial(
            mg.value_and_gradient, targets=0.0 * x[:, 0, :1] * np.ones(4), **SQUARES
        ),
    ):
        with pytest.raises(ValueError, match=r"first has NaN .* sample 2"):
            call(net, params, x, first=first)
    x[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity, first in sample 3"):
        mg.solve_forward(net, params, x)


def test_initial_weights_are_within_the_bounds_of_torch():
    layer = mg.GRU(3, 16)
    theta = layer.init(np.random.default_rng(93104), 50)
    assert abs(theta).max() <= 0.25
    assert theta.std() == pytest.approx(0.25 / np.sqrt(3), rel=0.02)
    assert abs(theta.mean()) < 0.01
