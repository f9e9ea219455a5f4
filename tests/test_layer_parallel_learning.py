"""Losses, gradients and MGRIT histories of LayerParallelLearning, number by number.

That code is by the authors of layer-parallel training; its numbers, and what they mean,
are in ``shared/oracles``.  It restricts parameters by injection and divides the norm of
the states of a batch by the size of the batch.
"""

import functools
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from propagators import Recursion, peer_factors, peer_relaxations

import mgresnet as mg
from mgresnet.mgrit.solver import iterate
from mgresnet.solve.slab import Slab

FOLDER = Path(__file__).parents[2] / "shared" / "oracles"
ORACLES = [FOLDER / f"layer_parallel_learning.{kind}" for kind in ("json", "npz")]
if not all(path.exists() for path in ORACLES):
    pytest.skip(
        f"needs the numbers of LayerParallelLearning in {FOLDER}",
        allow_module_level=True,
    )
NUMBERS = json.loads(ORACLES[0].read_text())
NAMES = sorted(NUMBERS)
ACTIVATIONS = {"tanh": "tanh", "SmoothReLu": "smooth_relu"}


def divides(factors, depth):
    """Whether no level has a remainder: C-points are the same from both ends."""
    return depth % math.prod(factors) == 0


CASES = [(name, case) for name in NAMES for case in NUMBERS[name]["mgrit"]]
WITH_OBJECTIVE = [pair for pair in CASES if pair[1]["objective_after_k_cycles"]]
WITHOUT_REMAINDER = [
    (name, case)
    for name, case in CASES
    if divides(peer_factors(case["settings"], NUMBERS[name]["N"]), NUMBERS[name]["N"])
]
PARTIAL = [
    (name, index, settings)
    for name in NAMES
    for index, settings in enumerate(NUMBERS[name]["partial_settings"])
]


class Peer(NamedTuple):
    """A network with its weights and data, and what the peer found."""

    net: mg.Network
    params: mg.Params
    inputs: np.ndarray
    labels: np.ndarray
    regularisation: mg.Regularisation
    numbers: dict
    arrays: dict

    def value_and_gradient(self, options=None):
        """Objective, flat gradient in the peer's order, and the two solutions."""
        value, gradient, info = mg.value_and_gradient(
            self.net,
            self.params,
            self.inputs,
            self.labels,
            objective=mg.SoftmaxCrossEntropy(),
            forward=options,
            adjoint=options,
            regularisation=self.regularisation,
        )
        return value, np.concatenate([part.ravel() for part in gradient]), info


@functools.cache
def peer(name):
    numbers = NUMBERS[name]
    with np.load(ORACLES[1]) as file:
        inputs, labels = file["X"], file["Y"].argmax(axis=1)
        prefix = f"{name}_"
        keys = [key for key in file.files if key.startswith(prefix)]
        arrays = {key.removeprefix(prefix): file[key] for key in keys}
    activation = ACTIVATIONS[numbers["activation"]]
    net = mg.Network(
        mg.Dense(8, activation, bias="scalar"),
        numbers["N"],
        numbers["T"],
        opening=mg.Linear(2, 8, activation, bias="scalar"),
        head=mg.Linear(8, 5),
    )
    params = mg.Params(
        net.opening.pack(arrays["Wopen"], arrays["bopen"]),
        net.layer.pack(arrays["W"], arrays["b"]),
        net.head.pack(arrays["Wclass"], arrays["bclass"]),
    )
    regularisation = mg.Regularisation(
        tikhonov=numbers["gamma_tik"],
        smoothness=numbers["gamma_ddt"],
        head=numbers["gamma_class"],
    )
    return Peer(net, params, inputs, labels, regularisation, numbers, arrays)


@functools.cache
def serial(name):
    return peer(name).value_and_gradient()


