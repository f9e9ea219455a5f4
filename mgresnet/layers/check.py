r"""Contract of a residual layer, checked on random numbers.

The solver never looks inside a layer; it relies on a handful of identities between the
layer's methods.  `check_layer` states them one by one and names the one that fails.
With J the Jacobian of a step and f its residual function they are, apart from bitwise
promises about blocks, samples and dtypes,

.. math::

    G(u) = u + H \sum_i b_i k_i, \quad k_i = f\Bigl(u + H \sum_j a_{ij} k_j\Bigr), \\
    \langle J v, w\rangle = \langle v, J^T w\rangle, \qquad
    \langle w, \partial_\theta \Phi\, d\rangle = \langle \nabla_\theta, d\rangle .

Derivatives are differences of `march` extrapolated twice (Richardson); samples at which
the extrapolation does not settle lie at a kink and are left out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.probe import (
    N_LAYERS,
    N_SAMPLES,
    STEP,
    Probe,
    per_sample,
    probe_of,
    relative,
    require,
)
from mgresnet.layers.scheme import Scheme, euler, second_order, third_order
from mgresnet.layers.stepwise import gradient_of_layers, linearise, no_columns

SCHEMES = (euler(), second_order(4), third_order(4))
SPACING = 2.0**-8  # widest of three difference steps
KINK = 1e-9  # extrapolations that differ by more are at a kink
CLOSE = 1e-7  # relative agreement asked of derivatives


def check_layer(layer: Any, rng: np.random.Generator) -> None:
    """Check that a hand-written layer keeps the identities that the solver relies on.

    Parameters
    ----------
    layer : Dense
        Or any object with `Dense`'s public attributes and marching methods.
    rng : numpy.random.Generator
        Draws parameters, states and directions.

    Raises
    ------
    AssertionError
        The message names the identity that the layer breaks, and by how much.

    Examples
    --------
    >>> check_layer(Dense(width=3), np.random.default_rng(2718))
    """
    _parameters(layer, rng)
    for dtype in (np.float64, np.float32):
        probe = probe_of(layer, rng, dtype)
        _dtypes(probe)
        for scheme in SCHEMES:
            _marches(probe, "march", probe.u, scheme)
            _marches(probe, "march_adjoint", probe.w, scheme)
    probe = probe_of(layer, rng, np.float64)
    for scheme in SCHEMES:
        _stages(probe, scheme)
        _transposition(probe, scheme)
    _kept(probe)
    _gradient(probe)


def _parameters(layer: Any, rng: np.random.Generator) -> None:
    theta = layer.init(rng, N_LAYERS)
    needed = (N_LAYERS, layer.n_params)
    require(
        theta.shape == needed,
        layer,
        "init makes n_params numbers per layer",
        f"got shape {theta.shape}, needed {needed}",
    )
    theta = rng.standard_normal(needed)
    again = layer.pack(*layer.unpack(theta))
    kept, shapes = np.array_equal(again, theta), (np.shape(again), theta.shape)
    require(kept, layer, "pack(*unpack(theta)) is theta", f"shapes {shapes}")


def _dtypes(probe: Probe) -> None:
    layer, dtype = probe.layer, probe.u.dtype
    coefficients = layer.prepare(probe.theta)
    slopes = linearise(layer, probe.u[:-1].copy(), coefficients, STEP, SCHEMES[1])
    d_theta = gradient_of_layers(layer, probe.u, probe.w, probe.theta, STEP)
    for name, arrays in (
        ("prepare", coefficients),
        ("linearise", (slopes,)),
        ("gradient", (d_theta,)),
    ):
        got = [str(x.dtype) for x in arrays]
        require(
            all(x == dtype for x in got),
            layer,
            f"{name} preserves the dtype",
            f"got {', '.join(got)} for {dtype}",
        )
    require(
        d_theta.shape == probe.theta.shape,
        layer,
        "gradient has the shape of the parameters",
        f"got {d_theta.shape}, needed {probe.theta.shape}",
    )


def _marches(probe: Probe, name: str, start: Array, scheme: Scheme) -> None:
    """What holds bit by bit, and the forcing; the same for states and adjoints."""
    layer, nothing, march = probe.layer, probe.nothing, getattr(probe, name)
    one = march(start[:1], nothing, scheme)
    finite = np.isfinite(one).all()
    require(finite, layer, f"{name} fills all columns", "some are not finite")
    starts = np.concatenate([start[:1], one[0, :-1]])
    singles = march(starts, nothing, scheme)[:, 0]
    require(
        np.array_equal(singles, one[0]),
        layer,
        f"{name} of k steps in one block is k single steps, bit by bit",
        f"they differ by {np.abs(singles - one[0]).max():.1e}",
    )
    free = march(start[:-1], nothing, scheme)
    for i, block in enumerate(free):
        n = i if name == "march" else N_LAYERS - 1 - i
        alone = getattr(probe.only(n), name)(start[i : i + 1], nothing, scheme)[0]
        kept = np.array_equal(alone, block)
        require(kept, layer, f"{name} treats blocks independently", "they mix")
    others = start[:1].copy()
    others[..., 1:] += 1
    kept = np.array_equal(march(others, nothing, scheme)[..., 0], one[..., 0])
    require(kept, layer, f"{name} treats samples independently", "they mix")
    forcing = probe.g[:-1, None]
    forced = march(start[:-1], forcing, scheme)[:, 0]
    error = relative(forced - forcing[:, 0], free[:, 0])
    require(
        error < 100 * np.finfo(start.dtype).eps,
        layer,
        f"{name} adds the forcing after each step",
        f"relative error {error:.1e}",
    )


def _stages(probe: Probe, scheme: Scheme) -> None:
    u = probe.u[:-1]
    rates: list[Array] = []
    for row in scheme.a:
        inner = u + STEP * sum(a * k for a, k in zip(row, rates, strict=False))
        rates.append((probe.step(inner, euler()) - inner) / STEP)
    needed = sum(b * k for b, k in zip(scheme.b, rates, strict=True))
    error = relative((probe.step(u, scheme) - u) / STEP, np.asarray(needed))
    require(
        error < 1e-12,
        probe.layer,
        f"a step of {len(scheme.b)} stages is u + H sum b_i k_i",
        f"relative error {error:.1e}",
    )


def _transposition(probe: Probe, scheme: Scheme) -> None:
    u, v, w = probe.u[:-1], probe.v[:-1], probe.w[:-1]
    name = f"step of {len(scheme.b)} stage(s)"
    tangent, smooth = _derivative(lambda t: probe.step(u + t * v, scheme))
    _enough(probe, smooth)
    adjoint = probe.march_adjoint(w[::-1], probe.nothing, scheme)[::-1, 0]
    left, right = per_sample(tangent, w), per_sample(v, adjoint)
    error = relative(left[smooth], right[smooth])
    require(
        error < CLOSE,
        probe.layer,
        f"<J v, w> = <v, J^T w> on the {name}",
        f"relative error {error:.1e}",
    )


def _kept(probe: Probe) -> None:
    """The same numbers whichever points are kept, and wherever slopes come from."""
    layer, (u, w, none) = probe.layer, (probe.u[:1], probe.w[:1], probe.nothing)
    coefficients = layer.prepare(probe.theta)
    states = np.concatenate([u, probe.march(u, none, euler())[0]])
    slopes = linearise(layer, states[:-1], coefficients, STEP, euler())
    ends = np.empty((4, 1, 1, *u.shape[1:]), u.dtype)
    layer.march(u, ends[0], none, none, coefficients, STEP, euler())
    all_points = probe.blocks(w)
    layer.march_adjoint(w, all_points, none, slopes, coefficients, STEP, euler())
    layer.march_adjoint(w, ends[1], none, slopes, coefficients, STEP, euler())
    layer.pull_back(w, ends[2], u, coefficients, STEP)
    d_known = layer.gradient(w, ends[3], states[:-1], slopes, coefficients, STEP)
    once, each = np.zeros_like(u), np.zeros_like(states[1:])
    d_again = layer.gradient(w, no_columns(w), u, none, coefficients, STEP, once)
    layer.gradient(w, no_columns(w), states[:-1], none, coefficients, STEP, each)
    last = all_points[0, -1]
    for got, needed, identity in (
        (ends[0], states[-1], "march with one column ends like one with many"),
        (ends[1], last, "march_adjoint with one column ends like one with many"),
        (ends[2], last, "pull_back marches as march_adjoint does"),
        (ends[3], last, "gradient marches as march_adjoint does"),
        (d_again, d_known, "gradient is the same with and without slopes"),
        (once[0], states[-1], "gradient notes the state behind its layers"),
        (each, states[1:], "gradient notes the state behind every interval"),
    ):
        error = relative(got, needed)
        require(error < 1e-12, layer, identity, f"relative error {error:.1e}")


def _gradient(probe: Probe) -> None:
    """Parameter by parameter in all layers at once, summed over the smooth samples."""
    theta, u, w = probe.theta, probe.u, probe.w
    for i, d in enumerate(np.eye(probe.layer.n_params)):
        change, smooth = _derivative(partial(_turned, probe, d))
        _enough(probe, smooth)
        kept = smooth.all(axis=0)
        states, adjoints = (np.ascontiguousarray(x[..., kept]) for x in (u, w))
        got = gradient_of_layers(probe.layer, states, adjoints, theta, STEP)[:, i]
        products = per_sample(change, w[1:])[:, kept]
        error = np.abs(got - products.sum(axis=1)).max() / np.abs(products).sum()
        require(
            error < CLOSE,
            probe.layer,
            "gradient is the derivative of <w, march> with respect to theta",
            f"relative error {error:.1e} for parameter {i} of {theta.shape[1]}",
        )


def _turned(probe: Probe, direction: Array, t: float) -> Array:
    return probe.step(probe.u[:-1], euler(), probe.theta + t * direction)


def _derivative(function: Callable[[float], Array]) -> tuple[Array, Array]:
    """Derivative at 0 of samples (n, *features, batch); where it is smooth (n, batch).

    Central differences of three spacings, each half the one before; a first and a
    second extrapolation remove the errors of second and fourth order.
    """
    wide, middle, fine = (
        (function(t) - function(-t)) / (2 * t)
        for t in (SPACING, SPACING / 2, SPACING / 4)
    )
    coarser, finer = middle + (middle - wide) / 3, fine + (fine - middle) / 3
    change = (finer - coarser) / 15
    size = np.abs(change).max(axis=tuple(range(1, change.ndim - 1)))
    return finer + change, size < KINK


def _enough(probe: Probe, smooth: Array) -> None:
    """Kinks are rare for a layer that can be trained."""
    require(
        smooth.all(axis=0).sum() >= N_SAMPLES // 2,
        probe.layer,
        "march is differentiable at most states",
        f"differences settle at {smooth.sum()} of {smooth.size}",
    )
