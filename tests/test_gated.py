"""Gated recurrent units against numbers found elsewhere.

These are `GRU` with its kernels, its twin in plain NumPy, and the unit of
docs/write-a-layer.md.

The numbers are those of a prototype in NumPy that agrees with ``torch.nn.GRU`` to
rounding:
width 3, 2 inputs, 8 steps, 2 samples, J the sum of the last states.  Weights are
``sin(k + 1) / 2`` with k running over W_x, W_u, b_x and b_u, inputs ``cos(0.7 k)``.
"""

import numpy as np
import pytest
from kinds import page

import mgresnet as mg
from mgresnet.layers.gated_cell import GatedCell

DEPTH, BATCH = 8, 2
GOLDEN = {
    "explicit": {
        "last": [
            [-0.116383684022668, 0.014389869234678, -0.172954247606412],
            [-0.100749527562601, 0.187769911136091, -0.375197883889084],
        ],
        "J": -0.5631255627099969,
        "norms": [1.7783855458362667, 0.7217023287558701],
        "d_b": [
            [-0.255104834833293, -0.059334803533186, -0.05568873022691],
            [0.12943204910629, 0.060112663144381, -0.318541312650562],
            [0.578871180312591, 0.958394066461955, 0.658487843253316],
        ],
        "sums": [0.38787795320819063, 0.030885015613553356],
        "steps": {
            "injection": [0.845788043094878, 0.384109087931308, -2.118497713532169],
            "mean": [0.189955905771129, 0.032469359348473, -0.134764845838903],
            "matched": [0.153755864379636, 0.064547939230626, -0.168902140933292],
            "e": [0.062048246046931, -0.057040013805825, -0.064158290121572],
            "e2": [-0.020235581788064, 0.019582253381776, -0.170223453099053],
        },
    },
    "implicit": {
        "last": [
            [-0.038799543198167, 0.04074469434962, -0.167490957403093],
            [0.016729597204504, 0.148206052223416, -0.325373279204858],
        ],
        "J": -0.3259834360285796,
        "norms": [1.164004284113261, 0.4992297426339932],
        "d_b": [
            [-0.235727749639589, -0.08032150195454, -0.036241296227489],
            [0.019327248904666, 0.000994130610258, -0.166699512862032],
            [0.608293292585308, 0.898572705233536, 0.649722527283775],
        ],
        "sums": [0.17627456480283385, 0.2909073752614053],
        "steps": {
            "injection": [0.415300384830828, 0.202989510483425, -0.524523053946678],
            "mean": [0.177345379441806, 0.042541645386967, -0.099942190807238],
            "matched": [0.154629321353986, 0.061548017226998, -0.121008711675226],
            "e": [0.077082643453294, -0.009745857426485, -0.047181776016776],
            "e2": [0.028341852716331, 0.039934340308125, -0.107626569679416],
        },
    },
}
COMPOSED = {  # coarse steps of the implicit unit: inputs on the left, their mean
    "left": [0.477488067620308, 0.2239442916898, -0.648489945844362],
    "composed": [0.177345379441806, 0.042541645386967, -0.099942190807238],
}
each_unit = pytest.mark.parametrize("name", GOLDEN)
each_kind = pytest.mark.parametrize("kind", ["kernels", "twin", "page"])


def problem(layer):
    """Network, parameters, inputs."""
    net = mg.Network(layer, DEPTH, float(DEPTH), control=mg.Shared())
    body = 0.5 * np.sin(np.arange(1.0, 1.0 + layer.n_params))[None]
    inputs = np.cos(0.7 * np.arange(BATCH * DEPTH * 2)).reshape(BATCH, DEPTH, 2)
    return net, mg.Params(None, body, None), inputs


def unit(name):
    return page().GRU(2, 3, getattr(page(), name))


def layer_of(kind, name):
    if kind == "page":
        return mg.Stepwise(unit(name))
    layer = mg.GRU(2, 3, implicit=name == "implicit")
    return layer if kind == "kernels" else mg.Stepwise(GatedCell(layer))


@each_kind
@each_unit
@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_states_and_gradients(kind, name, keep):
    net, params, inputs = problem(layer_of(kind, name))
    options, golden = mg.MGRITOptions.serial((4,)), GOLDEN[name]
    forward = mg.solve_forward(net, params, inputs, options=options, keep=keep)
    np.testing.assert_allclose(forward.final, golden["last"], rtol=0, atol=1e-14)
    assert forward.final.sum() == pytest.approx(golden["J"], rel=1e-13)
    rest = {"options": options, "keep": keep, "gradient": True}
    adjoint = mg.solve_adjoint(net, params, forward, np.ones((BATCH, 3)), **rest)
    body = mg.parameter_gradient(net, params, forward, adjoint).body[0]
    d_wx, d_wu, _, d_bu = np.split(body, [18, 45, 54])
    norms = [np.linalg.norm(d) for d in (d_wx, d_wu)]
    np.testing.assert_allclose(norms, golden["norms"], rtol=1e-13)
    np.testing.assert_allclose(d_bu.reshape(3, 3), golden["d_b"], rtol=0, atol=1e-14)
    found = mg.input_gradient(net, params, forward, adjoint)
    np.testing.assert_allclose([d.sum() for d in found], golden["sums"], rtol=1e-13)


def first_coarse_step(layer, operator):
    """From 0.1 over 4 steps, as the initial guess of a solve takes it."""
    net, params, inputs = problem(layer)
    options = mg.MGRITOptions((4,), max_iterations=0, coarse_operator=operator)
    first = np.full((BATCH, 3), 0.1)
    rest = {"options": options, "first": first, "keep": "c-points"}
    return mg.solve_forward(net, params, inputs, **rest).states[1, 0]


@each_kind
@each_unit
@pytest.mark.parametrize("operator", GOLDEN["implicit"]["steps"])
def test_coarse_steps(kind, name, operator):
    if kind == "page" and operator != "injection":
        pytest.skip("the unit of the page has no others")
    found = first_coarse_step(layer_of(kind, name), operator)
    needed = GOLDEN[name]["steps"][operator]
    np.testing.assert_allclose(found, needed, rtol=0, atol=1e-14)


@pytest.mark.parametrize("operator", COMPOSED)
def test_composed_gates(operator):
    found = first_coarse_step(mg.Stepwise(page().ComposedGRU(2, 3)), operator)
    np.testing.assert_allclose(found, COMPOSED[operator], rtol=0, atol=1e-14)


def test_a_composition_of_one_step_is_that_step():
    rng, implicit = np.random.default_rng(90311), unit("implicit")
    theta = rng.standard_normal(implicit.n_params)
    given = rng.standard_normal((5, 3)), 1.0, rng.standard_normal((5, 2))
    g = rng.standard_normal((5, 3))
    for method, more in (("step", ()), ("pull_back", (g,))):
        found, needed = (
            getattr(unit(name), method)(theta, *given, *more)
            for name in ("composed", "implicit")
        )
        for a, b in zip(found, needed, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


def test_no_convergence_is_predicted_for_it():
    net, params, inputs = problem(layer_of("page", "implicit"))
    options = mg.MGRITOptions((4,), coarse_operator="injection")
    with pytest.raises(ValueError, match="layers that take inputs in every step"):
        mg.predict_convergence(net, params, inputs, options)


def test_misspelt_operators_and_missing_ones_are_told():
    net, params, inputs = problem(layer_of("page", "implicit"))
    with pytest.raises(ValueError, match=r"'matched', the default of .* or"):
        mg.solve_forward(net, params, inputs, options=mg.MGRITOptions((4,)))
