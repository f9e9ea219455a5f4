"""Calls of the public functions in which one argument is odd or wrong.

``calls`` makes every call with clean arguments; ``ODD`` makes others of them.  Arrays
are placed by a function, so that they can lie at the end of a guarded page.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

import mgresnet as mg

ANY = "..."


class Call(NamedTuple):
    """A public function and clean arguments for it."""

    run: Callable[..., Any]
    arguments: dict[str, Any]
    shapes: dict[str, tuple]  # that are fine, too: None is any size, ANY any axes
    names: dict[str, str]  # how messages call an argument, if not by its name


@dataclass(frozen=True)
class Given:
    """Objective with a seed that was given."""

    seed: Any
    score_name = "none"

    def value_and_seed(self, outputs, targets):
        return 0.5, self.seed

    def score(self, outputs, targets):
        return 0.0

    def check(self, n_outputs, targets, n_samples):
        pass


def unaligned(array):
    """The same numbers, one byte behind where they should be."""
    memory = np.empty(array.nbytes + 1, np.uint8)
    other = memory[1:].view(array.dtype).reshape(array.shape)
    other[...] = array
    return other


def strided(array):
    """Every second entry of a wider array."""
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def read_only(array):
    other = array.copy()
    other.flags.writeable = False
    return other


# The same numbers in another guise.
SAME = {
    "Fortran order": np.asfortranarray,
    "every second": strided,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "read-only": read_only,
    "unaligned": unaligned,
    "swapped axes": lambda a: a.swapaxes(0, -1).copy().swapaxes(0, -1),
    "list": lambda a: a.tolist(),
    "tuple of rows": tuple,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "objects": lambda a: a.astype(object),
    "complex": lambda a: a.astype(complex),
    "long double": lambda a: a.astype(np.longdouble),
}

# Other numbers, shapes or things.
OTHER = {
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "float64": lambda a: a.astype(np.float64),
    "integers": lambda a: a.astype(np.int64),
    "bytes": lambda a: a.astype(np.uint8),
    "truths": lambda a: a.astype(bool),
    "words": lambda a: a.astype(str),
    "nothing": lambda a: None,
    "a number": lambda a: 1.5,
    "an integer": lambda a: 3,
    "a word": lambda a: "weights",
    "0-d": lambda a: np.array(0.5),
    "dictionary": lambda a: {"a": a},
    "empty list": lambda a: [],
    "ragged list": lambda a: [[1.0], [1.0, 2.0]],
    "no row": lambda a: a[:0],
    "no column": lambda a: a[..., :0],
    "row fewer": lambda a: a[:-1],
    "row more": lambda a: np.concatenate([a, a[-1:]]),
    "first row only": lambda a: a[:1],
    "column fewer": lambda a: a[..., :-1],
    "column more": lambda a: np.concatenate([a, a[..., -1:]], axis=-1),
    "first column only": lambda a: a[..., :1],
    "transposed": lambda a: a.T,
    "flat": np.ravel,
    "axis more": lambda a: a[None],
    "axis behind": lambda a: a[..., None],
    "axis less": lambda a: a[0],
    "in pairs": lambda a: np.stack([a, a]),
    "twice as long": lambda a: np.concatenate([a, a]),
    "a view of one number": lambda a: np.broadcast_to(a.flat[0], a.shape),
}

ODD = SAME | OTHER

THINGS = (None, 3, "adam", [], {}, (1, 2), mg.Dense, np.ones(3), object())


def networks(rng, dtype):
    """A network with both ends, its parameters and a batch."""
    width, depth = int(rng.integers(1, 7)), int(rng.integers(5, 14))
    kind = rng.choice(["tanh", "relu", "smooth_relu", "identity"])
    bias = rng.choice(["vector", "scalar", "none"])
    n_inputs, n_outputs = int(rng.integers(1, width + 1)), int(rng.integers(2, 5))
    opening = mg.Linear(n_inputs, width, "tanh", str(bias))
    if rng.random() < 0.3:
        opening = mg.Widen(n_inputs, width, "copies")
    net = mg.Network(
        mg.Dense(width, str(kind), str(bias)),
        depth,
        opening=opening,
        head=mg.Linear(width, n_outputs, bias=str(bias)),
        control=mg.BSpline(5) if rng.random() < 0.3 else None,
    )
    params = net.init(seed=int(rng.integers(1000)), dtype=dtype)
    inputs = rng.standard_normal((int(rng.integers(2, 6)), n_inputs)).astype(dtype)
    return net, params, inputs


def calls(seed, place=lambda array: array):
    """Every call, for sizes, layers and options drawn at random."""
    rng = np.random.default_rng(seed)
    dtype = np.float32 if rng.random() < 0.25 else np.float64
    net, params, inputs = networks(rng, dtype)
    keep = str(rng.choice(["all", "c-points"]))
    options = mg.MGRITOptions((3,), max_iterations=2)
    if rng.random() < 0.3:
        options = mg.MGRITOptions.serial((3,))
    made = {}
    for name, call in (
        solves(rng, net, params, inputs, options, keep)
        | learning(rng, net, params, inputs, options)
        | pieces(rng, net, params, inputs)
        | updates(rng, params)
    ).items():
        arguments = {
            key: place(x) if isinstance(x, np.ndarray) else x
            for key, x in call.arguments.items()
        }
        made[name] = call._replace(arguments=arguments)
    return made


def with_params(function):
    """The same function of the parts of parameters."""

    def run(net, opening, body, head, **others):
        return function(net, mg.Params(opening, body, head), **others)

    return run


def solves(rng, net, params, inputs, options, keep):
    known = {"net": net, **params._asdict()}
    batch = {"inputs": (None, inputs.shape[1])}
    way = {"options": options, "keep": keep}
    forward = mg.solve_forward(net, params, inputs, **way)
    seed = rng.standard_normal(forward.final.shape).astype(inputs.dtype)
    adjoint = mg.solve_adjoint(net, params, forward, seed, **way)
    guess = rng.standard_normal((net.depth + 1, *forward.final.shape))
    guess = guess.astype(inputs.dtype)
    pair = {"forward": forward, "adjoint": adjoint}
    arrays = {"states": forward.states, "adjoints": adjoint.states}
    names = {"states": "forward", "adjoints": "adjoint"}
    if keep == "c-points":
        guess = forward.states.copy()

    def start(net, params, inputs, guess, options):
        if keep == "c-points":
            guess = replace(forward, states=guess)
        more = {"options": options, "guess": guess, "keep": keep}
        return mg.solve_forward(net, params, inputs, **more)

    def back(net, params, forward, seed, options):
        return mg.solve_adjoint(net, params, forward, seed, options=options)

    def back_from(net, params, states, seed):
        solution = replace(forward, states=states)
        return mg.solve_adjoint(net, params, solution, seed, options=options)

    def gradient(net, params, states, adjoints):
        pair = replace(forward, states=states), replace(adjoint, states=adjoints)
        return mg.parameter_gradient(net, params, *pair)

    def estimate(net, params, states, adjoints, targets, objective, options):
        pair = replace(forward, states=states), replace(adjoint, states=adjoints)
        more = {"objective": objective, "options": options}
        return mg.estimate_gradient_error(net, params, *pair, targets, **more)

    labels = {"targets": rng.integers(0, net.n_outputs, len(inputs))}
    learn = {"objective": mg.SoftmaxCrossEntropy(), "options": options}
    whole = {"seed": seed, "options": options, "forward": forward}
    return {
        "solve_forward": Call(
            with_params(mg.solve_forward),
            known | {"inputs": inputs, "options": options},
            batch,
            {},
        ),
        "solve_forward from a guess": Call(
            with_params(start),
            known | {"inputs": inputs, "guess": guess, "options": options},
            {},
            {},
        ),
        "solve_adjoint": Call(with_params(back), known | whole, {}, {}),
        "solve_adjoint at states": Call(
            with_params(back_from),
            known | {"states": forward.states, "seed": seed},
            {},
            names,
        ),
        "parameter_gradient": Call(with_params(gradient), known | arrays, {}, names),
        "parameter_gradient of solutions": Call(
            with_params(mg.parameter_gradient), known | pair, {}, {}
        ),
        "estimate_gradient_error": Call(
            with_params(estimate), known | arrays | labels | learn, {}, names
        ),
        "predict_convergence": Call(
            with_params(mg.predict_convergence),
            known | {"inputs": inputs, "options": options},
            batch,
            {},
        ),
        "local_slab": Call(
            with_params(mg.local_slab), known | {"options": options}, {}, {}
        ),
        "predict": Call(
            with_params(mg.predict),
            known | {"inputs": inputs, "options": options},
            batch,
            {},
        ),
    }


def learning(rng, net, params, inputs, options):
    known = {"net": net, **params._asdict(), "inputs": inputs}
    outputs = rng.standard_normal((len(inputs), net.n_outputs)).astype(inputs.dtype)
    labels = rng.integers(0, net.n_outputs, len(inputs))
    objectives = {
        "labels": {"objective": mg.SoftmaxCrossEntropy(), "targets": labels},
        "values": {"objective": mg.LeastSquares(), "targets": outputs},
    }

    def given(net, params, inputs, seed, forward):
        more = {"objective": Given(seed), "forward": forward}
        return mg.value_and_gradient(net, params, inputs, None, **more)

    def one_step(net, params, inputs, targets, **others):
        batch = mg.Batch(inputs, targets)
        return next(mg.train(net, params, [batch], **others))

    made = {}
    for name, learn in objectives.items():
        made[f"value_and_gradient, {name}"] = Call(
            with_params(mg.value_and_gradient),
            known | learn | {"forward": options},
            {},
            {},
        )
        made[f"evaluate, {name}"] = Call(
            with_params(mg.evaluate), known | learn | {"options": options}, {}, {}
        )
        optimiser = mg.adam(0.01) if name == "labels" else mg.sgd(0.1, momentum=0.5)
        made[f"train, {name}"] = Call(
            with_params(one_step),
            known | learn | {"forward": options, "optimiser": optimiser},
            {},
            {},
        )
    made["value_and_gradient, seed"] = Call(
        with_params(given), known | {"seed": outputs, "forward": options}, {}, {}
    )
    return made


def pieces(rng, net, params, inputs):
    dtype, n = inputs.dtype, len(inputs)
    width = net.layer.width
    made = {}
    for name, part in (
        ("Linear", mg.Linear(inputs.shape[1], width, "tanh", net.layer.bias)),
        ("Widen", mg.Widen(inputs.shape[1], width)),
    ):
        theta = rng.standard_normal(part.n_params).astype(dtype)
        seed = rng.standard_normal((n, width)).astype(dtype)
        known = {"theta": theta, "x": inputs}
        many = {"x": (None, inputs.shape[1])}
        made[f"{name}.apply"] = Call(part.apply, known, many, {})
        made[f"{name}.pull_back"] = Call(part.pull_back, known | {"seed": seed}, {}, {})
    for name, part in (("Dense", net.layer), ("Linear", made["Linear.apply"])):
        part = part if name == "Dense" else part.run.__self__
        theta = rng.standard_normal((3, part.n_params)).astype(dtype)
        weight, bias = part.unpack(theta)
        packed = {"weight": weight.copy()} | ({} if bias is None else {"bias": bias})
        stacks = {"weight": (ANY, *weight.shape[1:])} if bias is None else {}
        made[f"{name}.pack"] = Call(part.pack, packed, stacks, {})
        made[f"{name}.unpack"] = Call(
            part.unpack, {"theta": theta}, {"theta": (ANY, part.n_params)}, {}
        )
    spline = mg.BSpline(5, int(rng.integers(0, 4)))
    some = rng.standard_normal((5, 3)).astype(dtype)
    made["BSpline.values"] = Call(
        lambda coefficients: spline.values(coefficients, net.depth, range(2, 5)),
        {"coefficients": some},
        {"coefficients": (5, None)},
        {},
    )
    return made


def updates(rng, params):
    known = params._asdict()
    steps = {f"d_{name}": 0.1 * x for name, x in known.items()}
    names = {f"d_{name}": name for name in known}
    either = {key: "" for key in (*known, *steps)}  # shapes differ: two trees may err

    def alone(values):
        return values

    def updating(optimiser):
        def run(opening, body, head, d_opening, d_body, d_head):
            params = mg.Params(opening, body, head)
            gradient = mg.Params(d_opening, d_body, d_head)
            state = optimiser.init(params)
            return optimiser.update(gradient, state, params, alone)[0]

        return run

    def applied(opening, body, head, d_opening, d_body, d_head):
        step = mg.Params(d_opening, d_body, d_head)
        return mg.apply_updates(mg.Params(opening, body, head), step)

    def norm(opening, body, head):
        return mg.global_norm(mg.Params(opening, body, head), alone)

    made = {"apply_updates": applied}
    made |= {"sgd": updating(mg.sgd(0.1, momentum=0.9, nesterov=True))}
    made |= {"adamw": updating(mg.adamw(0.1))}
    clean = {name: Call(run, known | steps, {}, either) for name, run in made.items()}
    free = {key: (ANY,) for key in known}
    return clean | {"global_norm": Call(norm, known, free, names)}


def numbers(result):
    """All arrays that a call found, one after the other."""
    if isinstance(result, mg.Solution):
        return numbers((result.states, result.residuals, result.final_residual))
    if isinstance(result, mg.Record):
        return numbers((result.value, result.gradient_norm, result.params))
    if isinstance(result, mg.Prediction):
        return numbers((result.factor, result.residuals))
    if isinstance(result, dict):
        return []
    if isinstance(result, tuple | list):
        return [x for part in result for x in numbers(part)]
    return [] if result is None else [np.asarray(result)]


OPTIONAL = {"opening", "body", "head", "bias", "guess", "options", "forward"}


def matches(shape, pattern):
    """Whether sizes are those of a pattern."""
    if pattern[:1] == (ANY,):
        shape, pattern = shape[max(len(shape) - len(pattern) + 1, 0) :], pattern[1:]
    pairs = zip(shape, pattern, strict=False)
    return len(shape) == len(pattern) and all(b in (a, None) for a, b in pairs)


def check_refusal(call, error):
    """Assert that an exception is a documented one, short, and names an argument."""
    message = str(error)
    assert type(error) in (TypeError, ValueError), repr(error)
    assert 1 <= len(message.splitlines()) <= 3, message
    assert any(call.names.get(k, k) in message for k in call.arguments), message


def check(call, key, given):
    """Assert that a call with one other argument is right, or says what is wrong."""
    clean = call.arguments[key]
    try:
        result = call.run(**call.arguments | {key: given})
    except (TypeError, ValueError) as error:
        check_refusal(call, error)
        return
    if given is None:
        assert key in OPTIONAL, "None is taken for something"
        return
    assert isinstance(clean, np.ndarray), f"{given!r} is taken for {key}"
    array = np.asarray(given)
    assert array.dtype.kind in ("f" if clean.dtype.kind == "f" else "iu")
    assert matches(array.shape, call.shapes.get(key, clean.shape)), array.shape
    plain = np.array(array, array.dtype.newbyteorder("="), order="C")
    needed = numbers(call.run(**call.arguments | {key: plain}))
    accuracy = {"rtol": 1e-4, "atol": 1e-5} if array.dtype.itemsize < 8 else {}
    for a, b in zip(numbers(result), needed, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-11, "atol": 1e-13} | accuracy)
