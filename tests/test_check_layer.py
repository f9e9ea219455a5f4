"""The contract of a layer: a right one keeps it, every wrong formula is named."""

import numpy as np
import pytest
import reference as ref

import mgresnet as mg
from mgresnet.layers.scheme import euler

TRANSPOSED = "<J v, w> = <v, J^T w> on the"
DERIVATIVE = "gradient is the derivative of <w, march> with respect to theta"


def mixing(own):
    """March that moves every sample towards the mean of its batch."""

    def march(starts, u, forcing, slopes, coefficients, *rest):
        k = u.shape[1]
        for i in range(k):
            own_layers = [c[i::k] for c in coefficients]
            behind, g = u[:, i : i + 1].copy(), forcing[:, i : i + 1]
            own(starts, behind, g, slopes, own_layers, *rest)
            u[:, i] = behind[:, 0] + 0.01 * starts.mean(axis=-1, keepdims=True)
            starts = u[:, i].copy()

    return march


def carrying_on(own):
    """March that takes all blocks for one."""

    def march(starts, u, forcing, *rest):
        if u.shape[1] == 0:  # only slopes are wanted
            return own(starts, u, forcing, *rest)
        whole = u.reshape(1, -1, *u.shape[2:])
        one_block = forcing.reshape(-1, whole.shape[1], *u.shape[2:])
        return own(starts[:1], whole, one_block, *rest)

    return march


def backwards_in_a_block(own):
    """March that takes the layers of a single block from its end."""

    def march(starts, u, forcing, slopes, coefficients, *rest):
        if len(u) == 1:
            coefficients = [c[::-1] for c in coefficients]
        own(starts, u, forcing, slopes, coefficients, *rest)

    return march


def overwriting(own):
    """March that touches where it starts."""

    def march(starts, *rest):
        own(starts, *rest)
        starts += 1e-3

    return march


def forgetful(own):
    """March that leaves the last column out."""

    def march(starts, u, *rest):
        own(starts, u, *rest)
        u[:, -1:] = np.nan

    return march


def one_feature(own):
    """Gradient whose scalar bias sees a third of the features."""

    def gradient(*arguments):
        d_theta = own(*arguments)
        d_theta[:, -1] /= 3
        return d_theta

    return gradient


def skipping(own):
    """March that takes a column for a step, however many layers there are."""

    def march(starts, u, forcing, slopes, coefficients, *rest):
        n = len(u) * max(1, u.shape[1])
        few = [c[:n] for c in coefficients]
        own(starts, u, forcing, slopes[:n], few, *rest)

    return march


def halved(own):
    """Pass whose adjoints come out half as large."""

    def march(starts, w, *rest):
        d_theta = own(starts, w, *rest)
        w *= 0.5
        return d_theta

    return march


FLAWS = [
    ("pack", lambda f: lambda w, b: f(w.swapaxes(1, 2), b), "pack(*unpack(theta))"),
    ("init", lambda f: lambda rng, n: f(rng, n)[:, 1:], "init makes n_params numbers"),
    ("prepare", lambda f: lambda t: f(t.astype(float)), "prepare preserves the dtype"),
    ("march", forgetful, "march fills all columns"),
    ("march", overwriting, "march leaves its starts alone"),
    ("march", backwards_in_a_block, "march of k steps in one block is k single steps"),
    ("march", carrying_on, "march treats blocks independently"),
    ("march", mixing, "march treats samples independently"),
    ("march", lambda f: lambda x, u, g, *r: f(x, u, -g, *r), "march adds the forcing"),
    (
        "march",
        lambda f: lambda x, u, g, *r: f(x, u, g[:0], *r),
        "march adds the forcing",
    ),
    (
        "march",
        lambda f: lambda x, u, g, s, c, h, a: f(x, u, g, s, c, h, euler()),
        "a step of 2 stages",
    ),
    (
        "march_adjoint",
        lambda f: lambda x, w, g, s, c, h, a: f(x, w, g, s, c, -h, a),
        TRANSPOSED + " step of 1",
    ),
    (
        "march_adjoint",
        lambda f: lambda x, w, g, s, c, h, a: f(x, w, g, s[:, ::-1], c, h, a),
        TRANSPOSED + " step of 2",
    ),
    (
        "march_adjoint",
        lambda f: lambda x, w, g, s, c, h, a: f(x, w, g, s, c, h, euler()),
        TRANSPOSED + " step of 2",
    ),
    ("march_adjoint", carrying_on, "march_adjoint treats blocks independently"),
    ("march", skipping, "march with one column ends like one with many"),
    (
        "march_adjoint",
        skipping,
        "march_adjoint with one column ends like one",
    ),
    ("pull_back", halved, "pull_back marches as march_adjoint does"),
    ("gradient", halved, "gradient marches as march_adjoint does"),
    (
        "gradient",
        lambda f: lambda x, w, u, s, *r: f(x, w, u, s, *r) * (1 if s.size else 2),
        "gradient is the same with and without slopes",
    ),
    ("gradient", lambda f: lambda *r: f(*r[:6]), "gradient notes the state behind"),
    ("gradient", lambda f: lambda *r: 1.5 * f(*r), DERIVATIVE),
    ("gradient", lambda f: lambda x, *r: f(x[::-1], *r), DERIVATIVE),
    ("gradient", one_feature, DERIVATIVE),
    ("gradient", lambda f: lambda *r: f(*r)[:, 1:], "gradient has the shape"),
    ("gradient", lambda f: lambda *r: f(*r).astype(float), "gradient preserves the"),
]


def test_a_right_layer_passes():
    mg.check_layer(ref.HandWritten(3), np.random.default_rng(44021))


@pytest.mark.parametrize("seed", [44022, 44023])
@pytest.mark.parametrize(("method", "spoil", "identity"), FLAWS)
def test_a_wrong_formula_is_named(method, spoil, identity, seed):
    layer = ref.HandWritten(3)
    setattr(layer, method, spoil(getattr(layer, method)))
    with pytest.raises(AssertionError) as caught:
        mg.check_layer(layer, np.random.default_rng(seed))
    assert str(caught.value).startswith(f"HandWritten breaks: {identity}")


def test_a_wrong_derivative_of_the_activation_is_named():
    layer = ref.HandWritten(4, np.sin, lambda z: np.cos(z + 1e-5))
    with pytest.raises(AssertionError, match=r"on the step of 1 stage.*; relative"):
        mg.check_layer(layer, np.random.default_rng(44024))


def test_a_layer_without_derivative_is_named():
    layer = ref.HandWritten(4, lambda z: np.round(z, 2), np.ones_like)
    with pytest.raises(AssertionError, match="march is differentiable at most states"):
        mg.check_layer(layer, np.random.default_rng(44025))


def test_a_wrong_number_of_parameters_is_named():
    layer = ref.HandWritten(4)
    layer.n_params += 1
    with pytest.raises(AssertionError, match="init makes n_params numbers per layer"):
        mg.check_layer(layer, np.random.default_rng(44026))
