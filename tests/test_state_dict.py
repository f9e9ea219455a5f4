"""Parameters by torch's names: there and back, and the forward pass they stand for.

The gold twin applies every torch.nn.Linear as torch does, ``x @ weight.T + bias``.
"""

import numpy as np
import pytest
from kinds import LAYERS, problem
from wrong_arguments import ODD, Call, check

import mgresnet as mg

DTYPES = [np.float64, np.float32]
CONTROLS = [mg.Free(), mg.Shared(), mg.BSpline(5), mg.BSpline(4, degree=1)]


def same(found, needed):
    """Whether two trees have the same bits."""
    for x, y in zip(found, needed, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y, strict=True)


def linear(arrays, name, x):
    """What a torch.nn.Linear with these entries does."""
    return x @ arrays[f"{name}.weight"].T + arrays.get(f"{name}.bias", 0.0)


def forward(net, arrays, x, prefix=""):
    """The module of docs/saving.md, with tanh throughout."""
    u = np.tanh(linear(arrays, f"{prefix}opening", x))
    for n in range(net.depth):
        shared = f"{prefix}layer.weight" in arrays
        name = f"{prefix}layer" if shared else f"{prefix}layers.{n}"
        u = u + net.step * np.tanh(linear(arrays, name, u))
    has_head = f"{prefix}head.weight" in arrays
    return linear(arrays, f"{prefix}head", u) if has_head else u


def dense(control=None, bias="vector", depth=9, n_inputs=2, head=True):
    """An asymmetric network, so that nothing fits by chance."""
    return mg.Network(
        mg.Dense(4, "tanh", bias),
        depth,
        2.0,
        opening=mg.Linear(n_inputs, 4, "tanh", bias),
        head=mg.Linear(4, 3) if head else None,
        control=control,
    )


def drawn(net, seed=90501, dtype=np.float64):
    """Parameters with biases that are not zero."""
    rng, (opening, body, head) = np.random.default_rng(seed), net.init()
    parts = (
        None if x is None else rng.standard_normal(x.shape).astype(dtype)
        for x in (opening, body, head)
    )
    return mg.Params(*parts)


@pytest.mark.parametrize("bias", ["vector", "scalar", "none"])
@pytest.mark.parametrize("control", CONTROLS, ids=str)
def test_the_twin_of_the_module_has_the_outputs_of_the_network(control, bias):
    net = dense(control, bias)
    params, x = drawn(net), np.random.default_rng(90502).standard_normal((7, 2))
    found = forward(net, mg.state_dict(net, params), x)
    needed = mg.predict(net, params, x)
    np.testing.assert_allclose(found, needed, rtol=0.0, atol=1e-14)


def test_a_chain_is_a_sequential_of_modules():
    nets = [dense(head=False), dense(depth=5, n_inputs=4)]
    chain = mg.Chain(nets)
    params = tuple(drawn(net, seed) for seed, net in enumerate(nets))
    arrays, x = mg.state_dict(chain, params), np.ones((3, 2))
    for i, net in enumerate(nets):
        x = forward(net, arrays, x, f"{i}.")
    needed = mg.predict(chain, params, np.ones((3, 2)))
    np.testing.assert_allclose(x, needed, rtol=0.0, atol=1e-14)
    for found, tree in zip(mg.from_state_dict(chain, arrays), params, strict=True):
        same(found, tree)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_there_and_back_is_bitwise(name, maps, dtype):
    net = problem(name, maps)[0]
    params = drawn(net, dtype=dtype)
    same(mg.from_state_dict(net, mg.state_dict(net, params)), params)


