"""The contract of a layer: a right one keeps it, every wrong formula is named."""

import re

import numpy as np
import pytest
import reference as ref

import mgresnet as mg
from mgresnet.layers.scheme import euler

TRANSPOSED = "<J v, w> = <v, J^T w> on the"
DERIVATIVE = "gradient is the derivative of <w, march> with respect to theta"


def mixing(own):
    """March that moves every sample towards the mean of its batch."""

    def march(steps, starts, u, forcing, tape):
        k = u.shape[1] if u.size else 0
        for i in range(k):
            some, g = steps.take(slice(i, None, k)), forcing[:, i : i + 1]
            own(some, starts, u[:, i : i + 1], g, tape)
            u[:, i] += 0.01 * starts.mean(axis=-1, keepdims=True)
            starts = u[:, i].copy()
        if k == 0:  # only the tape is wanted
            own(steps, starts, u, forcing, tape)

    return march


def carrying_on(own):
    """March that takes all blocks for one."""

    def march(steps, starts, u, forcing, *rest):
        if not u.size:  # only the tape is wanted
            return own(steps, starts, u, forcing, *rest)
        whole = u.reshape(1, -1, *u.shape[2:])
        if forcing.size:
            forcing = forcing.reshape(1, -1, *u.shape[2:])
        return own(steps, starts[:1], whole, forcing, *rest)

    return march


def backwards_in_a_block(own):
    """March that takes the layers of a single block from its end."""

    def march(steps, starts, *rest):
        steps = steps.take(slice(None, None, -1)) if len(starts) == 1 else steps
        own(steps, starts, *rest)

    return march


def overwriting(own):
    """March that touches where it starts."""

    def march(steps, starts, *rest):
        own(steps, starts, *rest)
        starts += 1e-3

    return march


def forgetful(own):
    """March that leaves the last column out."""

    def march(steps, starts, u, *rest):
        own(steps, starts, u, *rest)
        u[:, -1:] = np.nan

    return march


def skipping(own):
    """March that takes a column for a step, however many layers there are."""

    def march(steps, starts, u, *rest):
        n = len(u) * u.shape[1] if u.size else steps.n
        own(steps.part(0, n), starts, u, *rest)

    return march


def skipping_where_there_are_notes(own):
    """The same backwards, but not in `retrace`."""

    def march_back(steps, starts, w, forcing, states, tape, *wanted):
        n = len(w) * w.shape[1] if w.size and tape.size else steps.n
        own(steps.part(0, n), starts, w, forcing, states, tape, *wanted)

    return march_back


def with_forcing(change):
    """March with another forcing, where there is some."""

    def spoil(own):
        def march(steps, starts, u, forcing, *rest):
            own(steps, starts, u, change(forcing) if forcing.size else forcing, *rest)

        return march

    return spoil


def with_steps(change):
    """March through other steps."""
    return lambda own: lambda steps, *rest: own(change(steps), *rest)


def with_tape(change):
    """March back with another tape."""

    def spoil(own):
        def march_back(steps, starts, w, forcing, states, tape, *wanted):
            own(steps, starts, w, forcing, states, change(tape), *wanted)

        return march_back

    return spoil


def one_stage(steps):
    """Steps that are taken for Euler's."""
    return steps._replace(scheme=euler())


def one_stage_but_for_the_tape(own):
    """March by Euler's steps, unless it takes notes."""

    def march(steps, starts, u, forcing, tape):
        own(steps if tape.size else one_stage(steps), starts, u, forcing, tape)

    return march


def taking_no_notes(own):
    """March that ignores the tape."""
    return lambda steps, starts, u, forcing, tape: own(
        steps, starts, u, forcing, tape[:0]
    )


def halved(own):
    """Adjoints that come out half as large."""

    def march_back(steps, starts, w, *rest):
        own(steps, starts, w, *rest)
        w *= 0.5

    return march_back


def halved_with_gradients(own):
    """Adjoints that come out half as large where gradients are wanted."""

    def march_back(*arguments):
        own(*arguments)
        _, _, w, *_, d_theta, _ = arguments
        w *= 0.5 if d_theta.size else 1.0

    return march_back


def scaled(by):
    """Gradients for theta that come out otherwise."""

    def spoil(own):
        def march_back(*arguments):
            own(*arguments)
            *_, tape, d_theta, _ = arguments
            if d_theta.size:
                d_theta *= by(tape)

        return march_back

    return spoil


