r"""Contract of a residual layer, checked on random numbers.

The solver never looks inside a layer; it relies on a handful of identities between the
layer's methods.  `check_layer` states them one by one and names the one that fails.
With J the Jacobian of a step and f its residual function they are, apart from bitwise
promises about blocks, samples and dtypes,

.. math::

    G(u) = u + H \sum_i b_i k_i, \quad k_i = f\Bigl(u + H \sum_j a_{ij} k_j\Bigr), \\
    \langle J v, w\rangle = \langle v, J^T w\rangle, \qquad
    \langle w, \partial_\theta \Phi\, d\rangle = \langle \nabla_\theta, d\rangle .

The last two are in `derivatives`.
"""

from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.derivatives import (
    check_gradient,
    check_input_gradient,
    check_transposition,
)
from mgresnet.layers.probe import (
    N_LAYERS,
    STEP,
    Probe,
    probe_of,
    relative,
    require,
)
from mgresnet.layers.protocol import Layer
from mgresnet.layers.scheme import Scheme, euler, fourth_order, second_order

SCHEMES = (euler(), second_order(4), fourth_order(5))


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
        check_transposition(probe.with_scheme(scheme))
    _splits(layer, rng)
    _kept(probe)
    check_gradient(probe)
    if layer.input_shape is not None:
        check_input_gradient(probe)


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
