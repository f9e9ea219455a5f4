"""Arguments in each other's place: a message that says which, and what to give."""

import pickle

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.data import Split
from mgresnet.learning.ladder import Plan

NET = mg.Network(mg.Dense(3), 8)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        *((8.0, 8), ("8", 8), (np.float64(6), 6), (8.5, 9), ("x", 1), (True, 1)),
        *((-2.0, 1), (None, 1), (float("nan"), 1), ("inf", 1), ("1e300", 1)),
    ],
)
def test_a_number_that_is_no_integer_is_hinted_at_as_one(given, hint):
    with pytest.raises(TypeError, match=f"depth must be an integer, .*; try {hint}$"):
        mg.Network(mg.Dense(3), given)


@pytest.fixture(scope="module")
def solved():
    params = NET.init()
    forward = mg.solve_forward(NET, params, np.ones((2, 3)))
    adjoint = mg.solve_adjoint(NET, params, forward, np.ones((2, 3)), gradient=True)
    return params, forward, adjoint


ADJOINT = "adjoint is a Solution of solve_forward, needed one of solve_adjoint"
FORWARD = "forward is a Solution of solve_adjoint, needed one of solve_forward"


@pytest.mark.parametrize("function", [mg.parameter_gradient, mg.input_gradient])
def test_solutions_in_each_others_place_are_refused(function, solved):
    params, forward, adjoint = solved
    with pytest.raises(TypeError, match=ADJOINT):
        function(NET, params, forward, forward)
    with pytest.raises(TypeError, match=FORWARD):
        function(NET, params, adjoint, forward)
    with pytest.raises(TypeError, match=FORWARD):
        function(NET, params, adjoint, adjoint)
    with pytest.raises(TypeError, match=r"adjoint is None, .* solve_adjoint returns"):
        function(NET, params, forward, None)
    with pytest.raises(TypeError, match=r"forward is None, .* solve_forward returns"):
        function(NET, params, None, adjoint)


def test_an_adjoint_solve_wants_a_forward_solution(solved):
    params, _, adjoint = solved
    with pytest.raises(TypeError, match=FORWARD):
        mg.solve_adjoint(NET, params, adjoint, np.ones((2, 3)))


def test_inputs_gradients_are_of_one_network(solved):
    params, forward, adjoint = solved
    chain = mg.Chain([NET, NET])
    for solutions in ((forward, adjoint), ((forward,) * 2, (adjoint,) * 2)):
        with pytest.raises(TypeError, match=r"net is a Chain, .*net\.networks\[0\]"):
            mg.input_gradient(chain, (params, params), *solutions)


def test_a_chain_is_made_of_a_sequence():
    with pytest.raises(TypeError, match=r"sequence of networks.*try Chain\(\[net\]\)"):
        mg.Chain(NET)
    with pytest.raises(TypeError, match=r"sequence of networks, got 3"):
        mg.Chain(3)


@pytest.mark.parametrize("way", ["forward", "adjoint"])
def test_training_has_one_set_of_options_for_all_stages(way):
    chain, options = mg.Chain([NET, NET]), mg.MGRITOptions((4,))
    with pytest.raises(TypeError, match=f"{way} is a list, needed one MGRITOptions"):
        mg.train(
            chain,
            chain.init(),
            [(np.ones((2, 3)), np.ones((2, 3)))],
            optimiser=mg.adam(0.001),
            objective=mg.LeastSquares(),
            **{"forward": options, way: [options, options]},
        )


class Shrink:
    """A cell that can be pickled."""

    state_shape, n_params = (3,), 1

    def init(self, rng, n_layers):
        return rng.standard_normal((n_layers, 1))

    def step(self, theta, u, h):
        return theta * u

    def pull_back(self, theta, u, h, d):
        return np.array([np.sum(u * d)]), theta * d


class Halve:
    """A cell that has no matched step."""

    state_shape, n_params = (3,), 1

    def init(self, rng, n_layers):
        return rng.standard_normal((n_layers, 1))

    def step(self, theta, u, h):
        return 0.5 * u

    def pull_back(self, theta, u, d, h):
        return np.zeros(1), 0.5 * d