def mgrit_options(settings, depth, n_cycles):
    """Options of n cycles; a skipped first way down is the coarse initial guess."""
    skip = settings.get("skip", 0)
    factors = peer_factors(settings, depth)
    return mg.MGRITOptions(
        coarsening=factors,
        relaxations=peer_relaxations(settings, len(factors)),
        cycle="F" if settings.get("fmg") else "V",
        max_iterations=n_cycles - skip,
        tolerance=0.0,
        coarse_operator="injection",
        initial_guess="coarse" if skip else "zero",
    )


def check_history(residuals, desired):
    """Compare 2-norms with a list that ends where the peer's residual is exactly 0."""
    desired = [norm for norm in desired if norm is not None]
    norms = np.asarray(residuals) / 300
    n = len(desired)
    np.testing.assert_allclose(norms[:n], desired, rtol=1e-9, atol=1e-13)
    assert (norms[n:] <= 1e-13).all()


def id_of(value):
    """Readable test id from settings, of a case or bare."""
    if not isinstance(value, dict):
        return None
    settings = value.get("settings", value)
    return "-".join(f"{key}={entry}" for key, entry in settings.items())


@pytest.mark.parametrize("name", NAMES)
def test_serial_states_and_adjoints(name):
    _, _, info = serial(name)
    arrays = peer(name).arrays
    np.testing.assert_allclose(info.forward.states, arrays["states"], 0, 1e-12)
    np.testing.assert_allclose(info.adjoint.states, arrays["adjoints"], 0, 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_terms_of_the_objective(name):
    net, params, _, labels, penalty, numbers, _ = peer(name)
    value, _, info = serial(name)
    body, constant = params.body, np.ones_like(params.body)
    flat = mg.Regularisation(penalty.tikhonov, 0.0, penalty.head)
    bends = mg.Regularisation(smoothness=penalty.smoothness)

    def size(regularisation, opening, body, head):
        parts = mg.Params(opening, body, head)
        return regularisation.of_slab(Slab.of(net, None, None), parts)[0]

    terms = {
        "loss": info.loss,
        "tik_open": size(flat, params.opening, 0.0 * body, None),
        "tik_hidden": size(flat, None, body, None),
        "tik_class": size(flat, None, 0.0 * body, params.head),
        "ddt": size(bends, *params),
        "objective": value,
    }
    assert terms == pytest.approx({key: numbers[key] for key in terms}, rel=1e-11)
    assert size(bends, params.opening, constant, params.head) == 0.0
    classes = net.close(params, info.forward.final).argmax(axis=1)
    accuracy = 100.0 * np.mean(classes == labels)
    assert accuracy == pytest.approx(numbers["accuracy_percent"], rel=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_exact_gradient(name):
    numbers, exact = peer(name).numbers, peer(name).arrays["grad_exact"]
    design = np.concatenate([part.ravel() for part in peer(name).params])
    assert np.array_equal(design, peer(name).arrays["design"])
    _, gradient, _ = serial(name)
    error = np.linalg.norm(gradient - exact)
    assert error <= 1e-11 * numbers["grad_norm_exact"]


@pytest.mark.parametrize(("name", "case"), CASES, ids=id_of)
def test_state_history(name, case):
    net, params, inputs, *_ = peer(name)
    options = mgrit_options(case["settings"], net.depth, 10)
    assert len(options.coarsening) + 1 == case["nlevels"]
    solution = mg.solve_forward(net, params, inputs, options=options)
    check_history(solution.residuals, case["state_rnorms"])


@pytest.mark.parametrize(("name", "index", "settings"), PARTIAL, ids=id_of)
def test_states_after_one_to_three_cycles(name, index, settings):
    net, params, inputs, *_ = peer(name)
    for k, desired in enumerate(peer(name).arrays[f"partial{index}"], start=1):
        options = mgrit_options(settings, net.depth, k)
        solution = mg.solve_forward(net, params, inputs[:10], options=options)
        np.testing.assert_allclose(solution.states, desired, 0, 1e-12)
    assert k == 3


@pytest.mark.parametrize(("name", "case"), WITH_OBJECTIVE, ids=id_of)
def test_objective_and_gradient_after_k_cycles(name, case):
    """Objectives agree; the gradient is at least as good once there is a correction."""
    numbers, exact = peer(name).numbers, peer(name).arrays["grad_exact"]
    skip = case["settings"].get("skip", 0)
    peer_errors = case["llp_gradient_rel_error_after_k_cycles"]
    pairs = zip(case["objective_after_k_cycles"], peer_errors, strict=True)
    for k, (objective, peer_error) in enumerate(pairs, start=1):
        options = mgrit_options(case["settings"], numbers["N"], k)
        value, gradient, _ = peer(name).value_and_gradient(options)
        assert value == pytest.approx(objective, rel=1e-11)
        error = np.linalg.norm(gradient - exact) / numbers["grad_norm_exact"]
        assert error <= peer_error + 1e-14 or k == skip


@pytest.mark.parametrize(("name", "case"), CASES, ids=id_of)
def test_ten_cycles_give_objective_and_gradient(name, case):
    numbers, exact = peer(name).numbers, peer(name).arrays["grad_exact"]
    options = mgrit_options(case["settings"], numbers["N"], 10)
    value, gradient, info = peer(name).value_and_gradient(options)
    assert value == pytest.approx(case["objective_after_10"], rel=1e-11)
    error = np.linalg.norm(gradient - exact) / numbers["grad_norm_exact"]
    assert error <= case["gradient_rel_err_after_10"] + 1e-14
    if divides(options.coarsening, numbers["N"]):
        check_history(info.adjoint.residuals, case["adjoint_rnorms_coupled"])


@pytest.mark.parametrize(("name", "case"), WITHOUT_REMAINDER, ids=id_of)
def test_adjoint_history_without_remainder(name, case):
    net, params, *_ = peer(name)
    _, _, info = serial(name)
    options = mgrit_options(case["settings"], net.depth, 10)
    seed = info.adjoint.states[-1]
    solution = mg.solve_adjoint(net, params, info.forward, seed, options=options)
    check_history(solution.residuals, case["adjoint_rnorms_exact_states"])


def slope(name, z):
    """Derivative of the activation."""
    if ACTIVATIONS[NUMBERS[name]["activation"]] == "tanh":
        return 1.0 - np.tanh(z) ** 2
    e = 0.1
    return np.where(np.abs(z) < e, z / (2.0 * e) + 0.5, z >= 0.0)


def adjoint_from_the_output(name, states):
    """Transposed steps in s = N - l, with C-points counted from the output.

    The engine's own adjoint has the C-points of the forward solve; the peer's are
    s = m, 2 m, ... and differ from them if m does not divide N.
    """
    net, arrays = peer(name).net, peer(name).arrays
    weight, u = arrays["W"], states[:-1].swapaxes(1, 2)
    slopes = slope(name, weight @ u + arrays["b"][:, None, None])

    def step(start, stop, w):
        layer = net.depth - stop
        length = net.step * (stop - start)[:, None, None]
        return w + length * (weight[layer].swapaxes(1, 2) @ (slopes[layer] * w))

    return Recursion(step, np.arange(net.depth + 1))


@pytest.mark.parametrize("coupled", [False, True], ids=["exact_states", "coupled"])
@pytest.mark.parametrize(("name", "case"), CASES, ids=id_of)
def test_adjoint_history_with_c_points_from_the_output(name, case, coupled):
    options = mgrit_options(case["settings"], NUMBERS[name]["N"], 10)
    _, _, info = peer(name).value_and_gradient(options) if coupled else serial(name)
    result = iterate(
        adjoint_from_the_output(name, info.forward.states),
        np.ascontiguousarray(info.adjoint.states[-1].T),
        options.coarsening,
        options,
        mg.SerialComm(),
    )
    key = "adjoint_rnorms_coupled" if coupled else "adjoint_rnorms_exact_states"
    check_history([m.residual for m in result.measures], case[key])


def test_every_case_is_here():
    assert NAMES == ["A32tanh", "C30smrelu"]
    assert [len(NUMBERS[name]["mgrit"]) for name in NAMES] == [30, 30]
    assert len(WITHOUT_REMAINDER) == 30 + 5
    assert len(PARTIAL) == 3 + 3