def one_feature(tape):
    """As if the only bias saw a third of the features."""
    return np.r_[np.ones(9), 1 / 3]


def from_other_starts(own):
    """Gradients from adjoints of other layers."""

    def march_back(steps, starts, w, *rest):
        *_, d_theta, _ = rest
        own(steps, starts[::-1] if d_theta.size else starts, w, *rest)

    return march_back


def not_summed(own):
    """Gradients of the first layer in every group."""

    def march_back(steps, *rest):
        *rest, d_theta, d_inputs = rest
        each = np.empty((steps.n if d_theta.size else 0, d_theta.shape[-1]))
        own(steps, *rest, each, d_inputs)
        if d_theta.size:
            d_theta[:] = each[:: steps.n // len(d_theta)]

    return march_back


def without_ends(own):
    """Pass that notes no states."""

    def retrace(steps, starts, w, forcing, points, ends, *wanted):
        own(steps, starts, w, forcing, points, ends[:0], *wanted)

    return retrace


def only_the_last_end(own):
    """Pass that notes the last state alone."""

    def retrace(steps, starts, w, forcing, points, ends, *wanted):
        own(steps, starts, w, forcing, points, ends, *wanted)
        ends[:-1] = 0.0

    return retrace


def tilted(own):
    """Gradient for the inputs of another step."""

    def march_back(*arguments):
        own(*arguments)
        d_inputs = arguments[-1]
        d_inputs[:] = d_inputs[::-1]

    return march_back


FLAWS = [
    ("pack", lambda f: lambda w, b: f(w.swapaxes(1, 2), b), "pack(*unpack(theta))"),
    ("init", lambda f: lambda rng, n: f(rng, n)[:, 1:], "init makes n_params numbers"),
    (
        "prepare",
        with_steps(lambda s: s._replace(theta=s.theta.astype(float))),
        "prepare preserves the dtype",
    ),
    (
        "prepare",
        with_steps(lambda s: s._replace(inputs=s.inputs.astype(float))),
        "prepare preserves the dtype",
    ),
    ("march", forgetful, "march fills all columns"),
    ("march_back", forgetful, "march_back fills all columns"),
    ("march", overwriting, "march leaves its starts alone"),
    ("march_back", overwriting, "march_back leaves its starts alone"),
    ("march", backwards_in_a_block, "march of k steps in one block is k single steps"),
    ("march", carrying_on, "march treats blocks independently"),
    ("march", mixing, "march treats samples independently"),
    ("march", with_forcing(lambda g: -g), "march adds the forcing"),
    ("march", with_forcing(lambda g: g[:0]), "march adds the forcing"),
    ("march_back", with_forcing(lambda g: -g), "march_back adds the forcing"),
    ("march", one_stage_but_for_the_tape, "a step of 2 stages"),
    (
        "march_back",
        with_steps(lambda s: s._replace(h=-s.h)),
        TRANSPOSED + " step of 1",
    ),
    ("march_back", with_tape(lambda tape: tape[:, ::-1]), TRANSPOSED + " step of 2"),
    ("march_back", with_steps(one_stage), TRANSPOSED + " step of 2"),
    ("march_back", carrying_on, "march_back treats blocks independently"),
    ("march", taking_no_notes, "march_back fills all columns"),
    ("march", skipping, "march with one column ends like one with many"),
    (
        "march_back",
        skipping_where_there_are_notes,
        "march_back with one column ends like one",
    ),
    ("retrace", halved, "retrace marches as march_back does"),
    ("march_back", halved_with_gradients, "march_back marches alike when it finds"),
    (
        "march_back",
        scaled(lambda tape: 1 if tape.size else 2),
        "gradients are the same with and without states",
    ),
    ("march_back", not_summed, "gradients are summed over groups of steps"),
    ("retrace", without_ends, "retrace notes the state behind its steps"),
    ("retrace", only_the_last_end, "retrace notes the state behind every interval"),
    ("march_back", scaled(lambda tape: 1.5), DERIVATIVE),
    ("march_back", from_other_starts, DERIVATIVE),
    ("march_back", scaled(one_feature), DERIVATIVE),
    ("march_back", tilted, "d_inputs is the derivative of <w, march>"),
]


@pytest.mark.parametrize("inputs", [False, True])
def test_a_right_layer_passes(inputs):
    mg.check_layer(ref.HandWritten(3, inputs=inputs), np.random.default_rng(44021))


def test_a_layer_of_a_right_rate_passes():
    mg.check_layer(mg.Explicit(ref.Tanh(3)), np.random.default_rng(44027))


@pytest.mark.parametrize("seed", [44022, 44023])
@pytest.mark.parametrize(("method", "spoil", "identity"), FLAWS)
def test_a_wrong_formula_is_named(method, spoil, identity, seed):
    layer = ref.HandWritten(3, inputs=True)
    setattr(layer, method, spoil(getattr(layer, method)))
    with pytest.raises(AssertionError) as caught:
        mg.check_layer(layer, np.random.default_rng(seed))
    assert str(caught.value).startswith(f"HandWritten breaks: {identity}")


def test_a_wrong_derivative_of_the_activation_is_named():
    layer = ref.HandWritten(4, np.sin, lambda z: np.cos(z + 1e-5))
    with pytest.raises(AssertionError, match=r"on the step of 1 stage.*; relative"):
        mg.check_layer(layer, np.random.default_rng(44024))


def test_complex_steps_see_what_differences_cannot():
    def nearly(z):
        return np.cos(z + 1e-9)

    mg.check_layer(ref.HandWritten(4, np.sin, nearly), np.random.default_rng(44028))
    layer = mg.Explicit(ref.Tanh(4, np.sin, nearly))
    with pytest.raises(
        AssertionError, match=r"Explicit of Tanh breaks.*on the step of 1 stage"
    ):
        mg.check_layer(layer, np.random.default_rng(44028))


def test_a_layer_without_derivative_is_named():
    layer = ref.HandWritten(4, lambda z: np.round(z, 2), np.ones_like)
    with pytest.raises(AssertionError, match="march is differentiable at most states"):
        mg.check_layer(layer, np.random.default_rng(44025))


def test_a_wrong_number_of_parameters_is_named():
    layer = ref.HandWritten(4)
    layer.n_params += 1
    with pytest.raises(AssertionError, match="init makes n_params numbers per layer"):
        mg.check_layer(layer, np.random.default_rng(44026))


def by_size(z):
    """Activation whose last bits depend on the batch; (width, batch)."""
    return np.tanh(z) * (1 + 1e-14 * z.shape[-1])


@pytest.mark.parametrize("block", [1, 4])
def test_a_batch_that_may_not_be_split_is_named(block):
    layer = ref.HandWritten(3, by_size)
    layer.sample_block = block
    message = f"march gives multiples of sample_block={block} samples the same bits"
    with pytest.raises(AssertionError, match=message):
        mg.check_layer(layer, np.random.default_rng(44029))
    layer.sample_block = 0
    mg.check_layer(layer, np.random.default_rng(44029))


def test_a_rate_sees_whole_blocks():
    rate = ref.Tanh(3, lambda z: by_size(z.T).T)
    rate.sample_block = 4
    mg.check_layer(mg.Explicit(rate), np.random.default_rng(44030))


def test_all_that_a_layer_lacks_is_in_one_message():
    lacking = mg.Linear(3, 3)
    message = (
        "has no state_shape, input_shape, sample_block, scheme, tape_shape, coarse"
    )
    with pytest.raises(TypeError, match=message) as caught:
        mg.check_layer(lacking, np.random.default_rng(44031))
    for name in ("march", "march_back", "retrace"):
        assert re.search(rf"has no .*\b{name}\b.*; a layer has", str(caught.value))


@pytest.mark.parametrize("lacking", ["march_back", "coarse", "sample_block"])
def test_one_thing_that_a_layer_lacks_is_named(lacking):
    names = "state_shape input_shape n_params sample_block scheme init tape_shape "
    names = [*(names + "coarse prepare march march_back retrace").split()]
    layer = ref.HandWritten(3)
    kept = {name: getattr(layer, name) for name in names if name != lacking}
    with pytest.raises(TypeError, match=rf"has no {lacking}; a layer has"):
        mg.check_layer(type("Layer", (), kept)(), np.random.default_rng(44032))


@pytest.mark.parametrize("rng", [7, None, np.random])
def test_what_is_no_generator_is_refused(rng):
    with pytest.raises(TypeError, match=r"rng is .*; needed numpy.random.default_rng"):
        mg.check_layer(ref.HandWritten(3), rng)