def test_a_default_that_a_layer_does_not_have_is_named_as_such():
    net = mg.Network(mg.Stepwise(Halve()), 8)
    with pytest.raises(
        ValueError, match=r"no coarse_operator 'matched', the default"
    ) as e:
        mg.solve_forward(
            net, net.init(), np.ones((2, 3)), options=mg.MGRITOptions((4,))
        )
    assert 'give coarse_operator="injection" or "mean"' in str(e.value)


@pytest.mark.parametrize("given", [None, "x", 1e-8j, [1e-8], True])
@pytest.mark.parametrize("name", ["tolerance", "relaxation_weight"])
def test_options_that_are_no_numbers_are_named(name, given):
    with pytest.raises(TypeError, match=f"{name} must be a real number, got .*; try "):
        mg.MGRITOptions(**{name: given})


def test_complex_inputs_are_not_to_lose_a_part_unseen():
    inputs = np.ones((2, 3), complex)
    with pytest.raises(TypeError, match=r"inputs has dtype complex128, .*inputs\.real"):
        mg.solve_forward(NET, NET.init(), inputs)


def test_the_dtype_of_odd_arrays_is_named():
    for dtype in (object, "U3"):
        needed = f"inputs is an array of dtype {np.dtype(dtype)}, needed"
        with pytest.raises(TypeError, match=needed):
            mg.solve_forward(NET, NET.init(), np.ones((2, 3)).astype(dtype))


def test_a_first_state_that_would_be_ignored_is_refused():
    net = mg.Network(mg.Dense(3), 8, opening=mg.Linear(2, 3))
    loss = {"objective": mg.LeastSquares(), "first": np.ones((2, 3))}
    with pytest.raises(ValueError, match=r"first is given, .* take no inputs"):
        mg.value_and_gradient(net, net.init(), np.ones((2, 2)), np.ones((2, 3)), **loss)
    with pytest.raises(ValueError, match=r"first is given, .* take no inputs"):
        mg.solve_forward(net, net.init(), np.ones((2, 2)), first=np.ones((2, 3)))


OTHERS = {
    "activation": mg.Network(mg.Dense(3, "relu"), 8),
    "final_time": mg.Network(mg.Dense(3), 8, 2.0),
    "head": mg.Network(mg.Dense(3), 8, head=mg.Linear(3, 3)),
}


@pytest.mark.parametrize("part", OTHERS)
def test_a_solution_of_another_network_is_refused(part, solved):
    params, forward, adjoint = solved
    other = OTHERS[part]
    with pytest.raises(ValueError, match=f"forward is of another network: .*{part}"):
        mg.solve_adjoint(other, params, forward, np.ones((2, 3)))
    for function in (mg.parameter_gradient, mg.input_gradient):
        with pytest.raises(ValueError, match=f"another network: .*{part}"):
            function(other, params, forward, adjoint)


def test_two_solutions_have_to_be_of_one_batch(solved):
    params, _, adjoint = solved
    other = mg.solve_forward(NET, params, np.full((2, 3), 0.5))
    for function in (mg.parameter_gradient, mg.input_gradient):
        with pytest.raises(ValueError, match="along another forward solution"):
            function(NET, params, other, adjoint)


def test_solutions_from_another_process_are_those_of_this_network(solved):
    _, _, adjoint = solved
    net = mg.Network(mg.Stepwise(Shrink()), 8)
    params = net.init()
    forward = mg.solve_forward(net, params, np.ones((2, 3)))
    again = pickle.loads(pickle.dumps(forward))
    adjoint = mg.solve_adjoint(net, params, again, np.ones((2, 3)))
    mg.parameter_gradient(net, params, forward, adjoint)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_seed_that_is_not_finite_is_refused(wrong, solved):
    params, forward, _ = solved
    for shape in ((2, 3), (8, 2, 3)):
        seed = np.ones(shape)
        seed.flat[-1] = wrong
        with pytest.raises(ValueError, match="seed has NaN or infinity"):
            mg.solve_adjoint(NET, params, forward, seed)


MASKED = np.ma.masked_greater(np.arange(6.0).reshape(2, 3), 4.0)


