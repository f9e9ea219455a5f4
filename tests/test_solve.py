"""Public solves: what they accept, what they refuse and how they say it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from cases import rough_network, states

import mgresnet as mg

NET, PARAMS = rough_network(12, width=4)
INPUTS = states(NET)
FORWARD = mg.solve_forward(NET, PARAMS, INPUTS)
ENDS = mg.Network(mg.Dense(4), 12, opening=mg.Linear(2, 4), head=mg.Linear(4, 3))
SHORT, SHORT_PARAMS = rough_network(4)
BODY = PARAMS.body


def forward(inputs=INPUTS, net=NET, params=PARAMS, **rest):
    return mg.solve_forward(net, params, inputs, **rest)


def adjoint(seed=INPUTS, solution=FORWARD, **rest):
    return mg.solve_adjoint(NET, PARAMS, solution, seed, **rest)


def body(rows):
    return forward(params=mg.Params(None, rows, None))


def with_nan(values, row):
    values = values.copy()
    values[row] = np.nan
    return values


BAD = {
    "inputs too wide": (
        lambda: forward(np.ones((3, 5))),
        ValueError,
        "inputs has shape (3, 5), needed (batch, 4)",
    ),
    "one sample without batch": (
        lambda: forward(np.ones(4)),
        ValueError,
        "inputs has shape (4,), needed (batch, 4)",
    ),
    "a number": (lambda: forward(np.float64(1)), ValueError, "inputs has shape ()"),
    "features, not states": (
        lambda: forward(INPUTS, ENDS, ENDS.init()),
        ValueError,
        "inputs has shape (3, 4), needed (batch, 2)",
    ),
    "float32 inputs": (
        lambda: forward(INPUTS.astype(np.float32)),
        TypeError,
        "inputs has dtype float32, the parameters have float64; try "
        "inputs.astype(np.float64)",
    ),
    "integer inputs": (
        lambda: forward(np.ones((3, 4), int)),
        TypeError,
        "inputs has dtype int64, the parameters have float64",
    ),
    "empty batch": (
        lambda: forward(np.ones((0, 4))),
        ValueError,
        "inputs is an empty batch; give at least one sample",
    ),
    "NaN": (
        lambda: forward(with_nan(INPUTS, 1)),
        ValueError,
        "inputs has NaN or infinity, first in sample 1; remove or repair such samples",
    ),
    "infinity": (
        lambda: forward(INPUTS * np.array([[1.0], [1.0], [np.inf]])),
        ValueError,
        "inputs has NaN or infinity, first in sample 2",
    ),
    "too few rows": (
        lambda: body(BODY[:7]),
        ValueError,
        "body has shape (7, 20), needed (12, 20) for the whole network or (12, 20) "
        "for layers 0..11 of this rank; make it with net.init or layer.pack",
    ),
    "too few columns": (
        lambda: body(BODY[:, :16]),
        ValueError,
        "body has shape (12, 16)",
    ),
    "flat body": (lambda: body(BODY.ravel()), ValueError, "body has shape (240,)"),
    "integer body": (
        lambda: body(BODY.astype(int)),
        TypeError,
        "body has dtype int64, needed float64 or float32",
    ),
    "half body": (lambda: body(BODY.astype(np.float16)), TypeError, "dtype float16"),
    "no opening": (
        lambda: forward(np.ones((3, 2)), ENDS, mg.Params(None, BODY, None)),
        ValueError,
        "the network has this opening but params.opening is None",
    ),
    "guess of another batch": (
        lambda: forward(guess=np.ones((13, 2, 4)), options=mg.MGRITOptions((4,))),
        ValueError,
        "guess has shape (13, 2, 4), needed (13, 3, 4): the states at the ends of "
        "layers 0..11 for the same batch",
    ),
    "guess in a serial solve": (
        lambda: forward(guess=np.ones((12, 3, 4))),
        ValueError,
        "guess has shape (12, 3, 4), needed (13, 3, 4)",
    ),
    "unknown operator": (
        lambda: forward(options=mg.MGRITOptions((4,), coarse_operator="best")),
        ValueError,
        "unknown coarse_operator 'best'; choose from injection, mean, matched",
    ),
    "bare body": (
        lambda: mg.solve_forward(NET, BODY, INPUTS),
        TypeError,
        "params is a ndarray, needed Params(opening, body, head) as net.init makes",
    ),
    "opening for no use": (
        lambda: mg.solve_forward(NET, mg.Params(np.ones(12), BODY, None), INPUTS),
        ValueError,
        "params.opening is given, but the network has no opening; needed None",
    ),
    "options as a dictionary": (
        lambda: forward(options={"coarsening": (4,)}),
        TypeError,
        "options is {'coarsening': (4,)}, which has no coarsening",
    ),
    "no communicator": (
        lambda: forward(comm=3),
        TypeError,
        "comm is 3; needed None, an mpi4py communicator or a TimeComm",
    ),
    "seed of another batch": (
        lambda: adjoint(np.ones((2, 4))),
        ValueError,
        "seed has shape (2, 4), needed (3, 4)",
    ),
    "float32 seed": (
        lambda: adjoint(INPUTS.astype(np.float32)),
        TypeError,
        "seed has dtype float32",
    ),
    "no seed": (
        lambda: adjoint(None),
        TypeError,
        "seed is None, needed an array of floats, shape (3, 4)",
    ),
    "guess of another depth": (
        lambda: adjoint(guess=np.ones((4, 3, 4))),
        ValueError,
        "guess has shape (4, 3, 4), needed (13, 3, 4)",
    ),
    "adjoint of another network": (
        lambda: adjoint(solution=forward(net=SHORT, params=SHORT_PARAMS)),
        ValueError,
        "forward holds layers 0..3, this rank has 0..11; use one network, one "
        "communicator and one coarsening for both solves",
    ),
    "gradient of two batches": (
        lambda: mg.parameter_gradient(
            NET, PARAMS, FORWARD, adjoint(INPUTS[:2], forward(INPUTS[:2]))
        ),
        ValueError,
        "forward states have shape (13, 3, 4), adjoints (13, 2, 4); both must come "
        "from one batch and one rank",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_a_message_that_helps(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=re.escape(message)):
        call()


def test_a_list_of_rows_is_as_good_as_an_array():
    np.testing.assert_array_equal(body(BODY.tolist()).states, FORWARD.states)


def test_inputs_and_parameters_stay_as_they_were():
    inputs, rows = INPUTS.copy(), BODY.copy()
    inputs.flags.writeable = rows.flags.writeable = False
    params = mg.Params(None, rows, None)
    options = mg.MGRITOptions((4,), 1, max_iterations=2, tolerance=0.0)
    solution = forward(inputs, params=params, options=options)
    back = mg.solve_adjoint(NET, params, solution, inputs, options=options)
    mg.parameter_gradient(NET, params, solution, back)
    np.testing.assert_array_equal(solution.states[0], INPUTS)
    np.testing.assert_array_equal(back.final, INPUTS)


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_and_strides_are_free(order):
    padded = np.full((6, 9), np.nan)
    padded[::2, 1::2] = INPUTS
    rows = np.full((24, 20), np.nan)
    rows[1::2] = BODY
    got = forward(
        np.asarray(padded[::2, 1::2], order=order),
        params=mg.Params(None, np.asarray(rows[1::2], order=order), None),
    )
    np.testing.assert_array_equal(got.states, FORWARD.states)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_single_precision_stays_single(dtype):
    rng = np.random.default_rng(3407)
    params = mg.Params(*(p.astype(dtype) for p in ENDS.init(seed=3406)))
    inputs = rng.standard_normal((5, 2)).astype(dtype)
    options = mg.MGRITOptions((4,), 1, max_iterations=6, tolerance=0.0)
    labels = rng.integers(0, 3, 5)
    _, gradient, info = mg.value_and_gradient(
        ENDS,
        params,
        inputs,
        labels,
        objective=mg.SoftmaxCrossEntropy(),
        forward=options,
        adjoint=options,
        regularisation=mg.Regularisation(0.1, 0.1, 0.1),
    )
    arrays = (*gradient, info.forward.states, info.adjoint.states)
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}
    exact = mg.value_and_gradient(
        ENDS,
        ENDS.init(seed=3406),
        inputs.astype(float),
        labels,
        objective=mg.SoftmaxCrossEntropy(),
        regularisation=mg.Regularisation(0.1, 0.1, 0.1),
    )[1]
    for got, needed in zip(gradient, exact, strict=True):
        tolerance = 100 * np.finfo(dtype).eps * abs(needed).max()
        np.testing.assert_allclose(got, needed, rtol=0, atol=tolerance)


@pytest.mark.parametrize("coarsening", [(), (4,), (5,)])
def test_a_diverged_forward_pass_is_a_status_of_all_passes(coarsening):
    """No exception and no warning: the loss is NaN and both statuses say why."""
    params = ENDS.init(seed=3405)
    options = mg.MGRITOptions(coarsening, max_iterations=2, tolerance=0.0)
    lost = params._replace(body=np.full_like(params.body, 1e300))
    value, _, info = mg.value_and_gradient(
        mg.Network(mg.Dense(4, "identity"), 12, 5.0, ENDS.opening, ENDS.head),
        lost,
        np.ones((3, 2)),
        np.array([0, 1, 2]),
        objective=mg.SoftmaxCrossEntropy(),
        forward=options,
        adjoint=options,
    )
    assert np.isnan(value)
    assert info.forward.status is info.adjoint.status is mg.Status.NON_FINITE


@pytest.mark.parametrize("part", ["opening", "head"])
@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            lambda a: a.astype(np.float32),
            TypeError,
            "dtype float32, body has float64; try {}.astype(np.float64)",
        ),
        (lambda a: a.astype(">f8"), TypeError, "dtype >f8, body has float64"),
        (lambda a: a[:-1], ValueError, "shape ({},), needed ("),
        (lambda a: a[None], ValueError, "shape (1, {}), needed ("),
    ],
)
def test_ends_unlike_the_body_are_refused_by_name(part, change, kind, message):
    params = ENDS.init()
    wrong = change(getattr(params, part))
    start = f"{part} has {message}".format(part if kind is TypeError else wrong.size)
    params = params._replace(**{part: wrong})
    labels, loss = np.zeros(3, int), mg.SoftmaxCrossEntropy()
    x = np.ones((3, 2))
    options = mg.MGRITOptions((4,))
    for call in (
        lambda: mg.solve_forward(ENDS, params, x),
        lambda: mg.local_slab(ENDS, params, options=options),
        lambda: mg.predict(ENDS, params, x),
        lambda: mg.predict_convergence(ENDS, params, x, options),
        lambda: mg.value_and_gradient(ENDS, params, x, labels, objective=loss),
    ):
        with pytest.raises(kind, match=re.escape(start)):
            call()


@dataclass(frozen=True)
class Turned(mg.Linear):
    """Somebody's map, with a mistake."""

    mistake: Callable = np.transpose

    def apply(self, theta, x):
        return self.mistake(super().apply(theta, x))