def test_names_and_shapes_are_those_of_torch():
    net = dense(bias="scalar", depth=2)
    arrays = mg.state_dict(net, net.init())
    assert {name: x.shape for name, x in arrays.items()} == {
        "opening.weight": (4, 2),
        "opening.bias": (4,),
        "layers.0.weight": (4, 4),
        "layers.0.bias": (4,),
        "layers.1.weight": (4, 4),
        "layers.1.bias": (4,),
        "head.weight": (3, 4),
        "head.bias": (3,),
    }
    own = LAYERS["gated"]
    shared = mg.Network(own, 5, control=mg.Shared())
    arrays = mg.state_dict(shared, shared.init())
    assert {name: x.shape for name, x in arrays.items()} == {
        "layer.params": (own.n_params,)
    }
    widened = mg.Network(mg.Dense(4), 1, opening=mg.Widen(2, 4))
    arrays = mg.state_dict(widened, widened.init())
    assert list(arrays) == ["layers.0.weight", "layers.0.bias"]
    same(mg.from_state_dict(widened, arrays), widened.init())


def test_arrays_are_copies():
    net = dense()
    params, untouched = drawn(net), drawn(net)
    arrays = mg.state_dict(net, params)
    back = mg.from_state_dict(net, arrays)
    for array in arrays.values():
        array[:] = 0.0
    same(params, untouched)
    same(back, untouched)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("control", CONTROLS[2:], ids=str)
def test_a_spline_is_found_from_its_values(control, dtype):
    net = dense(control)
    params = drawn(net, dtype=dtype)
    found = mg.from_state_dict(net, mg.state_dict(net, params))
    assert found.body.dtype == dtype
    rounding = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(found.body, params.body, rtol=0.0, atol=rounding)


def test_values_of_no_spline_are_refused():
    net = dense(mg.BSpline(5))
    arrays = mg.state_dict(net, drawn(net))
    arrays["layers.3.bias"] = arrays["layers.3.bias"] + 1e-9
    with pytest.raises(ValueError, match=r"not those of BSpline.*free rows"):
        mg.from_state_dict(net, arrays)
    free = mg.from_state_dict(dense(), arrays)
    assert free.body.shape == (9, 20)


def without(arrays, name):
    return {key: x for key, x in arrays.items() if key != name}


WRONG = {
    "lacking": (lambda a: without(a, "head.bias"), r"lack head\.bias \(1 in all\)"),
    "unknown": (lambda a: {**a, "norm.weight": 1}, r"the unknown norm\.weight \(1 "),
    "shape": (
        lambda a: {**a, "head.weight": a["head.weight"].T},
        r"head\.weight has shape \(4, 3\), needed \(3, 4\)",
    ),
    "dtype": (
        lambda a: {**a, "head.weight": a["head.weight"].astype(np.float32)},
        r"head\.weight has dtype float32, the others have float64; try",
    ),
    "integers": (
        lambda a: {key: x.astype(int) for key, x in a.items()},
        r"opening\.weight has dtype int64, needed float64 or float32",
    ),
    "biases": (
        lambda a: {**a, "layers.0.bias": np.arange(4.0)},
        r"layers\.0\.bias runs from 0\.0 to 3\.0, needed the same .* bias='vector'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_named(case):
    change, message = WRONG[case]
    net = dense(bias="scalar")
    with pytest.raises((ValueError, TypeError), match=message):
        mg.from_state_dict(net, change(mg.state_dict(net, drawn(net))))


def test_one_ranks_parameters_are_refused():
    net = dense()
    params = drawn(net)
    own = mg.Params(params.opening, params.body[:3], None)
    with pytest.raises(
        ValueError, match=r"head is None and body has 3 of 9 rows.*whole_params"
    ):
        mg.state_dict(net, own)


NAMED = {
    "state_dict": lambda **parts: list(
        mg.state_dict(dense(), mg.Params(**parts)).values()
    ),
    "from_state_dict": lambda **arrays: mg.from_state_dict(dense(), arrays),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("function", NAMED)
def test_odd_arrays_are_refused_or_understood(function, odd):
    params = drawn(dense())
    clean = params._asdict()
    if function == "from_state_dict":
        clean = mg.state_dict(dense(), params)
    call = Call(NAMED[function], clean, {}, {})
    for name in clean:
        if name.startswith(("opening", "body", "head")):
            check(call, name, ODD[odd](clean[name]))