def test_masks_are_not_lost():
    params = NET.init()
    for call in (
        lambda: mg.solve_forward(NET, params, MASKED),
        lambda: mg.batches(Split(MASKED, np.ones((2, 3))), 1),
        lambda: mg.batches(Split(np.ones((2, 3)), MASKED), 1),
        lambda: mg.predict(NET, params._replace(body=np.ma.masked_all((8, 12))), X),
    ):
        with pytest.raises(TypeError, match="masked values"):
            call()
    whole = np.ma.array(np.ones((2, 3)))
    found = mg.solve_forward(NET, params, whole).final
    np.testing.assert_array_equal(found, mg.solve_forward(NET, params, X).final)


X = np.ones((2, 3))


@pytest.mark.parametrize("batch", [(X, X, X), (X, X, 0, None), [X, X, X], (X,), X])
def test_a_batch_is_a_pair_or_a_record(batch):
    steps = mg.train(
        NET, NET.init(), [batch], optimiser=mg.sgd(0.1), objective=mg.LeastSquares()
    )
    with pytest.raises(TypeError, match=r"needed \(inputs, targets\) or Batch\("):
        next(steps)


def test_targets_whose_squares_overflow_are_refused():
    for loss in (mg.LeastSquares(), mg.Huber()):
        with pytest.raises(ValueError, match=r"targets reach 1e\+160, .* scale them"):
            mg.value_and_gradient(NET, NET.init(), X, 1e160 * X, objective=loss)
        mg.value_and_gradient(NET, NET.init(), X, 1e140 * X, objective=loss)


def test_a_function_that_makes_no_oracle_is_refused_at_once():
    with pytest.raises(TypeError, match="oracle is None"):
        mg.nested_iteration(
            NET, NET.init(), [[(X, X)]], optimiser=mg.sgd(0.1), oracle=lambda net: None
        )


@pytest.mark.parametrize("given", [(None, None), ([0.1, 0.2], None), (0.1, [])])
def test_schedules_to_be_joined_are_sequences(given):
    with pytest.raises(TypeError, match=r"(rates|ends) is .*; needed something like"):
        mg.joined(*given)


def test_a_plan_without_intervals_is_exact():
    assert str(Plan((), "matched", 3)) == "exact"


def test_factors_may_be_an_array():
    given = mg.MGRITOptions(coarsening=np.array([4, 4]), relaxations=np.array([0, 1]))
    assert given == mg.MGRITOptions((4, 4), (0, 1))


@pytest.mark.parametrize("name", [None, 3, ["matched"]])
def test_a_coarse_operator_is_a_name(name):
    with pytest.raises(TypeError, match=r"coarse_operator is .*needed a name such as"):
        mg.MGRITOptions(coarse_operator=name)


# What a person did, and what the message has to name.
MISTAKES = {
    "inputs is a Solution": lambda s: mg.predict_convergence(NET, s[0], s[1]),
    "seed is None, needed an array": lambda s: mg.solve_adjoint(NET, *s[:2], None),
    "params is a ndarray, needed Params": lambda s: mg.predict(NET, s[0].body, X),
    "options is .*something like MGRITOptions": lambda s: mg.predict(
        NET, s[0], X, options={"coarsening": (4,)}
    ),
    "objective is 'mse'": lambda s: mg.evaluate(NET, s[0], X, X, objective="mse"),
    "objective is the class": lambda s: mg.evaluate(
        NET, s[0], X, X, objective=mg.LeastSquares
    ),
    "optimiser is 'adam'": lambda s: mg.train(NET, s[0], [], optimiser="adam"),
    "control is 12": lambda s: mg.Network(mg.Dense(3), 8, control=12),
    "layer is 'Dense'": lambda s: mg.Network("Dense", 8),
    "head is a Dense": lambda s: mg.Network(mg.Dense(3), 8, head=mg.Dense(3)),
    "final_time must be a real": lambda s: mg.Network(mg.Dense(3), 8, "1"),
    "learning rate must be a real": lambda s: mg.adam("0.1"),
    "rng is 7": lambda s: mg.check_layer(mg.Dense(2), 7),
    "targets have dtype <U1": lambda s: mg.batches(Split(X, np.array(["a", "b"])), 1),
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_named(said, solved):
    with pytest.raises(TypeError, match=said) as told:
        MISTAKES[said](solved)
    assert len(str(told.value).splitlines()) == 1
