r"""Contract of a residual layer, checked on random numbers.

The solver never looks inside a layer; it relies on a handful of identities between the
layer's methods.  `check_layer` states them one by one and names the one that fails.
With J the Jacobian of a step and f its residual function they are, apart from bitwise
promises about blocks, samples and dtypes,

.. math::

    G(u) = u + H \sum_i b_i k_i, \quad k_i = f\Bigl(u + H \sum_j a_{ij} k_j\Bigr), \\
    \langle J v, w\rangle = \langle v, J^T w\rangle, \qquad
    \langle w, \partial_\theta \Phi\, d\rangle = \langle \nabla_\theta, d\rangle .

Derivatives are complex steps where a layer takes complex numbers, else differences of
`march` extrapolated twice (Richardson); samples at which the extrapolation does not
settle lie at a kink and are left out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.cells import Explicit, Stepwise
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
from mgresnet.layers.protocol import Layer
from mgresnet.layers.scheme import Scheme, euler, second_order, third_order

SCHEMES = (euler(), second_order(4), third_order(4))
SPACING = 2.0**-8  # widest of three difference steps
KINK = 1e-9  # extrapolations that differ by more are at a kink
TINY = 1e-30  # complex step
CLOSE = 1e-7  # relative agreement asked of derivatives by differences
EXACT = 1e-12  # of derivatives by complex steps


def check_layer(layer: Any, rng: np.random.Generator) -> None:
    """Check that a hand-written layer keeps the identities that the solver relies on.

    Parameters
    ----------
    layer : Dense, Explicit, Stepwise
        Or any object with what `mgresnet.layers.protocol.Layer` lists.
    rng : numpy.random.Generator
        Draws parameters, states and directions.

    Raises
    ------
    AssertionError
        The message names the identity that the layer breaks, and by how much.
    TypeError
        If the layer lacks a method or attribute, or `rng` is no generator.

    Examples
    --------
    >>> check_layer(Dense(width=3), np.random.default_rng(2718))
    """
    _members(layer, rng)
    _parameters(layer, rng)
    schemes = SCHEMES if isinstance(layer.scheme, Scheme) else (layer.scheme,)
    for dtype in (np.float64, np.float32):
        probe = probe_of(layer, rng, dtype)
        _dtypes(probe)
        for scheme in schemes:
            _marches(probe.with_scheme(scheme), "march", probe.u)
            _marches(probe.with_scheme(scheme), "march_back", probe.w)
    probe = probe_of(layer, rng, np.float64)
    for scheme in schemes:
        if isinstance(scheme, Scheme):
            _stages(probe.with_scheme(scheme))
        _transposition(probe.with_scheme(scheme))
    _splits(layer, rng)
    _kept(probe)
    _gradient(probe)
    if layer.input_shape is not None:
        _input_gradient(probe)


def _members(layer: Any, rng: Any) -> None:
    members = [name for name in vars(Layer) if not name.startswith("_")]
    missing = [name for name in members if not hasattr(layer, name)]
    if missing:
        raise TypeError(
            f"{layer!r} has no {', '.join(missing)}; a layer has {', '.join(members)}, "
            "as Explicit and Stepwise make them from plain functions"
        )
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is {rng!r}; needed numpy.random.default_rng(seed)")


def _parameters(layer: Any, rng: np.random.Generator) -> None:
    theta = layer.init(rng, N_LAYERS)
    needed = (N_LAYERS, layer.n_params)
    require(
        theta.shape == needed,
        layer,
        "init makes n_params numbers per layer",
        f"got shape {theta.shape}, needed {needed}",
    )
    if not hasattr(layer, "pack"):
        return
    theta = rng.standard_normal(needed)
    again = layer.pack(*layer.unpack(theta))
    kept, shapes = np.array_equal(again, theta), (np.shape(again), theta.shape)
    require(kept, layer, "pack(*unpack(theta)) is theta", f"shapes {shapes}")


def _dtypes(probe: Probe) -> None:
    layer, dtype = probe.layer, probe.u.dtype
    prepared = layer.prepare(probe.steps)
    got = [str(x.dtype) for x in (prepared.theta, prepared.inputs) if x.size]
    require(
        all(x == dtype for x in got),
        layer,
        "prepare preserves the dtype",
        f"got {', '.join(got)} for {dtype}",
    )


def _marches(probe: Probe, name: str, start: Array) -> None:
    """What holds bit by bit, and the forcing; the same for states and adjoints."""
    layer, none, march = probe.layer, probe.none, getattr(probe, name)
    one = march(start[:1], none)
    finite = np.isfinite(one).all()
    require(finite, layer, f"{name} fills all columns", "some are not finite")
    starts = np.concatenate([start[:1], one[0, :-1]])
    singles = march(starts, none)[:, 0]
    require(
        np.array_equal(singles, one[0]),
        layer,
        f"{name} of k steps in one block is k single steps, bit by bit",
        f"they differ by {np.abs(singles - one[0]).max():.1e}",
    )
    free = march(start[:-1], none)
    for i, block in enumerate(free):
        n = i if name == "march" else N_LAYERS - 1 - i
        alone = getattr(probe.only(n), name)(start[i : i + 1], none)[0]
        kept = np.array_equal(alone, block)
        require(kept, layer, f"{name} treats blocks independently", "they mix")
    others = start[:1].copy()
    others[..., 1:] += 1
    kept = np.array_equal(march(others, none)[..., 0], one[..., 0])
    require(kept, layer, f"{name} treats samples independently", "they mix")
    forcing = probe.g[:-1, None]
    forced = march(start[:-1], forcing)[:, 0]
    error = relative(forced - forcing[:, 0], free[:, 0])
    require(
        error < 100 * np.finfo(start.dtype).eps,
        layer,
        f"{name} adds the forcing after each step",
        f"relative error {error:.1e}",
    )


def _stages(probe: Probe) -> None:
    u, (a, b) = probe.u[:-1], probe.steps.scheme
    rates: list[Array] = []
    for row in a:
        inner = u + STEP * sum(x * k for x, k in zip(row, rates, strict=False))
        rates.append((probe.with_scheme(euler()).step(inner) - inner) / STEP)
    needed = sum(x * k for x, k in zip(b, rates, strict=True))
    error = relative((probe.step(u) - u) / STEP, np.asarray(needed))
    require(
        error < 1e-12,
        probe.layer,
        f"a step of {len(b)} stages is u + H sum b_i k_i",
        f"relative error {error:.1e}",
    )


def _transposition(probe: Probe) -> None:
    u, v, w = probe.u[:-1], probe.v[:-1], probe.w[:-1]
    scheme = probe.steps.scheme
    name = f"step of {len(scheme.b) if isinstance(scheme, Scheme) else 1} stage(s)"
    tangent, smooth, close = _derivative(probe, lambda t: probe.step(u + t * v))
    _enough(probe, smooth)
    adjoint = probe.march_back(w[::-1], probe.none)[::-1, 0]
    left, right = per_sample(tangent, w), per_sample(v, adjoint)
    error = relative(left[smooth], right[smooth])
    require(
        error < close,
        probe.layer,
        f"<J v, w> = <v, J^T w> on the {name}",
        f"relative error {error:.1e}",
    )


def _splits(layer: Any, rng: np.random.Generator) -> None:
    """The same bits for parts of a batch, as far as the layer allows parts."""
    block = layer.sample_block
    if block == 0:
        return
    probe = probe_of(layer, rng, np.float64, n_samples=2 * block + 5)
    for name, start in (("march", probe.u), ("march_back", probe.w)):
        whole = getattr(probe, name)(start[:1], probe.none)
        for some in (slice(block), slice(block, None), slice(2 * block, None)):
            first = np.ascontiguousarray(start[:1, ..., some])
            part = getattr(probe.samples(some), name)(first, probe.none)
            require(
                np.array_equal(part, whole[..., some]),
                layer,
                f"{name} gives multiples of sample_block={block} samples the same bits",
                f"samples {some} differ from those of the whole batch",
            )


def _kept(probe: Probe) -> None:
    """The same numbers whichever points are kept, and wherever a tape comes from."""
    layer, (u, w, none) = probe.layer, (probe.u[:1], probe.w[:1], probe.none)
    steps = layer.prepare(probe.steps)
    states = np.concatenate([u, probe.march(u, none)[0]])
    known = states[:-1], probe.tape(states[:-1])
    ends = np.empty((4, 1, 1, *u.shape[1:]), u.dtype)
    layer.march(steps, u, ends[0], none, none)
    columns = probe.blocks(w)
    layer.march_back(steps, w, columns, none, *known, none, none)
    layer.march_back(steps, w, ends[1], none, *known, none, none)
    layer.retrace(steps, w, ends[2], none, u, none, none, none)
    d_known, d_again = np.empty((2, N_LAYERS, layer.n_params), u.dtype)
    d_sum = np.empty((1, layer.n_params), u.dtype)
    layer.march_back(steps, w, ends[3], none, *known, d_known, none)
    once, each = np.zeros_like(u), np.zeros_like(states[1:])
    layer.retrace(steps, w, none, none, u, once, d_again, none)
    layer.retrace(steps, w, none, none, states[:-1], each, d_sum, none)
    last = columns[0, -1]
    for got, needed, identity in (
        (ends[0], states[-1], "march with one column ends like one with many"),
        (ends[1], last, "march_back with one column ends like one with many"),
        (ends[2], last, "retrace marches as march_back does"),
        (ends[3], last, "march_back marches alike when it finds gradients"),
        (d_again, d_known, "gradients are the same with and without states"),
        (d_sum, d_known.sum(axis=0), "gradients are summed over groups of steps"),
        (once[0], states[-1], "retrace notes the state behind its steps"),
        (each, states[1:], "retrace notes the state behind every interval"),
    ):
        error = relative(got, needed)
        require(error < 1e-12, layer, identity, f"relative error {error:.1e}")


def _gradient(probe: Probe) -> None:
    """Parameter by parameter in all layers at once, summed over the smooth samples."""
    theta = probe.steps.theta
    for i, d in enumerate(np.eye(probe.layer.n_params)):
        change, smooth, close = _derivative(probe, partial(_turned, probe, d))
        _enough(probe, smooth)
        kept = np.flatnonzero(smooth.all(axis=0))
        some = probe.samples(kept)
        d_theta = np.empty((N_LAYERS, theta.shape[-1]))
        _back_by_layer(some, d_theta, probe.none)
        products = per_sample(change, probe.w[1:])[:, kept]
        error = np.abs(d_theta[:, i] - products.sum(axis=1)).max()
        error /= max(np.abs(products).sum(), 1e-300)
        require(
            error < close,
            probe.layer,
            "gradient is the derivative of <w, march> with respect to theta",
            f"relative error {error:.1e} for parameter {i} of {theta.shape[-1]}",
        )


def _input_gradient(probe: Probe) -> None:
    """Along a random direction, sample by sample."""
    steps = probe.steps
    direction = np.cos(np.arange(steps.inputs.size)).reshape(steps.inputs.shape)

    def shifted(t: Any) -> Array:
        moved = steps._replace(inputs=steps.inputs + t * direction)
        return probe.step(probe.u[:-1] + 0 * t, moved)

    change, smooth, close = _derivative(probe, shifted)
    d_inputs = np.empty_like(steps.inputs)
    _back_by_layer(probe, probe.none, d_inputs)
    got, needed = per_sample(d_inputs, direction), per_sample(change, probe.w[1:])
    error = relative(got[smooth], needed[smooth])
    identity = "d_inputs is the derivative of <w, march> with respect to the inputs"
    require(error < close, probe.layer, identity, f"relative error {error:.1e}")


def _back_by_layer(probe: Probe, d_theta: Array, d_inputs: Array) -> None:
    """Gradients of every layer from the state before it and the adjoint behind it."""
    layer, none = probe.layer, probe.none
    starts, states = probe.w[:0:-1].copy(), probe.u[:-1].copy()
    wanted = d_theta, d_inputs
    layer.retrace(layer.prepare(probe.steps), starts, none, none, states, none, *wanted)


def _turned(probe: Probe, direction: Array, t: Any) -> Array:
    theta = probe.steps.theta + t * direction
    return probe.step(probe.u[:-1] + 0 * t, probe.steps._replace(theta=theta))


def _derivative(
    probe: Probe, function: Callable[[Any], Array]
) -> tuple[Array, Array, float]:
    """Derivative at 0 of samples (n, *state, batch); where it is smooth (n, batch).

    Also how close it is.  Central differences of three spacings, each half the one
    before; a first and a second extrapolation remove the errors of second and fourth
    order.  Where complex numbers go through and tell the same, they tell it exactly.
    """
    wide, middle, fine = (
        (function(t) - function(-t)) / (2 * t)
        for t in (SPACING, SPACING / 2, SPACING / 4)
    )
    coarser, finer = middle + (middle - wide) / 3, fine + (fine - middle) / 3
    change = (finer - coarser) / 15
    size = np.abs(change).max(axis=tuple(range(1, change.ndim - 1)))
    smooth = size < KINK
    if isinstance(probe.layer, Explicit | Stepwise):
        exact = function(TINY * 1j).imag / TINY
        if smooth.all() and relative(exact, finer + change) < CLOSE:
            return exact, smooth, EXACT
    return finer + change, smooth, CLOSE


def _enough(probe: Probe, smooth: Array) -> None:
    """Kinks are rare for a layer that can be trained."""
    require(
        smooth.all(axis=0).sum() >= N_SAMPLES // 2,
        probe.layer,
        "march is differentiable at most states",
        f"differences settle at {smooth.sum()} of {smooth.size}",
    )