@pytest.mark.parametrize("part", ["opening", "head"])
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (np.transpose, "has shape ({n}, 5), needed (5, {n})"),
        (np.float32, "has dtype float32, its input has float64"),
        (lambda y: y.astype(">f8"), "has dtype >f8, its input has float64"),
        (lambda y: None, "is None, needed an array of floats, shape (5, {n})"),
    ],
)
def test_outputs_of_anybodys_map_are_checked(part, mistake, message):
    right = getattr(ENDS, part)
    wrong = Turned(right.n_inputs, right.n_outputs, mistake=mistake)
    net = replace(ENDS, **{part: wrong})
    message = f"output of the {part} {message.format(n=right.n_outputs)}"
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        mg.predict(net, net.init(), np.ones((5, 2)))


def test_slabs_are_rows_of_the_whole_network():
    class Second(mg.SerialComm):
        """Rank 1 of 3, as far as it can tell."""

        rank, size = 1, 3

    options = mg.MGRITOptions((4,))
    whole = mg.Params(np.ones(12), BODY, np.ones(15))
    local = mg.local_slab(ENDS, whole, options=options, comm=Second())
    assert local.opening is None
    assert local.head is None
    np.testing.assert_array_equal(local.body, BODY[4:8])
    again = mg.local_slab(ENDS, local, options=options, comm=Second())
    np.testing.assert_array_equal(again.body, local.body)
    with pytest.raises(ValueError, match=r"or \(4, 20\) for layers 4..7 of this rank"):
        mg.local_slab(
            ENDS, mg.Params(None, BODY[:3], None), options=options, comm=Second()
        )
